"""The curves are Gaussians, by NumPy."""

import matplotlib as mpl
import numpy as np
import pytest

mpl.use("Agg")

from matplotlib import pyplot as plt

from superpose.layers import KernelAttention
from superpose.layers.kernels import GaussianKernel
from superpose.plotting import plot_kernels


def test_a_curve_for_each_head():
    layer = KernelAttention(16, 2, kernel=GaussianKernel([0.5, 2.0], heads=2))
    ax = plot_kernels(layer)
    for line, sigma in zip(ax.lines, (0.5, 2.0), strict=True):
        x = line.get_xdata()
        np.testing.assert_allclose(line.get_ydata(), np.exp(-(x**2) / 2 / sigma**2), atol=1e-5)
    plt.close("all")


def test_another_kernel_raises():
    with pytest.raises(TypeError, match="got KernelAttention with LinearKernel"):
        plot_kernels(KernelAttention.param_fusion(16, 2))
