"""Values and slopes in one pass against the basis itself and SciPy."""

import numpy as np
import pytest
import scipy.interpolate
import torch

from superpose import BSpline
from superpose.fitting.splines import local_splines, splines

degrees = pytest.mark.parametrize("degree", range(6))


def _placed(degree, extrapolation="linear", intervals=4):
    gaps = torch.rand(3, intervals, generator=torch.Generator().manual_seed(degree), dtype=torch.float64) + 0.1
    points = torch.cat([torch.full((3, 1), -1.0, dtype=torch.float64), gaps.cumsum(1) - 1], 1)
    return BSpline(intervals, degree, extrapolation).at(points).double()


def _points(basis):
    """Anywhere, at every knot, at the ends and beyond them; no column equals another."""
    inner = basis.breakpoints
    return torch.cat([inner, (inner[:, 1:] + 2 * inner[:, :-1]) / 3, inner[:, :1] - 0.7, inner[:, -1:] + 1e3], 1)


@degrees
@pytest.mark.parametrize("intervals", [1, 4])
@pytest.mark.parametrize("extrapolation", ["linear", "clamp", "zero"])
def test_values_and_slopes_are_those_of_the_basis(degree, intervals, extrapolation):
    basis = _placed(degree, extrapolation, intervals)
    x = _points(basis)
    base, slope = torch.randn(2, *x.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    values, slopes = splines(basis, x, base, slope)
    for found, function, order in ((values, base, 0), (slopes, slope, 1)):
        assert torch.equal(found[:, 0], function)
        torch.testing.assert_close(found[:, 1:].permute(2, 0, 1), basis(x.T, order=order), rtol=1e-12, atol=1e-12)
    assert splines(basis, x, base, None)[1] is None


@degrees
def test_local_splines_against_scipy(degree):
    knots = _placed(degree).knots
    points = torch.linspace(float(knots[0, degree]), float(knots[0, -degree - 1]), 40, dtype=torch.float64)
    values, slopes, first = local_splines(points.expand(3, -1)[:1], knots[:1], degree)
    num = knots.shape[1] - degree - 1
    for order, found in enumerate((values, slopes)):
        spline = scipy.interpolate.BSpline(knots[0].numpy(), np.eye(num), degree)
        want = (spline.derivative(order) if order and degree else spline)(points.numpy()) * (degree > 0 or not order)
        local = np.take_along_axis(want, first[0].numpy()[:, None] + np.arange(degree + 1), 1)
        np.testing.assert_allclose(found[0].T, local, rtol=1e-11, atol=1e-11)
        np.testing.assert_allclose(np.abs(local).sum(), np.abs(want).sum(), rtol=1e-11)


@degrees
def test_what_is_not_a_number_stays_so(degree):
    basis = _placed(degree)
    x = torch.zeros(3, 2, dtype=torch.float64)
    x[1, 0] = float("nan")
    values, slopes = splines(basis, x, x, x)
    assert bool(values[1, :, 0].isnan().any()) and bool(slopes[1, :, 0].isnan().any())
    assert bool(values[[0, 2]].isfinite().all()) and bool(values[1, :, 1].isfinite().all())
