"""Univariate bases: what a Kolmogorov-Arnold edge, and a kernel's feature map, are linear combinations of."""

from superpose.bases.basis import Basis as Basis
from superpose.bases.bspline import BSpline as BSpline
from superpose.bases.chebyshev import Chebyshev as Chebyshev
