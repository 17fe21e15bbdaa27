"""Chebyshev polynomials against numpy.polynomial."""

import numpy as np
import pytest
import torch
from numpy.polynomial import chebyshev

from superpose.bases import Chebyshev


@pytest.mark.parametrize("degree", [0, 1, 2, 7, 20])
@pytest.mark.parametrize("order", range(5))
def test_values_against_numpy(degree, order):
    x = np.linspace(-1, 1, 41)
    ours = Chebyshev(degree).double()(torch.from_numpy(x).unsqueeze(-1), order).squeeze(1).numpy()
    for n in range(degree + 1):
        expected = chebyshev.chebval(x, chebyshev.chebder(np.eye(degree + 1)[n], order))
        np.testing.assert_allclose(ours[:, n], expected, rtol=1e-10, atol=1e-10 * (1 + abs(expected).max()))


def test_slopes_at_the_ends():
    """T_n'(1) = n^2, where differentiating cos(n arccos t) gives NaN."""
    x = torch.ones(1, 1, requires_grad=True)
    values = Chebyshev(9)(x).flatten()
    for n, value in enumerate(values):
        (slope,) = torch.autograd.grad(value, x, retain_graph=True)
        assert slope.item() == pytest.approx(n**2)


def test_bounded_by_one():
    x = torch.linspace(-1, 1, 1001).unsqueeze(-1)
    assert Chebyshev(30)(x).abs().max() <= 1 + 1e-5
