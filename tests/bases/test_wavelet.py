"""Mexican hats against their formula, and their energy."""

import math

import numpy as np
import pytest
import torch
from scipy.special import eval_hermitenorm

from superpose.bases import Wavelet


@pytest.mark.parametrize("levels", [1, 3, 5])
@pytest.mark.parametrize("order", range(5))
def test_values_against_the_formula(levels, order):
    t = np.linspace(-1, 1, 41)
    expected = [np.ones_like(t) * (order == 0)]
    for level in range(levels):
        width = 2 / 2**level
        for middle in -1 + width / 2 + width * np.arange(2**level):
            z = (t - middle) * 2**level
            hat = -2 / (math.sqrt(3) * math.pi**0.25) * eval_hermitenorm(order + 2, z) * np.exp(-(z**2) / 2)
            expected.append((-(2.0**level)) ** order * hat)
    ours = Wavelet(levels).double()(torch.from_numpy(t).unsqueeze(-1), order).squeeze(1).numpy()
    expected = np.stack(expected, -1)
    np.testing.assert_allclose(ours, expected, rtol=1e-10, atol=1e-12 * (1 + abs(expected).max()))


def test_the_mother_wavelet_is_the_ricker_wavelet():
    t = np.linspace(-1, 1, 21)
    expected = 2 / (math.sqrt(3) * math.pi**0.25) * (1 - t**2) * np.exp(-(t**2) / 2)
    ours = Wavelet(1).double()(torch.from_numpy(t).unsqueeze(-1))[:, 0, 1]
    np.testing.assert_allclose(ours, expected, rtol=1e-12, atol=1e-14)


def test_unit_energy_and_zero_mean_on_the_line():
    t = torch.linspace(-12, 12, 20001, dtype=torch.float64)
    hat = Wavelet(1).double().canonical(t.unsqueeze(-1), 0)[:, 0, 1]
    assert torch.trapezoid(hat**2, t).item() == pytest.approx(1)
    assert torch.trapezoid(hat, t).item() == pytest.approx(0, abs=1e-12)


def test_a_family_is_the_beginning_of_the_next():
    x = torch.linspace(-1, 1, 31).unsqueeze(-1)
    assert torch.equal(Wavelet(5)(x)[..., :8], Wavelet(3)(x))
    with pytest.raises(ValueError, match="levels is 11; it must be an integer from 1 to 10"):
        Wavelet(11)
