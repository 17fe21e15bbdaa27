"""The B-spline layer in plain PyTorch against the reference: values, gradients, and what hands over to the reference."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import superpose
from superpose.ops.bspline import bspline_linear, plain, reference

DEGREES = (1, 2, 3)
EXTRAPOLATIONS = ("linear", "clamp", "zero")
KINDS = ("uniform", "scaled", "shared", "uneven")
INPUTS, OUTPUTS, INTERVALS = 3, 4, 6


@pytest.fixture
def poisoned_memory(monkeypatch):
    """Memory that is not initialised holds NaN, so that reading it before writing is seen."""
    empty = torch.Tensor.new_empty
    monkeypatch.setattr(torch.Tensor, "new_empty", lambda *args: empty(*args).fill_(torch.nan))


def _knots(degree, kind, generator):
    """One row or one for every input, of equal steps or not."""
    count = INTERVALS + 2 * degree + 1
    if kind == "uniform":
        return ((torch.arange(count, dtype=torch.float64) - degree) * 0.3 - 0.7).unsqueeze(0)
    if kind == "scaled":
        return _knots(degree, "uniform", generator) * torch.tensor([[0.5], [1], [2]], dtype=torch.float64) + 0.1
    rows = 1 if kind == "shared" else INPUTS
    return (0.05 + torch.rand(rows, count, generator=generator, dtype=torch.float64)).cumsum(-1) * 0.4 - 2


def _points(knots, degree, generator, more=0):
    """All breakpoints, the numbers next to them, points near and far outside, and random ones, each column mixed."""
    inner = knots[:, degree : knots.shape[-1] - degree].expand(INPUTS, -1).T
    low, high = inner[0], inner[-1]
    beside = [torch.nextafter(inner, torch.full_like(inner, far)) for far in (-999.0, 999.0)]
    outside = torch.stack([low - 0.3, high + 0.2, low - 50, high + 70])
    inside = low + (high - low) * torch.rand(20 + more, INPUTS, generator=generator, dtype=torch.float64)
    x = torch.cat([inner, *beside, outside, inside])
    return torch.stack([column[torch.randperm(len(x), generator=generator)] for column in x.T], -1)


def _parameters(degree, generator):
    coef = torch.randn(INPUTS, INTERVALS + degree, OUTPUTS, generator=generator, dtype=torch.float64)
    return coef, torch.randn(OUTPUTS, INPUTS, generator=generator, dtype=torch.float64)


def _results(function, x, coef, knots, degree, extrapolation, weight):
    """The output and the gradients of x, coef and weight for a fixed cotangent."""
    leaves = [tensor.detach().requires_grad_() for tensor in (x, coef, weight) if tensor is not None]
    out = function(leaves[0], leaves[1], knots, degree, extrapolation, *(leaves[2:] or [None]))
    cotangent = torch.linspace(-1, 2, out.numel(), dtype=torch.float64).sin().to(out.dtype).view(out.shape)
    return [out, *torch.autograd.grad(out, leaves, cotangent)]


def _assert_same(args, tolerance=1e-12):
    assert plain.obstacle(*args) is None
    exact = [arg.double() if isinstance(arg, torch.Tensor) else arg for arg in args]
    ours, expected = _results(plain.bspline_linear, *args), _results(reference.bspline_linear, *exact)
    for mine, theirs in zip(ours, expected, strict=True):
        assert mine.dtype == args[0].dtype
        torch.testing.assert_close(
            mine.double(), theirs, rtol=tolerance, atol=tolerance * (1 + theirs.abs().max().item())
        )


@pytest.mark.usefixtures("poisoned_memory")
@pytest.mark.parametrize("degree", DEGREES)
@pytest.mark.parametrize("extrapolation", EXTRAPOLATIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_values_and_gradients(degree, extrapolation, kind, generator):
    knots = _knots(degree, kind, generator)
    x, (coef, weight) = _points(knots, degree, generator), _parameters(degree, generator)
    _assert_same((x, coef, knots, degree, extrapolation, weight))
    inside = x.clamp(knots[:, degree], knots[:, -degree - 1])
    _assert_same((inside, coef, knots, degree, extrapolation, None))
    with torch.no_grad():
        args = x, coef, knots, degree, extrapolation, weight
        torch.testing.assert_close(plain.bspline_linear(*args), reference.bspline_linear(*args), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("degree", DEGREES)
@pytest.mark.parametrize("kind", ["uniform", "uneven"])
def test_float32(degree, kind, generator):
    """Against the reference in float64, at points away from the knots: there one rounding moves a slope."""
    knots = _knots(degree, kind, generator).float()
    low, high = knots[:, degree], knots[:, -degree - 1]
    x = low + (high - low) * (0.001 + torch.linspace(-0.2, 1.2, 50).unsqueeze(-1))
    coef, weight = (tensor.float() for tensor in _parameters(degree, generator))
    _assert_same((x.expand(-1, INPUTS).contiguous(), coef, knots, degree, "linear", weight), 3e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("intervals", [5, 20, 100])
def test_knots_of_a_layer_are_uniform(dtype, intervals):
    knots = superpose.BSpline(intervals).expanded(INPUTS).to(dtype).knots
    assert dtype != torch.float32 or plain._read(knots, 3).uniform is not None
    moved = knots.double()
    moved[1, 5] += 1e-6
    assert plain._read(moved, 3).uniform is None


def test_knots_that_change_in_place_are_read_again(generator):
    knots = _knots(3, "uniform", generator)
    x, (coef, weight) = _points(knots, 3, generator), _parameters(3, generator)
    for change in (lambda: None, lambda: knots.data.mul_(1.5), lambda: knots.numpy().__iadd__(0.2)):
        change()
        _assert_same((x, coef, knots, 3, "linear", weight))
    knots[0, 4] += 0.01
    _assert_same((x, coef, knots, 3, "linear", weight))
    coef = torch.randn(INPUTS, INTERVALS + 4, OUTPUTS, generator=generator, dtype=torch.float64)
    _assert_same((x, coef, knots, 2, "linear", weight))  # the same knots may serve another degree


@pytest.mark.parametrize("kind", ["uniform", "uneven"])
@pytest.mark.parametrize("shape", [(), (0,), (7,), (2, 3), (2, 0, 3)], ids=str)
def test_any_batch_shape(shape, kind, generator):
    coef, weight = _parameters(3, generator)
    x = torch.randn(*shape, INPUTS, generator=generator, dtype=torch.float64)
    knots = _knots(3, kind, generator)
    assert plain.bspline_linear(x, coef, knots, 3, "linear", weight).shape == (*shape, OUTPUTS)
    if x.numel():
        _assert_same((x, coef, knots, 3, "linear", weight))
    else:
        gradients = _results(plain.bspline_linear, x, coef, knots, 3, "linear", weight)[1:]
        assert not any(gradient.any() for gradient in gradients)


@pytest.mark.usefixtures("poisoned_memory")
@pytest.mark.parametrize("extrapolation", EXTRAPOLATIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_blocks(extrapolation, kind, generator, monkeypatch):
    """Samples and inputs that end in the middle of a block."""
    monkeypatch.setattr(plain, "SAMPLES", 16)
    monkeypatch.setattr(plain, "BLOCK", 16 * (INTERVALS + 3) * 2)
    knots = _knots(3, kind, generator)
    x, (coef, weight) = _points(knots, 3, generator), _parameters(3, generator)
    assert len(x) % 16
    assert len(plain._blocks(len(x), INPUTS, INTERVALS + 3)) == 2 * (len(x) // 16 + 1)
    _assert_same((x, coef, knots, 3, extrapolation, weight))


def test_blocks_of_the_real_size(generator):
    knots = _knots(3, "scaled", generator)
    x, (coef, weight) = _points(knots, 3, generator, more=20_000), _parameters(3, generator)
    assert len(plain._blocks(len(x), INPUTS, INTERVALS + 3)) > 1
    _assert_same((x, coef, knots, 3, "linear", weight))


@pytest.mark.parametrize("kind", ["uniform", "uneven"])
def test_rows_are_looked_up_where_there_are_many(kind, generator, monkeypatch):
    monkeypatch.setattr(plain, "MANY", 1)
    monkeypatch.setattr(plain, "SAMPLES", 16)
    monkeypatch.setattr(plain, "BLOCK", 16 * (INTERVALS + 3) * 2)
    monkeypatch.setattr(plain, "_fill", None)
    knots = _knots(3, kind, generator)
    x, (coef, weight) = _points(knots, 3, generator), _parameters(3, generator)
    x[3, 1] = torch.nan
    args = x, coef, knots, 3, "linear", weight
    ours, expected = plain.bspline_linear(*args), reference.bspline_linear(*args)
    torch.testing.assert_close(ours, expected, rtol=1e-11, atol=1e-11, equal_nan=True)
    (gradient,) = torch.autograd.grad(plain.bspline_linear(x.requires_grad_(), *args[1:])[4:].sum(), x)
    assert gradient[4:].isfinite().all()


def test_many_intervals(generator):
    """The real rule: 100 intervals are looked up."""
    knots = superpose.BSpline(100).expanded(INPUTS).double().knots
    coef = torch.randn(INPUTS, 103, OUTPUTS, generator=generator, dtype=torch.float64)
    x = torch.randn(700, INPUTS, generator=generator, dtype=torch.float64) / 2
    _assert_same((x, coef, knots, 3, "linear", None))


@pytest.mark.usefixtures("poisoned_memory")
def test_arrays_that_are_not_contiguous(generator):
    knots = _knots(3, "uniform", generator)
    coef, weight = _parameters(3, generator)
    x = _points(knots, 3, generator).T.contiguous().T
    coef = coef.permute(2, 1, 0).contiguous().permute(2, 1, 0)
    weight = weight.repeat(1, 2)[:, ::2]
    assert not any(tensor.is_contiguous() for tensor in (x, coef, weight))
    _assert_same((x, coef, knots, 3, "linear", weight))
    _assert_same((x[:1].expand(9, -1), coef, knots.expand(INPUTS, -1), 3, "linear", weight))
    total = plain.bspline_linear(x, coef.requires_grad_(), knots, 3, "linear", weight).sum()
    expected = reference.bspline_linear(x, coef, knots, 3, "linear", weight).sum()
    torch.testing.assert_close(*(torch.autograd.grad(out, coef) for out in (total, expected)))


@pytest.mark.parametrize("extrapolation", EXTRAPOLATIONS)
@pytest.mark.parametrize("kind", ["uniform", "uneven"])
def test_nan_and_infinity_stay_in_their_sample(extrapolation, kind, generator):
    knots = _knots(3, kind, generator)
    x, (coef, weight) = _points(knots, 3, generator), _parameters(3, generator)
    x[3, 1], x[5, 0], x[8, 2] = torch.nan, torch.inf, -torch.inf
    args = knots, 3, extrapolation
    for each in (weight, None):
        ours, expected = (f.bspline_linear(x, coef, *args, each) for f in (plain, reference))
        assert ours[3].isnan().all()
        assert torch.equal(ours.isnan(), expected.isnan())
        torch.testing.assert_close(ours, expected, rtol=1e-11, atol=1e-11, equal_nan=True)
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(plain.bspline_linear(leaf, coef, *args, weight)[[0, 1, 2, 4, 6, 7]].sum(), leaf)
    assert gradient[[0, 1, 2, 4, 6, 7]].isfinite().all()


@pytest.mark.parametrize("degree", DEGREES)
@pytest.mark.parametrize("kind", ["uniform", "uneven"])
def test_gradcheck(degree, kind, generator):
    knots = _knots(degree, kind, generator)
    low, high = knots[:, degree], knots[:, -degree - 1]
    x = low + (high - low) * torch.tensor([[-0.13], [0.29], [1.1]], dtype=torch.float64)
    leaves = [tensor.expand(-1, INPUTS) if tensor is x else tensor for tensor in (x, *_parameters(degree, generator))]
    leaves = [leaf.clone().requires_grad_() for leaf in leaves]

    def function(x, coef, weight):
        return plain.bspline_linear(x, coef, knots, degree, "linear", weight)

    assert torch.autograd.gradcheck(function, leaves)
    assert torch.autograd.gradgradcheck(function, leaves)


@pytest.mark.parametrize("alone", [0, 1, 2])
def test_each_gradient_alone(alone, generator):
    knots = _knots(3, "uneven", generator)
    tensors = [_points(knots, 3, generator), *_parameters(3, generator)]
    tensors[alone].requires_grad_()
    x, coef, weight = tensors
    out, expected = (f.bspline_linear(x, coef, knots, 3, "linear", weight) for f in (plain, reference))
    gradients = [torch.autograd.grad(each.square().sum(), tensors[alone])[0] for each in (out, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-11, atol=1e-9)


def test_nothing_is_saved_but_the_arguments(generator):
    knots = _knots(3, "uniform", generator)
    tensors = [_points(knots, 3, generator), *_parameters(3, generator)]
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        plain.bspline_linear(tensors[0], tensors[1].requires_grad_(), knots, 3, "linear", tensors[2])
    assert {tensor.data_ptr() for tensor in kept} == {tensor.data_ptr() for tensor in (*tensors, knots)}


def test_gradient_penalty(generator):
    """A loss on a gradient trains; the first layer's output feeds the second."""
    knots = _knots(3, "uniform", generator)
    first, weight = _parameters(3, generator)
    second = torch.randn(OUTPUTS, INTERVALS + 3, 2, generator=generator, dtype=torch.float64)
    leaves = [_points(knots, 3, generator), first, second, weight]
    gradients = []
    for implementation in (plain, reference):
        x, a, b, w = (leaf.detach().requires_grad_() for leaf in leaves)
        hidden = implementation.bspline_linear(x, a, knots, 3, "linear", w)
        out = implementation.bspline_linear(hidden, b, knots, 3, "linear", None)
        (slope,) = torch.autograd.grad(out.sin().sum(), x, create_graph=True)
        gradients.append(torch.autograd.grad(slope.square().mean() + out.mean(), (x, a, b, w)))
    for ours, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-10, atol=1e-10 * (1 + expected.abs().max().item()))


