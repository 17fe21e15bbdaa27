"""Univariate bases: what a Kolmogorov-Arnold edge, and a kernel's feature map, are linear combinations of."""

from superpose.bases.basis import Basis as Basis
from superpose.bases.beam import BeamModes as BeamModes
from superpose.bases.bernstein import Bernstein as Bernstein
from superpose.bases.bspline import BSpline as BSpline
from superpose.bases.chebyshev import Chebyshev as Chebyshev
from superpose.bases.fourier import Fourier as Fourier
from superpose.bases.gaussian import Gaussian as Gaussian
from superpose.bases.legendre import Legendre as Legendre
from superpose.bases.wavelet import Wavelet as Wavelet
