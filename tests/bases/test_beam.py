"""The modes of a clamped beam against their differential equation, their ends, and SciPy's integrals and roots."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import fixed_quad
from scipy.optimize import brentq

from superpose.bases import BeamModes
from superpose.bases.beam import wave_numbers


def placed(modes):
    return BeamModes(modes).double().at(torch.tensor([[0.0, 1.0]], dtype=torch.float64))


def modes_at(points, modes, order=0):
    return placed(modes)(torch.as_tensor(points).unsqueeze(-1), order)[:, 0, 2:]


def test_wave_numbers_are_the_roots():
    for n, found in enumerate(wave_numbers(12), 1):
        # cos + 1 / cosh, for cosh itself is too steep to find a root with
        root = brentq(lambda b: math.cos(b) + 1 / math.cosh(b), (n - 1) * math.pi, n * math.pi, xtol=1e-14)
        assert found == pytest.approx(root, abs=1e-13)


def test_low_modes_against_the_textbook_formula():
    x = np.linspace(0, 1, 31)
    for n, beta in enumerate(wave_numbers(4)):
        sigma = (np.cosh(beta) + np.cos(beta)) / (np.sinh(beta) + np.sin(beta))
        expected = np.cosh(beta * x) - np.cos(beta * x) - sigma * (np.sinh(beta * x) - np.sin(beta * x))
        np.testing.assert_allclose(modes_at(x, 4)[:, n], expected, atol=1e-12)


def test_high_modes_are_finite_and_solve_the_equation():
    x, modes = torch.linspace(0, 1, 41, dtype=torch.float64), 60
    rate = torch.tensor(wave_numbers(modes), dtype=torch.float64)
    torch.testing.assert_close(modes_at(x, modes, 4) / rate**4, modes_at(x, modes), rtol=1e-12, atol=1e-11)
    assert float(modes_at(x, modes).abs().max()) == pytest.approx(2)


def test_clamped_at_one_end_and_free_at_the_other():
    rate = torch.tensor(wave_numbers(10), dtype=torch.float64)
    for order, end in ((0, 0.0), (1, 0.0), (2, 1.0), (3, 1.0)):
        assert float((modes_at([end], 10, order) / rate**order).abs().max()) < 1e-13


def test_orthonormal():
    def products(t):
        values = modes_at(t, 10).numpy()
        return (values[:, :, None] * values[:, None, :]).transpose(1, 2, 0)

    gram = fixed_quad(products, 0, 1, n=80)[0]
    np.testing.assert_allclose(gram, np.eye(10), atol=1e-12)


def test_constant_and_line_come_first():
    x = torch.linspace(0, 1, 5, dtype=torch.float64)
    torch.testing.assert_close(placed(3)(x.unsqueeze(-1))[:, 0, :2], torch.stack([torch.ones_like(x), x], -1))
