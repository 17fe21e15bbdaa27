"""Kernels of attention: functions of two numbers as short sums of products of functions of one."""

from superpose.layers.kernels.hybrid import Gated as Gated
from superpose.layers.kernels.hybrid import PerHead as PerHead
from superpose.layers.kernels.kernel import Kernel as Kernel
from superpose.layers.kernels.linear import LinearKernel as LinearKernel
from superpose.layers.kernels.linear import SquaredDistance as SquaredDistance
from superpose.layers.kernels.series import BasisKernel as BasisKernel
from superpose.layers.kernels.series import CubicSplineKernel as CubicSplineKernel
from superpose.layers.kernels.series import SeriesKernel as SeriesKernel
from superpose.layers.kernels.stationary import GaussianKernel as GaussianKernel
from superpose.layers.kernels.stationary import LaplaceKernel as LaplaceKernel
from superpose.layers.kernels.stationary import SpectralKernel as SpectralKernel
from superpose.layers.kernels.stationary import StationaryKernel as StationaryKernel