@pytest.mark.parametrize("batched", [False, True])
def test_jacobian_by_rows(batched, generator):
    knots = _knots(3, "uniform", generator)
    coef, weight = _parameters(3, generator)
    x = torch.randn(INPUTS, generator=generator, dtype=torch.float64)
    ours, expected = (
        torch.autograd.functional.jacobian(
            lambda point, f=f: f.bspline_linear(point, coef, knots, 3, "linear", weight), x, vectorize=batched
        )
        for f in (plain, reference)
    )
    torch.testing.assert_close(ours, expected)


def _dispatched(generator, seen):
    """A function of one sample through the operation, which writes down what ran."""
    knots = _knots(3, "uniform", generator)
    coef, weight = _parameters(3, generator)

    def function(x):
        seen.extend(decision.implementation for decision in superpose.which(call, x))
        return call(x)

    def call(x):
        return bspline_linear(x, coef, knots, 3, "linear", weight)

    def expected(x):
        return reference.bspline_linear(x, coef, knots, 3, "linear", weight)

    return function, expected


@pytest.mark.parametrize(
    "transform",
    [
        torch.func.vmap,
        lambda f: torch.func.vmap(torch.func.jacrev(f)),
        lambda f: torch.func.vmap(torch.func.hessian(f)),
        lambda f: lambda x: torch.func.jvp(f, (x,), (x.sin(),))[1],
        lambda f: lambda x: torch.func.vjp(f, x)[1](torch.ones(len(x), OUTPUTS, dtype=x.dtype))[0],
    ],
    ids=["vmap", "jacrev", "hessian", "jvp", "vjp"],
)
def test_transforms_run_the_reference(transform, generator):
    seen = []
    function, expected = _dispatched(generator, seen)
    x = torch.randn(5, INPUTS, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(transform(function)(x), transform(expected)(x))
    assert set(seen) == {"reference"}


def test_forward_mode_runs_the_reference(generator):
    seen = []
    function, expected = _dispatched(generator, seen)
    x = torch.randn(5, INPUTS, generator=generator, dtype=torch.float64)
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(x, x.cos())
        ours, theirs = (torch.autograd.forward_ad.unpack_dual(f(dual)).tangent for f in (function, expected))
    torch.testing.assert_close(ours, theirs)
    assert set(seen) == {"reference"}


def test_compile_traces_the_reference(generator):
    knots = _knots(3, "uniform", generator)
    leaves = [tensor.requires_grad_() for tensor in (_points(knots, 3, generator), *_parameters(3, generator))]

    def function(x, coef, weight):
        return bspline_linear(x, coef, knots, 3, "linear", weight)

    def expected(x, coef, weight):
        return reference.bspline_linear(x, coef, knots, 3, "linear", weight)

    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    results = [[out, *torch.autograd.grad(out.sum(), leaves)] for out in (compiled(*leaves), expected(*leaves))]
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"degree": 4}, "degrees 1 to 3, not 4"),
        ({"x": torch.zeros(2, INPUTS, dtype=torch.float16)}, "float32 and float64"),
        ({"x": torch.zeros(2, INPUTS, device="meta")}, "CPU"),
        ({"weight": torch.zeros(OUTPUTS, INPUTS, dtype=torch.float64)}, "one dtype"),
        ({"knots": torch.arange(10.0).unsqueeze(0).requires_grad_()}, "no gradient for the knots"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_obstacles(change, reason):
    args = {"x": torch.zeros(2, INPUTS), "coef": torch.zeros(INPUTS, 6, OUTPUTS), "knots": torch.arange(10.0)[None]}
    args |= {"degree": 3, "extrapolation": "linear", "weight": None}
    assert plain.obstacle(**args) is None
    assert reason in plain.obstacle(**(args | change))


def test_modes_are_obstacles():
    args = torch.zeros(2, INPUTS), torch.zeros(INPUTS, 6, OUTPUTS), torch.arange(10.0).unsqueeze(0), 3, "linear", None
    with torch.autocast("cpu"):
        assert "autocast" in plain.obstacle(*args)
        x = args[0].clone().requires_grad_()
        out = bspline_linear(x, *args[1:])
    with FlopCounterMode(display=False):
        assert "traced" in plain.obstacle(*args)
    weight = torch.full((OUTPUTS, INPUTS), 0.1, requires_grad=True)
    out = plain.bspline_linear(x + 0.3, *args[1:-1], weight)
    expected = torch.autograd.grad(out.sum(), weight, retain_graph=True)[0]
    with torch.autocast("cpu"):
        out.sum().backward()
    assert torch.allclose(weight.grad, expected, rtol=1e-5)
