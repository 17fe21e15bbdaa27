"""Trigonometric functions against their formula, and their period."""

import math

import numpy as np
import pytest
import torch

from superpose.bases import Fourier


@pytest.mark.parametrize("harmonics", [1, 4, 9])
@pytest.mark.parametrize("order", range(6))
def test_values_against_the_formula(harmonics, order):
    t = np.linspace(-3, 3, 61)
    ours = Fourier(harmonics).double()(torch.from_numpy(t).unsqueeze(-1), order).squeeze(1).numpy()
    expected = [np.ones_like(t) * (order == 0)]
    for n in range(1, harmonics + 1):
        phase = n * math.pi * t + order * math.pi / 2
        expected += [(n * math.pi) ** order * np.cos(phase), (n * math.pi) ** order * np.sin(phase)]
    scale = (harmonics * math.pi) ** order
    np.testing.assert_allclose(ours, np.stack(expected, -1), rtol=1e-12, atol=1e-12 * scale)


def test_the_domain_is_one_period():
    basis = Fourier(5).double().at(torch.tensor([[0.0, 24.0]], dtype=torch.float64))
    x = torch.linspace(0, 24, 25, dtype=torch.float64).unsqueeze(-1)
    for shift in (-24, 24, 240):
        torch.testing.assert_close(basis(x + shift), basis(x), rtol=1e-11, atol=1e-11)


def test_orthogonal_over_the_period():
    x = torch.arange(64, dtype=torch.float64).unsqueeze(-1) / 32 - 1
    values = Fourier(6).double()(x).squeeze(1)
    expected = torch.full((13,), 0.5, dtype=torch.float64)
    expected[0] = 1
    torch.testing.assert_close(values.T @ values / 64, expected.diag(), rtol=0, atol=1e-14)


def test_there_is_nothing_to_extrapolate():
    with pytest.raises(TypeError, match="extrapolation"):
        Fourier(extrapolation="linear")
    assert Fourier().extrapolation == "periodic"
    assert "extrapolation" not in Fourier().config()
