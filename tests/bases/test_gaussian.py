"""Gaussian bumps against their formula."""

import numpy as np
import pytest
import torch
from scipy.special import eval_hermite

from superpose.bases import Gaussian


@pytest.mark.parametrize("centers", [2, 5, 8])
@pytest.mark.parametrize("order", range(6))
def test_values_against_the_formula(centers, order):
    t = np.linspace(-1, 1, 41)
    middles = np.linspace(-1, 1, centers)
    width = middles[1] - middles[0]
    z = (t[:, None] - middles) / width
    expected = (-1 / width) ** order * eval_hermite(order, z) * np.exp(-(z**2))
    ours = Gaussian(centers).double()(torch.from_numpy(t).unsqueeze(-1), order).squeeze(1).numpy()
    np.testing.assert_allclose(ours, expected, rtol=1e-11, atol=1e-12 * abs(expected).max())


def test_far_away_is_zero_and_not_nan():
    basis = Gaussian(extrapolation="zero")
    x = torch.tensor([[1e30], [-1e30]], requires_grad=True)
    values = basis(x)
    values.sum().backward()
    assert not values.any()
    assert not x.grad.any()
    assert torch.equal(basis.canonical(torch.tensor([[1e30]]), 3), torch.zeros(1, 1, 8))


def test_centers_are_where_the_bumps_peak():
    middles = torch.linspace(2, 5, 7, dtype=torch.float64)
    basis = Gaussian(7).at(torch.tensor([[2.0, 5.0]], dtype=torch.float64))
    torch.testing.assert_close(basis(middles.unsqueeze(-1)).squeeze(1).diagonal(), torch.ones_like(middles))
