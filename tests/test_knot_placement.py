"""Knots where functions are hard to approximate, and grids that stretch with their data."""

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.optimize import brentq

from superpose import BSpline
from superpose.grids import EVEN, equidistributed, projection, stretched


def coefficients(basis, function):
    """Spline coefficients of a function, by least squares on a fine grid."""
    x = torch.linspace(-1, 1, 4001, dtype=torch.float64).unsqueeze(1)
    return torch.linalg.lstsq(basis(x)[:, 0], function(x)).solution


def largest_error(basis, function):
    x = torch.linspace(-1, 1, 4001, dtype=torch.float64).unsqueeze(1)
    design = basis(x)[:, 0]
    fitted = design @ torch.linalg.lstsq(design, function(x)).solution
    return float((fitted - function(x)).abs().max())


def steep(x):
    return torch.exp(6 * x)


def test_knots_share_the_root_of_the_fourth_derivative():
    fine = BSpline(200).double()
    got = equidistributed(fine, coefficients(fine, steep).unsqueeze(0), 8)[0].numpy()

    def root(x):
        return np.exp(6 * x / 4)

    mean = quad(root, -1, 1)[0] / 2

    def mass(x):
        return quad(root, -1, x)[0] + EVEN * mean * (x + 1)

    want = [brentq(lambda x, j=j: mass(x) - mass(1) * j / 8, -1, 1) for j in range(1, 8)]
    assert got[1:-1] == pytest.approx(want, abs=0.02)
    assert got[[0, -1]].tolist() == [-1, 1]


def test_they_approximate_a_steep_function_better_than_even_ones():
    even = BSpline(12).double()
    coef = coefficients(even, steep).unsqueeze(0)
    placed = even.at(equidistributed(even, coef, 12))
    assert largest_error(placed, steep) < 0.3 * largest_error(even, steep)


@pytest.mark.parametrize("degree", range(6))
def test_functions_without_a_need_get_even_knots(degree):
    basis = BSpline(5, degree).double()
    flat = torch.ones(1, basis.num, 2, dtype=torch.float64)
    assert equidistributed(basis, flat * 0, 9)[0].numpy() == pytest.approx(np.linspace(-1, 1, 10))
    knots = equidistributed(basis, torch.randn(1, basis.num, 2, dtype=torch.float64), 40)
    assert bool((knots.diff(dim=1) > 0).all())


def test_one_interval_has_no_jumps_to_read():
    basis = BSpline(1).double()
    knots = equidistributed(basis, torch.randn(1, basis.num, 1, dtype=torch.float64), 4)[0].numpy()
    assert knots == pytest.approx(np.linspace(-1, 1, 5))


def test_stretching_keeps_the_pattern_and_covers_the_data():
    inner = torch.tensor([[-1.0, -0.5, 0.3, 1.0], [-1.0, 0.0, 0.5, 1.0], [-1.0, 0.1, 0.2, 1.0]], dtype=torch.float64)
    basis = BSpline(3).double().at(inner)
    x = torch.stack([torch.linspace(2, 6, 30), torch.linspace(-1e-3, 1e-3, 30), torch.full((30,), 0.4)], 1).double()
    moved = stretched(basis, x, margin=0.25)
    assert moved[0, [0, -1]].tolist() == pytest.approx([1.0, 7.0])
    assert moved[1, [0, -1]].tolist() == pytest.approx([-1.5e-3, 1.5e-3])
    assert torch.allclose(moved[2], inner[2], atol=1e-14)
    shares = (moved - moved[:, :1]) / (moved[:, -1:] - moved[:, :1])
    assert torch.allclose(shares, (inner - inner[:, :1]) / 2, atol=1e-12)
    assert bool(torch.isfinite(projection(basis, basis.at(moved))).all())
