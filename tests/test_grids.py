"""Grids that move and refine: the same function before and after, and never NaN, whatever the data.

Names such as N1 refer to a list of failures seen in an earlier library; each has a test that it cannot happen here.
"""

import copy
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from superpose import KAN, MLP, Bernstein, BSpline, Chebyshev, Fourier, Gaussian, Legendre, Wavelet, move_grid, refine
from superpose.grids import LEAST_GAP, gauss_points, placement, projection

NESTED = [BSpline(4), BSpline(3, degree=2), Bernstein(4), Chebyshev(4), Legendre(4), Fourier(3), Wavelet(2)]
BASES = [*NESTED, Gaussian(6)]
bases = pytest.mark.parametrize("basis", BASES, ids=repr)
splines = pytest.mark.parametrize("degree", range(6))


def _model(widths=(2, 3, 2), basis=None, seed=0, dtype=torch.float64):
    return KAN(widths, basis, generator=torch.Generator().manual_seed(seed)).to(dtype)


def _moved(model, seed=0, uniform=0.3):
    """The model on grids of its own for every input, away from [-1, 1] and uneven."""
    x = torch.randn(60, model.widths[0], generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return move_grid(model, (x * 1.3 + 0.4).to(model.layers[0].coef.dtype), uniform=uniform)


def _points(model, beyond=0.6, count=61):
    """Points inside and outside the domain of every input of the first layer."""
    low, high = model.layers[0].basis.domain.unbind(-1)
    return low + (high - low) * torch.linspace(-beyond, 1 + beyond, count, dtype=low.dtype).unsqueeze(1)


def _state(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def _same_bits(before, model):
    after = model.state_dict()
    return before.keys() == after.keys() and all(torch.equal(value, after[name]) for name, value in before.items())


def _finite_forward_and_backward(model, x):
    """Whether outputs and the gradients of inputs and of all parameters are finite."""
    model, x = copy.deepcopy(model), x.clone().requires_grad_()
    model.zero_grad()
    out = model(x)
    out.sum().backward()
    gradients = [x.grad, *(p.grad for p in model.parameters())]
    return bool(torch.isfinite(out).all()) and all(bool(torch.isfinite(g).all()) for g in gradients)


# ------------------------------------------------------------------------------------------------------- refine


@settings(max_examples=25, deadline=None)
@given(
    degree=st.integers(0, 5),
    intervals=st.integers(1, 7),
    factor=st.integers(1, 5),
    uniform=st.floats(0, 1),
    seed=st.integers(0, 1000),
)
def test_refined_splines_compute_the_same_function(degree, intervals, factor, uniform, seed):
    model = _moved(_model(basis=BSpline(intervals, degree), seed=seed), seed, uniform)
    refined = refine(model, intervals * factor)
    x = _points(model)
    want = model(x)
    error = (refined(x) - want).abs().max()
    assert error <= 1e-12 * want.abs().max().clamp_min(1), f"{error}"
    assert refined.layers[0].basis.size == intervals * factor


@pytest.mark.parametrize("how", ["linear", "clamp", "zero"])
def test_refined_splines_keep_their_extrapolation(how):
    # N6: a network must not become another function just outside its grid.
    model = _moved(_model(basis=BSpline(3, extrapolation=how)))
    x = _points(model, beyond=2)
    torch.testing.assert_close(refine(model, 9)(x), model(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("basis", NESTED, ids=repr)
def test_refined_nested_families_compute_the_same_function(basis):
    model = _moved(_model(basis=basis))
    refined = refine(model, basis.size * 2)
    x = _points(model)
    torch.testing.assert_close(refined(x), model(x), rtol=1e-11, atol=1e-11)
    assert refined.layers[0].basis.size == basis.size * 2


@bases
def test_refined_in_float32_to_its_accuracy(basis):
    model = _moved(_model(basis=basis, dtype=torch.float32))
    refined = refine(model, basis.size * 2)
    inside = _points(model, beyond=0)
    if not isinstance(basis, Gaussian):  # not nested
        torch.testing.assert_close(refined(inside), model(inside), rtol=3e-5, atol=3e-5)
    assert refined.layers[0].coef.dtype == torch.float32  # N24: the dtype stays
    assert _finite_forward_and_backward(refined, _points(model))


@splines
def test_refined_in_float32_far_from_zero(degree):
    """Grids around 1000 in float32: knots are coarse there, and the function stays all the same."""
    model = _model((1, 1), BSpline(5, degree), dtype=torch.float32)
    x = 1000 + torch.linspace(-1, 1, 200).unsqueeze(1)
    model = move_grid(model, x)
    with torch.no_grad():
        model.layers[0].coef.normal_(generator=torch.Generator().manual_seed(1))
        model.layers[0].weight.zero_()
    refined = refine(model, 20)
    # A knot off by half a unit in the last place moves a function by its slope times that.
    torch.testing.assert_close(refined(x), model(x), rtol=0, atol=2e-2 if degree else 5)
    assert _finite_forward_and_backward(refined, x)


@pytest.mark.parametrize("size", [2, 3, 5, 7, 9])
@bases
def test_any_other_size_is_finite(basis, size):
    model = _moved(_model(basis=basis))
    assert _finite_forward_and_backward(refine(model, size), _points(model))


@pytest.mark.parametrize("basis", [BSpline(4), BSpline(4, degree=1), Gaussian(6)], ids=repr)
def test_more_functions_that_are_not_nested_come_close(basis):
    model = _moved(_model((2, 2), basis))
    inside = _points(model, beyond=0, count=201)
    for size, near in ((9, 0.05), (13, 0.03)):
        error = (refine(model, size)(inside) - model(inside)).square().mean(0).sqrt()
        assert bool((error < near * model(inside).std(0)).all())


def test_any_number_of_intervals_comes_closer_as_it_grows():
    model = _moved(_model((1, 1), BSpline(4)))
    x = _points(model, beyond=0, count=400)
    errors = [float((refine(model, size)(x) - model(x)).detach().abs().max()) for size in (5, 17, 61, 203)]
    assert all(finer < coarser / 5 for coarser, finer in pairwise(errors))


def test_refined_by_more_than_the_data_could_tell():
    # N5: pykan fits refined coefficients to samples, which oscillate between them; here no data are needed.
    model = _moved(_model((1, 2, 1), BSpline(5)))
    x = _points(model, count=301)
    torch.testing.assert_close(refine(model, 1000)(x), model(x), rtol=1e-11, atol=1e-11)


@bases
def test_refine_leaves_the_model_alone_and_shares_nothing(basis):
    # N10, N11: state is kept and no storage is shared between the old network and the new.
    model = _moved(_model(basis=basis))
    model.layers[0].coef.requires_grad_(False)
    model.input_scaling.scale.fill_(0.5)
    model.eval()
    before = _state(model)
    refined = refine(model, basis.size * 2)
    assert not refined.training
    assert not refined.layers[0].coef.requires_grad and refined.layers[1].coef.requires_grad
    assert torch.equal(refined.input_scaling.scale, model.input_scaling.scale)
    with torch.no_grad():
        for tensor in refined.state_dict().values():
            tensor.fill_(7)
    assert _same_bits(before, model)


def test_refine_keeps_base_and_buffers():
    model = _model(basis=BSpline(3)).to(torch.float32)
    model.layers[0].base = model.layers[1].base = nn.Tanh()
    refined = refine(model, 6)
    assert all(isinstance(layer.base, nn.Tanh) for layer in refined.layers)
    assert {value.dtype for value in refined.state_dict().values()} == {torch.float32}


def test_degree_zero():
    # N7: pykan crashes with piecewise constants.
    model = _model(basis=BSpline(4, degree=0))
    for changed in (refine(model, 8), refine(model, 6), _moved(model), refine(_moved(model), 12)):
        assert _finite_forward_and_backward(changed, _points(changed))
    x = _points(model)
    torch.testing.assert_close(refine(model, 8)(x), model(x))


def test_a_batch_of_one():
    # N16: statistics over one row must not be NaN.
    x = torch.tensor([[0.3, -0.2]], dtype=torch.float64)
    moved = move_grid(_model(), x)
    assert _finite_forward_and_backward(moved, x)
    torch.testing.assert_close(moved(x), _model()(x))


def test_refine_and_move_grid_touch_no_global_state(tmp_path, monkeypatch, capfd):
    # N8, N9: neither random state nor disk nor screen.
    monkeypatch.chdir(tmp_path)
    numpy_state = np.random.get_state()[1].copy()  # noqa: NPY002 - the caller's state is what is looked at
    state = torch.get_rng_state()
    refine(_moved(_model()), 15)
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("change", [lambda m: refine(m, 4), lambda m: move_grid(m, torch.zeros(2, 2))])
@pytest.mark.parametrize("model", [MLP((2, 1)), nn.Linear(2, 1)], ids=["MLP", "Linear"])
def test_only_a_kan_has_grids(change, model):
    with pytest.raises(TypeError, match=f"only a KAN has grids, got {type(model).__name__}"):
        change(model)


@pytest.mark.parametrize("size", [0, -1, 2.5, True], ids=str)
def test_sizes_that_cannot_be(size):
    with pytest.raises(ValueError, match=r"intervals is .*; it must be an integer of at least 1"):
        refine(_model(), size)


# ---------------------------------------------------------------------------------------------------- move_grid


@splines
@pytest.mark.parametrize("uniform", [0, 0.5, 1])
def test_polynomials_survive_a_move(degree, uniform):
    """A polynomial of the degree of the splines lies in the old space and in the new one: it stays exactly."""
    model = _model((1, 1), BSpline(4, degree))
    old = model.layers[0].basis
    grid = torch.linspace(-1, 1, 50, dtype=torch.float64)
    values = sum((grid * 0.7 + 0.2) ** power for power in range(degree + 1))
    with torch.no_grad():
        model.layers[0].coef.copy_(torch.linalg.lstsq(old(grid[:, None])[:, 0], values[:, None]).solution[None])
        model.layers[0].weight.zero_()
    skewed = torch.rand(300, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) ** 3 * 1.6 - 0.8
    moved = move_grid(model, skewed, uniform=uniform)
    assert not torch.equal(moved.layers[0].basis.breakpoints, old.breakpoints)
    torch.testing.assert_close(moved(skewed), model(skewed), rtol=1e-8, atol=1e-8)


@bases
def test_a_move_keeps_the_function_where_the_data_are(basis):
    """The finer the grids, the less changes; the domain hardly moves here, so smooth families keep nearly all."""
    x = torch.rand(400, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(2)) * 1.9 - 0.95
    changes = []
    for size in (basis.size, basis.size * 4) if not isinstance(basis, (Fourier, Wavelet)) else (basis.size,):
        model = refine(_model((2, 1), basis), size)
        moved = move_grid(model, x)
        changes.append(float(((moved(x) - model(x)).square().mean().sqrt() / model(x).std()).detach()))
    assert changes[0] < 0.35
    if len(changes) > 1:
        assert changes[1] < max(1.2 * changes[0], 1e-6)


def test_a_function_of_the_base_alone_moves_exactly():
    model = _model((2, 3, 1))
    with torch.no_grad():
        for layer in model.layers:
            layer.coef.zero_()
    x = torch.randn(100, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 50
    torch.testing.assert_close(move_grid(model, x)(x), model(x), rtol=1e-12, atol=1e-12)


def test_knots_follow_quantiles():
    x = torch.randn(4001, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).exp()
    knots = placement(BSpline(8).double(), x, uniform=0, margin=0)
    quantiles = torch.quantile(x, torch.linspace(0, 1, 9, dtype=torch.float64), dim=0).T
    # The least gap pushes a few apart, by a share of the width.
    width = (quantiles[:, -1:] - quantiles[:, :1]) / 8
    assert bool(((knots - quantiles).abs() < 8 * LEAST_GAP * width).all())
    assert bool(((knots[:, 4] - knots[:, 0]) < (knots[:, 8] - knots[:, 4]) / 4).all())


def test_knots_equal_quantiles_when_these_are_apart():
    x = torch.linspace(-1, 1, 1001, dtype=torch.float64)[:, None]
    x = x.sign() * x.abs() ** 0.8 + 3
    knots = placement(BSpline(8).double(), x, uniform=0, margin=0)
    quantiles = torch.quantile(x, torch.linspace(0, 1, 9, dtype=torch.float64), dim=0).T
    torch.testing.assert_close(knots, quantiles, rtol=1e-12, atol=1e-12)


def test_knots_are_even():
    x = torch.randn(100, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).exp()
    knots = placement(BSpline(8).double(), x, uniform=1, margin=0.1)
    gaps = knots.diff(dim=1)
    torch.testing.assert_close(gaps, gaps.mean(1, keepdim=True).expand_as(gaps), rtol=1e-10, atol=0)
    width = x.max(0).values - x.min(0).values
    torch.testing.assert_close(knots[:, 0], x.min(0).values - 0.1 * width)
    torch.testing.assert_close(knots[:, -1], x.max(0).values + 0.1 * width)


def test_every_layer_moves_to_what_the_moved_layers_before_it_give():
    model = _model((2, 3, 3, 1))
    x = torch.randn(200, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 5
    moved, hidden = move_grid(model, x, margin=0), x
    for layer in moved.layers:
        low, high = layer.basis.domain.unbind(-1)
        torch.testing.assert_close(low, hidden.min(0).values)
        torch.testing.assert_close(high, hidden.max(0).values)
        hidden = layer(hidden)


def test_data_are_in_the_units_of_the_inputs():
    model = _model((1, 1))
    model.input_scaling.scale.fill_(0.1)
    model.input_scaling.shift.fill_(-2)
    moved = move_grid(model, torch.linspace(0, 10, 50, dtype=torch.float64)[:, None], margin=0)
    torch.testing.assert_close(moved.layers[0].basis.domain, torch.tensor([[-2.0, -1.0]], dtype=torch.float64))


STUBBORN = {
    "constant": lambda n: np.full(n, 0.3),
    "constant zero": lambda n: np.zeros(n),
    "constant and large": lambda n: np.full(n, 1e6),
    "two values": lambda n: np.arange(n) % 2,
    "one different": lambda n: (np.arange(n) == n - 1) * 1.0,
    "duplicates": lambda n: np.repeat(np.linspace(0, 1, 3), n)[::3],
    "far outlier": lambda n: np.r_[np.linspace(0, 1e-6, n - 1), 1e6],
    "heavy tail": lambda n: np.tan(np.linspace(-1.57, 1.57, n)),
    "nearly constant": lambda n: 1000 + 1e-4 * np.linspace(0, 1, n),
    "tiny spread": lambda n: 1 + 1e-12 * np.linspace(0, 1, n),
    "shifted": lambda n: np.linspace(1000, 1010, n),
    "huge": lambda n: 1e15 * np.linspace(-1, 1, n),
    "enormous": lambda n: 1e30 * np.linspace(-1, 1, n),
    "tiny": lambda n: 1e-30 * np.linspace(-1, 1, n),
    "signed zeros": lambda n: np.where(np.arange(n) % 2, 0.0, -0.0),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("uniform", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("data", STUBBORN)
def test_knots_rise_with_a_least_gap_whatever_the_data(data, uniform, dtype):
    x = torch.tensor(STUBBORN[data](30)).to(dtype).unsqueeze(1)
    for intervals in (1, 5, 100):
        basis = BSpline(intervals).to(dtype)
        knots = basis.at(placement(basis, x, uniform=uniform, margin=0.01)).knots
        gaps = knots.diff(dim=1)
        assert bool(torch.isfinite(knots).all()) and bool((gaps > 0).all())
        width = knots[:, -1] - knots[:, 0]
        # The knots outside double the width at most a few times over; the least gap is a share of the mean gap.
        assert float(gaps.min() / width) > 0.02 * LEAST_GAP / intervals
        low, high = basis.at(placement(basis, x, uniform=uniform, margin=0.01)).domain[0]
        assert low <= x.min() and x.max() <= high


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("data", STUBBORN)
@pytest.mark.parametrize("basis", [BSpline(5), BSpline(3, degree=0), Chebyshev(5), Gaussian(5)], ids=repr)
def test_stubborn_columns_give_no_nan(data, basis, dtype):
    if data == "enormous" and dtype == torch.float32:
        pytest.skip("a gradient multiplies two such numbers, which float32 cannot hold; fit scales its inputs")
    n = 12
    column = torch.tensor(STUBBORN[data](n)).to(dtype)
    x = torch.stack([column[:n], torch.linspace(-1, 1, n, dtype=dtype)], 1)
    moved = move_grid(_model((2, 3, 1), basis, dtype=dtype), x)
    assert moved.layers[0].coef.dtype == dtype
    assert _finite_forward_and_backward(moved, x)
    again = move_grid(refine(moved, 2 * basis.size), x, uniform=0)
    assert _finite_forward_and_backward(again, x)


@pytest.mark.parametrize("samples", [1, 2, 3, 5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@bases
def test_fewer_samples_than_intervals(basis, samples, dtype):
    # N7: quantiles of fewer samples than knots coincide.
    x = torch.randn(samples, 2, generator=torch.Generator().manual_seed(3)).to(dtype)
    moved = move_grid(refine(_model(basis=basis, dtype=dtype), 3 * basis.size), x, uniform=0)
    assert _finite_forward_and_backward(moved, x)
    assert _finite_forward_and_backward(moved, x * 10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@bases
def test_a_dangling_node_then_a_move_then_the_gradient(basis, dtype):
    # N1: edges pruned away leave a node whose value is constant; in pykan its knots coincide, and the backward pass
    # gives NaN to all that comes before.
    model = _model((2, 3, 2, 1), basis, dtype=dtype)
    with torch.no_grad():
        for node, layer in ((1, model.layers[0]), (0, model.layers[1])):
            layer.weight[node] = 0
            layer.coef[..., node] = 0
    x = torch.randn(50, 2, generator=torch.Generator().manual_seed(0)).to(dtype)
    for _ in range(3):
        model = move_grid(model, x)
        assert _finite_forward_and_backward(model, x)
    optimiser = torch.optim.SGD(model.parameters(), lr=1e-2)
    model(x).square().mean().backward()
    optimiser.step()
    assert all(bool(torch.isfinite(p).all()) for p in model.parameters())


def test_a_constant_column_keeps_its_grid_when_its_value_is_inside():
    model = _model((2, 1))
    x = torch.stack([torch.full((20,), 0.3), torch.linspace(-2, 2, 20)], 1).double()
    moved = move_grid(model, x, margin=0)
    torch.testing.assert_close(moved.layers[0].basis.domain[0], model.layers[0].basis.domain[0])
    x[:, 0] = 40
    assert bool((move_grid(model, x).layers[0].basis.domain[0] - 40).abs().max() <= 1)


@bases
def test_move_grid_leaves_the_model_alone_and_shares_nothing(basis):
    # N11.
    model = _moved(_model(basis=basis))
    x = torch.randn(30, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    before, rows = _state(model), x.clone()
    moved = move_grid(model, x)
    with torch.no_grad():
        for tensor in moved.state_dict().values():
            tensor.fill_(7)
    assert _same_bits(before, model)
    assert torch.equal(x, rows)
    assert all(p.grad_fn is None and p.grad is None for p in moved.parameters())


@pytest.mark.as_shipped
def test_data_of_another_dtype_are_welcome():
    # N24.
    model = _model((1, 1), dtype=torch.float32)
    for x in (torch.linspace(0, 5, 20, dtype=torch.float64), torch.arange(6)):
        moved = move_grid(model, x[:, None], margin=0)
        assert moved.layers[0].basis.breakpoints.dtype == torch.float32
        torch.testing.assert_close(moved.layers[0].basis.domain, torch.tensor([[0.0, 5.0]]))


def test_a_model_under_inference_mode_moves():
    model, x = _model(), torch.linspace(-2, 3, 20, dtype=torch.float64).view(10, 2)
    with torch.inference_mode():
        outputs = move_grid(model, x)(x)
    torch.testing.assert_close(outputs, move_grid(model, x)(x))


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(3, 1), r"x must have shape \(samples, 2\) with samples, got \(3, 1\)"),
        (torch.zeros(0, 2), r"x must have shape \(samples, 2\) with samples, got \(0, 2\)"),
        (torch.zeros(2), r"x must have shape \(samples, 2\) with samples, got \(2,\)"),
        (torch.tensor([[0.0, float("nan")]]), "x holds NaN or infinity; drop or fill those rows first"),
        (torch.tensor([[0.0, float("inf")]]), "x holds NaN or infinity; drop or fill those rows first"),
    ],
    ids=["narrow", "empty", "flat", "nan", "inf"],
)
def test_bad_data_are_explained(x, message):
    with pytest.raises(ValueError, match=message):
        move_grid(_model(dtype=torch.float32), x)


@pytest.mark.parametrize(
    "options", [{"uniform": -0.1}, {"uniform": 1.1}, {"margin": -1}, {"uniform": float("nan")}], ids=str
)
def test_bad_options_are_explained(options):
    with pytest.raises(ValueError, match=r"uniform must lie in \[0, 1\] and margin be at least 0"):
        move_grid(_model(), torch.zeros(3, 2).double(), **options)


# ------------------------------------------------------------------------------------------------------- pieces


@pytest.mark.parametrize("count", [1, 2, 5])
def test_gauss_points_integrate_polynomials(count):
    points = torch.tensor([[0.0, 0.2, 1.0], [-3.0, 1.0, 2.0]], dtype=torch.float64)
    nodes, weights = gauss_points(points, count)
    for power in range(2 * count):
        want = (points[:, -1] ** (power + 1) - points[:, 0] ** (power + 1)) / (power + 1)
        torch.testing.assert_close((weights * nodes**power).sum(1), want)


@bases
def test_projection_to_itself_is_the_identity(basis):
    matrix = projection(basis, basis)
    torch.testing.assert_close(matrix[0], torch.eye(basis.num, dtype=torch.float64), rtol=0, atol=1e-6)
