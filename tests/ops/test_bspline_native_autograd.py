"""The compiled B-spline layer and the derivatives of PyTorch: who gets a graph, what it holds, and what takes the reference."""

import pytest
import torch
from torch.autograd import forward_ad
from torch.autograd.graph import save_on_cpu, saved_tensors_hooks
from torch.utils.checkpoint import checkpoint

import superpose
from superpose.ops.bspline import bspline_linear, native, reference

pytest.importorskip("superpose._kernels", reason="there are no compiled kernels", exc_type=ImportError)

INPUTS, OUTPUTS = 3, 4
KNOTS = ((torch.arange(13, dtype=torch.float64) - 3) * 0.3 - 0.9).unsqueeze(0)


def ours(x, coef, weight=None):
    with superpose.using(bspline_linear="native"):
        return bspline_linear(x, coef, KNOTS.to(x), 3, "linear", weight)


def either(x, coef, weight=None):
    """By the dispatch, as a user calls it."""
    return bspline_linear(x, coef, KNOTS.to(x), 3, "linear", weight)


def expected(x, coef, weight=None):
    return reference.bspline_linear(x, coef, KNOTS.to(x), 3, "linear", weight)


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


@pytest.fixture
def tensors(generator):
    """Points, coefficients and weights."""
    shapes = (OUTPUTS, INPUTS), (INPUTS, 9, OUTPUTS), (OUTPUTS, INPUTS)  # as many points as outputs, see below
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]


@pytest.mark.parametrize("needed", range(8))
@pytest.mark.parametrize("base", [True, False])
def test_gradients_of_some_of_the_arguments(needed, base, tensors):
    tensors = tensors if base else tensors[:2]
    leaves = [tensor for bit, tensor in enumerate(tensors) if needed >> bit & 1]
    for leaf in leaves:
        leaf.requires_grad_()
    out = ours(*tensors)
    assert out.requires_grad is bool(leaves)
    assert (out.grad_fn is not None) is bool(leaves)
    if leaves:
        out.sin().sum().backward()
        grads = [tensor.grad for tensor in tensors]
        wanted = iter(torch.autograd.grad(expected(*tensors).sin().sum(), leaves))
        for tensor, grad in zip(tensors, grads, strict=True):
            if tensor.requires_grad:
                close(grad, next(wanted))
            else:
                assert grad is None


@pytest.mark.parametrize("needed", [(True, False), (False, True), (True, True)])
def test_what_is_not_needed_is_not_computed(needed, tensors, monkeypatch):
    given = []
    call = native._call
    monkeypatch.setattr(native, "_call", lambda *args: given.append(args[-3:]) or call(*args))
    x, coef, weight = tensors
    out = ours(x.requires_grad_(needed[0]), coef, weight.requires_grad_(needed[1]))
    out.sum().backward()
    assert [where != 0 for where in given[-1]] == [needed[0], needed[1], needed[1]]


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_no_graph_where_none_is_wanted(mode, tensors):
    with mode():
        out = ours(*(tensor.requires_grad_() for tensor in tensors))
    assert out.grad_fn is None
    assert not out.requires_grad
    close(out.clone(), expected(*tensors).detach())


@pytest.mark.parametrize("degree", [1, 2, 3])
@pytest.mark.parametrize("extrapolation", ["linear", "clamp", "zero"])
def test_gradcheck(degree, extrapolation, generator):
    knots = torch.tensor([[-1.3, -1.2, -1.1, -1.0, -0.6, 0.1, 1.0, 1.2, 1.4, 1.5]], dtype=torch.float64)
    knots = knots[:, 3 - degree : 7 + degree]
    x = torch.tensor([[-0.8, 0.3], [-1.7, 0.02], [-0.3, 1.31]], dtype=torch.float64)
    coef = torch.randn(2, 3 + degree, 2, generator=generator, dtype=torch.float64)
    weight = torch.randn(2, 2, generator=generator, dtype=torch.float64)

    def function(x, coef, weight):
        with superpose.using(bspline_linear="native"):
            return bspline_linear(x, coef, knots, degree, extrapolation, weight)

    leaves = [tensor.requires_grad_() for tensor in (x, coef, weight)]
    assert torch.autograd.gradcheck(function, leaves)
    assert torch.autograd.gradgradcheck(function, leaves)


