"""The B-spline operation against SciPy, and its properties on random knots."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import BSpline

from superpose import using
from superpose._select import kernels
from superpose.ops.bspline import bspline_linear, bspline_values, insertion_matrix

DEGREES = range(6)


def _uniform(intervals: int, degree: int, inputs: int = 1) -> torch.Tensor:
    return torch.arange(-degree, intervals + degree + 1, dtype=torch.float64).repeat(inputs, 1) / intervals


def _random(intervals: int, degree: int, inputs: int, generator: torch.Generator) -> torch.Tensor:
    steps = 0.1 + torch.rand(inputs, intervals + 2 * degree + 1, generator=generator, dtype=torch.float64)
    return steps.cumsum(-1) - 2


def _points(knots: torch.Tensor, degree: int, count: int = 37) -> torch.Tensor:
    """Points of every input's domain, with both ends and all inner knots among them."""
    inner = knots[:, degree : knots.shape[-1] - degree].T
    low, high = inner[0], inner[-1]
    return torch.cat([low + (high - low) * torch.linspace(0, 1, count, dtype=knots.dtype).unsqueeze(-1), inner]).clamp(
        low, high
    )


def _scipy(x: torch.Tensor, knots: torch.Tensor, degree: int, order: int) -> np.ndarray:
    """The same array from one SciPy spline for every input and every function."""
    num = knots.shape[-1] - degree - 1
    out = np.zeros((*x.shape, num))
    for i in range(x.shape[-1]):
        row = knots[i % len(knots)].numpy()
        for m in range(num):
            spline = BSpline(row, np.eye(num)[m], degree)
            if order <= degree:
                out[:, i, m] = (spline.derivative(order) if order else spline)(_left_of_the_end(x[:, i], row, degree))
    return out


def _left_of_the_end(x: torch.Tensor, knots: np.ndarray, degree: int) -> np.ndarray:
    """SciPy continues the piece beyond the right end; the operation's last interval is closed."""
    end = knots[-degree - 1]
    return np.where(x.numpy() == end, np.nextafter(end, -np.inf), x.numpy())


@pytest.mark.parametrize("degree", DEGREES)
@pytest.mark.parametrize("order", range(7))
def test_uniform_knots_against_scipy(degree, order):
    knots = _uniform(5, degree)
    x = _points(knots, degree)
    expected = _scipy(x, knots, degree, order)
    np.testing.assert_allclose(bspline_values(x, knots, degree, order), expected, rtol=1e-9, atol=1e-9 * 5**order)


@pytest.mark.parametrize("degree", DEGREES)
@pytest.mark.parametrize("order", [0, 1, 2, 3, 5])
def test_random_knots_of_every_input_against_scipy(degree, order, generator):
    knots = _random(6, degree, 3, generator)
    x = _points(knots, degree)
    expected = _scipy(x, knots, degree, order)
    tolerance = 1e-10 * (1 + abs(expected).max())
    np.testing.assert_allclose(bspline_values(x, knots, degree, order), expected, rtol=1e-9, atol=tolerance)


@pytest.mark.parametrize("degree", DEGREES)
def test_both_ends_are_in_the_domain(degree):
    knots = _uniform(4, degree)
    ends = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    values = bspline_values(ends, knots, degree).squeeze(1)
    torch.testing.assert_close(values.sum(-1), torch.ones(2, dtype=torch.float64))
    torch.testing.assert_close(values[0], values[1].flip(0))


@st.composite
def _cases(draw):
    degree = draw(st.integers(0, 5))
    steps = draw(st.lists(st.floats(0.01, 10), min_size=2 * degree + 1, max_size=2 * degree + 12))
    share = draw(st.lists(st.floats(0, 1), min_size=1, max_size=8))
    start = draw(st.floats(-100, 100))
    knots = (start + torch.tensor([0.0, *steps], dtype=torch.float64).cumsum(0)).unsqueeze(0)
    low, high = knots[0, degree], knots[0, -degree - 1]
    x = low + (high - low) * torch.tensor(share, dtype=torch.float64)
    return degree, knots, x.clamp(low, high).unsqueeze(-1)


@given(_cases())
@settings(max_examples=150, deadline=None, derandomize=True)
def test_partition_of_unity(case):
    degree, knots, x = case
    values = bspline_values(x, knots, degree)
    assert (values >= 0).all()
    torch.testing.assert_close(values.sum(-1), torch.ones_like(x))
    for order in (1, 2):
        slopes = bspline_values(x, knots, degree, order)
        assert slopes.sum(-1).abs().max() <= 1e-12 * (1 + slopes.abs().max())


@given(_cases())
@settings(max_examples=150, deadline=None, derandomize=True)
def test_local_support(case):
    """Function m is zero outside the `degree + 1` intervals that begin with knot m."""
    degree, knots, x = case
    num = knots.shape[-1] - degree - 1
    away = (x < knots[:, :num]) | (x > knots[:, degree + 1 :])
    for order in range(3):
        assert not bspline_values(x, knots, degree, order).squeeze(1)[away].any()


