"""Natural functions: orthonormal, in order of roughness, and the same functions in the splines they are written in."""

import pytest
import torch

from superpose import BSpline
from superpose.fitting.tables.natural import Natural


def made(x, extrapolation="linear", degree=3):
    basis = BSpline(5, degree, extrapolation).expanded(x.shape[1]).double()
    return Natural.of(basis, x, torch.full((len(x),), 1 / len(x), dtype=torch.float64))


@pytest.fixture
def x(generator):
    return torch.rand(400, 2, generator=generator, dtype=torch.float64) * 2 - 1


@pytest.mark.parametrize("degree", [1, 2, 3, 5])
def test_functions_have_mean_zero_variance_one_and_rising_roughness(x, degree):
    natural = made(x, degree=degree)
    values = natural(x)
    assert values.mean(0).abs().max() < 1e-12
    assert (values.square().mean(0) - 1).abs().max() < 1e-9
    first = natural.rough[natural.owner == 0]
    assert first[0] < 1e-6
    assert (first.diff() > 0).all()


def test_the_first_function_is_a_straight_line(x):
    line = made(x)(x)[:, 0]
    assert abs(float(torch.corrcoef(torch.stack([line, x[:, 0]]))[0, 1])) > 1 - 1e-6


@pytest.mark.parametrize("extrapolation", ["linear", "clamp"])
def test_coefficients_give_the_same_function_inside_and_out(x, generator, extrapolation):
    natural = made(x, extrapolation)
    matrix = torch.randn(3, len(natural.rough), generator=generator, dtype=torch.float64)
    shift = torch.randn(3, generator=generator, dtype=torch.float64)
    points = torch.rand(60, 2, generator=generator, dtype=torch.float64) * 4 - 2
    expected = natural(points) @ matrix.T + shift
    assert torch.allclose(
        natural.basis.linear(points, natural.coefficients(matrix, shift).permute(1, 2, 0)), expected, atol=1e-11
    )


def test_columns_with_few_values_have_few_functions(x):
    x[:, 0] = (x[:, 0] > 0).double()
    x[:, 1] = 0.3
    natural = made(x)
    assert (natural.owner == 0).sum() == 1
    assert (natural.owner == 1).sum() == 0
    assert torch.isfinite(natural(x)).all()


def test_weights_are_repetitions(x):
    weight = torch.arange(len(x)).remainder(3).double()
    weighted = Natural.of(BSpline(5).expanded(2).double(), x, weight / weight.sum())
    repeated = made(x.repeat_interleave(weight.long(), 0))
    assert torch.allclose(weighted(x), repeated(x), atol=1e-6)
