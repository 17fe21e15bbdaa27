"""The curves are Gaussians, by NumPy."""

import matplotlib as mpl
import numpy as np
import pytest

mpl.use("Agg")

from matplotlib import pyplot as plt
from torch import nn

from superpose.layers import KernelAttention
from superpose.layers.kernels import Gated, GaussianKernel, LinearKernel, PerHead
from superpose.plotting import plot_kernels


def test_a_curve_for_each_head():
    layer = KernelAttention(16, 2, kernel=GaussianKernel([0.5, 2.0], heads=2))
    ax = plot_kernels(layer)
    for line, sigma in zip(ax.lines, (0.5, 2.0), strict=True):
        x = line.get_xdata()
        np.testing.assert_allclose(line.get_ydata(), np.exp(-(x**2) / 2 / sigma**2), atol=1e-5)
    plt.close("all")


def test_a_line_and_a_gaussian_for_three_queries():
    """Gates and heads of different kernels: their values by NumPy."""
    layer = KernelAttention(
        16, 2, kernel=PerHead((LinearKernel(), 1), (Gated(GaussianKernel(1.0, radius=3.0), LinearKernel()), 1))
    )
    ax = plot_kernels(layer)
    x = ax.lines[0].get_xdata()
    assert (x[0], x[-1]) == (-3, 3)
    drawn = [line.get_ydata() for line in ax.lines if len(line.get_xdata())]
    for a, line, mixed in zip((-1.5, 0, 1.5), drawn[:3], drawn[3:], strict=True):
        np.testing.assert_allclose(line, a * x, atol=1e-6)
        np.testing.assert_allclose(mixed, (np.exp(-((x - a) ** 2) / 2) + a * x) / 2, atol=1e-5)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        "head 0",
        "head 1",
        "a = -1.5",
        "a = 0",
        "a = 1.5",
    ]
    plt.close("all")


def test_distances_of_vectors_are_zero_at_the_query():
    ax = plot_kernels(KernelAttention.full_vector_gaussian(16, 2))
    x, y = ax.lines[0].get_data()
    width = np.sqrt(-((x[0] + 1.5) ** 2) / 2 / y[0])
    np.testing.assert_allclose(y, -((x + 1.5) ** 2) / 2 / width**2, atol=1e-4)
    assert y.max() == pytest.approx(0, abs=1e-6)
    plt.close("all")


@pytest.mark.parametrize("preset", ["standard", "semi_fusion", "param_fusion", "gka", "spline_mhsa"])
def test_every_preset_is_drawn(preset):
    ax = plot_kernels(getattr(KernelAttention, preset)(16, 2))
    assert all(np.isfinite(line.get_ydata()).all() for line in ax.lines)
    plt.close("all")


def test_what_has_no_kernel_raises():
    with pytest.raises(TypeError, match="got Linear with NoneType"):
        plot_kernels(nn.Linear(2, 2))