def test_twice_and_with_a_graph(tensors):
    """Twice through the same graph, then with a graph of the gradients, whose gradients are the reference's."""
    leaves = [tensor.requires_grad_() for tensor in tensors]
    out, theirs = ours(*tensors), expected(*tensors)
    first, again = (torch.autograd.grad(out.sin().sum(), leaves, retain_graph=True) for _ in range(2))
    slopes = torch.autograd.grad(out.sin().sum(), leaves, create_graph=True)
    wanted = torch.autograd.grad(theirs.sin().sum(), leaves, create_graph=True)
    for a, b, c, d in zip(first, again, slopes, wanted, strict=True):
        assert torch.equal(a, b)
        close(a, d)
        close(c, d)
    penalties = [sum(slope.square().sum() for slope in each) for each in (slopes, wanted)]
    for a, b in zip(*(torch.autograd.grad(penalty, leaves) for penalty in penalties), strict=True):
        close(a, b)


def test_arguments_that_depend_on_each_other(tensors):
    """Coefficients computed from the points, and points that are the weights too: no path counts twice."""
    gradients = []
    for function in (ours, expected):
        x = tensors[0].detach().requires_grad_()
        for coef, weight in ((tensors[1] * x.mean(), tensors[2]), (tensors[1], x), (tensors[1] * x.sum(), x * 2)):
            out = function(x.clone(), coef, weight) if weight is x else function(x, coef, weight)
            gradients.append(torch.autograd.grad(out.sin().sum(), x, retain_graph=True)[0])
            gradients.append(torch.autograd.grad(out.sin().sum(), x, create_graph=True)[0])
            batch = torch.stack([out.detach().cos(), torch.ones_like(out)])
            gradients.append(torch.autograd.grad(out, x, batch, is_grads_batched=True)[0])
    for a, b in zip(gradients[:9], gradients[9:], strict=True):
        close(a, b)


def test_the_same_tensor_twice(tensors):
    x = tensors[0].requires_grad_()
    for graph in (False, True):
        a, b = (torch.autograd.grad(f(x, tensors[1], x).sum(), x, create_graph=graph)[0] for f in (ours, expected))
        close(a, b)


@pytest.mark.parametrize("vectorize", [False, True])
def test_functional_hessian(vectorize, tensors):
    a, b = (
        torch.autograd.functional.hessian(lambda *t, f=f: f(*t).sin().sum(), tuple(tensors), vectorize=vectorize)
        for f in (either, expected)
    )
    for row, wanted in zip(a, b, strict=True):
        for mine, theirs in zip(row, wanted, strict=True):
            close(mine, theirs)