@given(_cases())
@settings(max_examples=60, deadline=None, derandomize=True)
def test_slopes_are_those_of_autograd(case):
    degree, knots, x = case
    x = x.clone().requires_grad_()
    cotangent = torch.linspace(-1, 1, knots.shape[-1] - degree - 1, dtype=torch.float64)
    (slope,) = torch.autograd.grad(bspline_values(x, knots, degree) @ cotangent, x, torch.ones_like(x))
    expected = bspline_values(x, knots, degree, 1).detach() @ cotangent
    torch.testing.assert_close(slope, expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("degree", DEGREES)
def test_gradcheck(degree, generator):
    knots = _random(4, degree, 2, generator)
    low, high = knots[:, degree], knots[:, -degree - 1]
    share = torch.tensor([[0.13], [0.61]], dtype=torch.float64)
    x = (low + (high - low) * share).requires_grad_()
    assert torch.autograd.gradcheck(lambda t: bspline_values(t, knots, degree), x)
    assert torch.autograd.gradgradcheck(lambda t: bspline_values(t, knots, degree), x)


@pytest.mark.parametrize("degree", DEGREES)
@pytest.mark.parametrize("order", [0, 2])
def test_float32_is_accurate(degree, order, generator):
    knots = _random(8, degree, 3, generator)
    x = _points(knots, degree)[1:-1]
    exact = bspline_values(x.float().double(), knots.float().double(), degree, order)
    single = bspline_values(x.float(), knots.float(), degree, order)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), exact, rtol=1e-4, atol=1e-5 * (1 + exact.abs().max().item()))


@pytest.mark.parametrize("degree", DEGREES)
def test_one_row_of_knots_serves_all_inputs(degree):
    knots = _uniform(4, degree)
    x = torch.linspace(0, 1, 12, dtype=torch.float64).view(4, 3)
    assert torch.equal(bspline_values(x, knots, degree), bspline_values(x, knots.repeat(3, 1), degree))


@pytest.mark.parametrize("degree", DEGREES)
def test_nan_stays_nan(degree):
    x = torch.tensor([[torch.nan], [0.5]], dtype=torch.float64)
    values = bspline_values(x, _uniform(3, degree), degree)
    assert values[0].isnan().any()
    assert values[1].isfinite().all()


def _refine(knots: torch.Tensor, degree: int, generator: torch.Generator, more: int) -> torch.Tensor:
    """Knots with more of them at random inner places of every input."""
    inner = knots[:, degree : knots.shape[-1] - degree]
    share = torch.rand(len(knots), more, generator=generator, dtype=knots.dtype)
    added = inner[:, :1] + (inner[:, -1:] - inner[:, :1]) * share
    return torch.cat([knots, added], -1).sort(-1).values


@pytest.mark.parametrize("degree", DEGREES)
def test_insertion_keeps_the_function(degree, generator):
    old = _random(5, degree, 3, generator)
    new = _refine(old, degree, generator, more=7)
    matrix = insertion_matrix(old, new, degree)
    x = _points(old, degree, 200)
    torch.testing.assert_close(
        torch.einsum("nif,ifc->nic", bspline_values(x, new, degree), matrix),
        bspline_values(x, old, degree),
        rtol=1e-12,
        atol=1e-12,
    )


@pytest.mark.parametrize("degree", range(1, 6))
def test_insertion_against_scipy(degree, generator):
    """One knot at a time; exterior knots stay, so the coefficients must be SciPy's."""
    old = _random(5, degree, 1, generator)
    new = _refine(old, degree, generator, more=1)
    place = next(value for value in new[0].tolist() if value not in old[0].tolist())
    coef = torch.randn(old.shape[-1] - degree - 1, generator=generator, dtype=torch.float64)
    expected = BSpline(old[0].numpy(), coef.numpy(), degree).insert_knot(place)
    ours = insertion_matrix(old, new, degree)[0] @ coef
    np.testing.assert_allclose(ours, expected.c[: len(ours)], rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("degree", DEGREES)
def test_insertion_of_nothing_is_the_identity(degree, generator):
    knots = _random(4, degree, 2, generator)
    eye = torch.eye(4 + degree, dtype=torch.float64).expand(2, -1, -1)
    torch.testing.assert_close(insertion_matrix(knots, knots, degree), eye, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("degree", DEGREES)
def test_insertion_may_move_the_exterior_knots(degree, generator):
    old = _random(3, degree, 2, generator)
    new = _refine(old, degree, generator, more=3)
    new[:, :degree] -= 0.7
    new[:, new.shape[-1] - degree :] += 0.4
    x = _points(old, degree, 100)
    ours = torch.einsum("nif,ifc->nic", bspline_values(x, new, degree), insertion_matrix(old, new, degree))
    torch.testing.assert_close(ours, bspline_values(x, old, degree), rtol=1e-12, atol=1e-12)


def test_wrong_arguments_are_explained():
    with pytest.raises(ValueError, match="x has 2 inputs but the knots were made for 3"):
        bspline_values(torch.zeros(5, 2), torch.zeros(3, 8), 3)
    with pytest.raises(ValueError, match="degree 3 needs at least 8 knots, got 7"):
        bspline_values(torch.zeros(5, 1), torch.arange(7.0).unsqueeze(0), 3)


@pytest.mark.parametrize("batch", [(), (0,), (2, 3)], ids=str)
def test_any_batch_shape(batch):
    assert bspline_values(torch.zeros(*batch, 2), _uniform(4, 3).float(), 3).shape == (*batch, 2, 7)


@pytest.mark.as_shipped
@pytest.mark.parametrize("implementation", ["native", "plain", "reference"])
def test_a_weight_or_extrapolation_that_does_not_fit_is_refused(implementation):
    """By every implementation: a kernel would read beyond the weights."""
    if implementation == "native" and kernels is None:
        pytest.skip("there are no compiled kernels")
    x, coef, knots = torch.zeros(5, 3), torch.zeros(3, 7, 40), torch.arange(11.0).unsqueeze(0)
    with using(bspline_linear=implementation):
        with pytest.raises(ValueError, match=r"weight must have shape \(40, 3\), got \(3, 2\)"):
            bspline_linear(x, coef, knots, 3, "linear", torch.zeros(3, 2))
        with pytest.raises(ValueError, match=r"extrapolation is 'none'; choose one of linear, clamp, zero"):
            bspline_linear(x, coef, knots, 3, "none")
