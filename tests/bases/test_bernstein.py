"""Bernstein polynomials against de Casteljau's algorithm and the binomial formula."""

import numpy as np
import pytest
import torch
from scipy.interpolate import BPoly
from scipy.special import comb

from superpose.bases import Bernstein


def _casteljau(coef: np.ndarray, u: float) -> float:
    while len(coef) > 1:
        coef = (1 - u) * coef[:-1] + u * coef[1:]
    return coef[0]


@pytest.mark.parametrize("degree", [0, 1, 2, 5, 11])
def test_series_against_de_casteljau(degree):
    coef = np.random.default_rng(0).normal(size=degree + 1)
    x = torch.linspace(-1, 1, 21, dtype=torch.float64).unsqueeze(-1)
    series = Bernstein(degree).double().linear(x, torch.from_numpy(coef).view(1, -1, 1))
    expected = [_casteljau(coef, (1 + t) / 2) for t in x.squeeze(-1).tolist()]
    np.testing.assert_allclose(series.squeeze(-1), expected, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("degree", [0, 1, 5, 11])
def test_values_against_the_binomial_formula(degree):
    u = np.linspace(0, 1, 21)
    m = np.arange(degree + 1)
    expected = comb(degree, m) * u[:, None] ** m * (1 - u[:, None]) ** (degree - m)
    ours = Bernstein(degree).double()(torch.from_numpy(2 * u - 1).unsqueeze(-1)).squeeze(1)
    np.testing.assert_allclose(ours, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("order", range(1, 8))
def test_derivatives_against_scipy(order):
    coef = np.random.default_rng(1).normal(size=7)
    x = np.linspace(-1, 1, 21)
    expected = BPoly(coef[:, None], [-1, 1]).derivative(order)(x)
    ours = Bernstein(6).double()(torch.from_numpy(x).unsqueeze(-1), order).squeeze(1).numpy() @ coef
    np.testing.assert_allclose(ours, expected, rtol=1e-11, atol=1e-11 * (1 + abs(expected).max()))


def test_ends_sum_and_sign():
    basis = Bernstein(6).double()
    assert basis(torch.tensor([[-1.0]]))[0, 0].tolist() == [1] + 6 * [0]
    assert basis(torch.tensor([[1.0]]))[0, 0].tolist() == 6 * [0] + [1]
    x = torch.linspace(-1, 1, 101, dtype=torch.float64).unsqueeze(-1)
    assert (basis(x) >= 0).all()
    torch.testing.assert_close(basis(x).sum(-1), torch.ones_like(x))


def test_elevation_keeps_the_coefficients_bounds():
    """The rows of the matrix are weights: non-negative with sum one."""
    _, matrix = Bernstein(3).refined(8)
    assert (matrix >= 0).all()
    torch.testing.assert_close(matrix.sum(-1), torch.ones(1, 9, dtype=torch.float64))