TRANSFORMS = {
    "vmap": torch.func.vmap,
    "jacrev": torch.func.jacrev,
    "jacfwd": torch.func.jacfwd,
    "hessian": torch.func.hessian,
    "jvp": lambda f: lambda x: torch.func.jvp(f, (x,), (x.sin(),)),
    "per sample": lambda f: torch.func.vmap(torch.func.grad(lambda x: f(x).sin().sum())),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms_take_the_reference(name, tensors):
    seen = []

    def function(x):
        seen.extend(superpose.which(either, x, *tensors[1:]))
        return either(x, *tensors[1:])

    close(TRANSFORMS[name](function)(tensors[0]), TRANSFORMS[name](lambda x: expected(x, *tensors[1:]))(tensors[0]))
    assert {decision.implementation for decision in seen} == {"reference"}
    assert "torch.func" in seen[0].obstacles["native"]


def test_dual_numbers(tensors):
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(tensors[0], tensors[0].cos())
        a, b = (forward_ad.unpack_dual(f(dual, *tensors[1:])).tangent for f in (either, expected))
        assert "forward-mode" in superpose.which(either, dual, *tensors[1:])[0].obstacles["native"]
    close(a, b)


@pytest.mark.parametrize("how", ["legacy", "vmap"])
def test_batched_gradients(how, tensors):
    """The forward pass ran compiled; the backward pass gets many gradients at once."""
    results = []
    for function in (ours, expected):
        x, coef, weight = (tensor.detach().requires_grad_() for tensor in tensors)
        out = function(x, coef, weight)
        batch = torch.stack([torch.ones_like(out), out.detach().cos()])
        if how == "legacy":
            results += torch.autograd.grad(out, (x, coef, weight), batch, is_grads_batched=True)
        else:
            each = torch.func.vmap(
                lambda g, out=out, leaves=(x, coef, weight): torch.autograd.grad(out, leaves, g, True)
            )
            results += each(batch)
    for a, b in zip(results[:3], results[3:], strict=True):
        close(a, b)


def test_the_graph_holds_the_arguments_alone(tensors):
    kept = []
    with saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        ours(*(tensor.requires_grad_() for tensor in tensors))
    assert {tensor.data_ptr() for tensor in kept} == {tensor.data_ptr() for tensor in (*tensors, KNOTS)}


@pytest.mark.parametrize("changed", [0, 1, 2])
def test_a_change_in_place_is_noticed(changed, tensors):
    """In the same words as torch.nn.functional.linear."""
    out = ours(*(tensor.clone().requires_grad_() for tensor in tensors))
    saved = [*out.grad_fn.saved_tensors]
    with torch.no_grad():
        saved[changed].add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.sum().backward()


def test_a_view_of_points_that_change_is_noticed(tensors):
    x = torch.cat([tensors[0]] * 2)
    out = ours(x[2:6], tensors[1].requires_grad_())
    x.zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.sum().backward()


def test_hooks_on_saved_tensors(tensors):
    results = []
    for function, graph in ((ours, False), (ours, True), (expected, False)):
        leaves = [tensor.detach().requires_grad_() for tensor in tensors]
        with save_on_cpu():
            out = function(leaves[0] * 1, *leaves[1:])
        results.append(torch.autograd.grad(out.sin().sum(), leaves, create_graph=graph))
    for a, b, c in zip(*results, strict=True):
        close(a, c)
        close(b, c)


@pytest.mark.parametrize("reentrant", [False, True])
def test_activation_checkpoints(reentrant, tensors):
    results = []
    for function in (ours, expected):
        leaves = [tensor.detach().requires_grad_() for tensor in tensors]
        out = checkpoint(function, *leaves, use_reentrant=reentrant)
        out.sin().sum().backward()
        results.append([out.detach(), *(leaf.grad for leaf in leaves)])
    for a, b in zip(*results, strict=True):
        close(a, b)


@pytest.mark.filterwarnings("ignore:Anomaly Detection has been enabled")
def test_anomaly_mode(tensors):
    x = tensors[0].requires_grad_()
    with torch.autograd.detect_anomaly():
        ours(*tensors).sum().backward()
    close(x.grad, torch.autograd.grad(expected(*tensors).sum(), x)[0])
    with pytest.raises(RuntimeError, match="returned nan"), torch.autograd.detect_anomaly():
        (ours(*tensors) * torch.nan).sum().backward()


def test_two_layers_and_a_leaf_that_gathers(tensors, generator):
    """A hidden layer, one coefficient tensor used by both: the gradient arrives in .grad twice and adds up."""
    coef = torch.randn(INPUTS, 9, INPUTS, generator=generator, dtype=torch.float64)
    grads = []
    for function in (ours, expected):
        x, shared = tensors[0].detach().requires_grad_(), coef.detach().requires_grad_()
        for _ in range(2):
            function(function(x, shared), shared).sin().sum().backward()
        grads += [x.grad, shared.grad]
    close(grads[0], grads[2])
    close(grads[1], grads[3])
