"""Legendre polynomials against numpy.polynomial."""

import numpy as np
import pytest
import torch
from numpy.polynomial import legendre

from superpose.bases import Legendre


@pytest.mark.parametrize("degree", [0, 1, 2, 7, 20])
@pytest.mark.parametrize("order", range(5))
def test_values_against_numpy(degree, order):
    x = np.linspace(-1, 1, 41)
    ours = Legendre(degree).double()(torch.from_numpy(x).unsqueeze(-1), order).squeeze(1).numpy()
    for n in range(degree + 1):
        expected = legendre.legval(x, legendre.legder(np.eye(degree + 1)[n], order))
        np.testing.assert_allclose(ours[:, n], expected, rtol=1e-10, atol=1e-10 * (1 + abs(expected).max()))


def test_orthogonal_with_the_stated_norms():
    points, weights = legendre.leggauss(20)
    values = Legendre(9).double()(torch.from_numpy(points).unsqueeze(-1)).squeeze(1).numpy()
    gram = values.T @ (weights[:, None] * values) / 2
    np.testing.assert_allclose(gram, np.diag(1 / (2 * np.arange(10) + 1)), atol=1e-14)
