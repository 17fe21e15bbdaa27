"""The compiled B-spline layer under torch.compile, torch.export and the checks of torch.library."""

import copy

import pytest
import torch

import superpose
from superpose import KAN, BSpline, KANLinear
from superpose.ops.bspline import bspline_linear, reference

pytest.importorskip("superpose._kernels", reason="there are no compiled kernels", exc_type=ImportError)


@pytest.fixture(autouse=True)
def fresh():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def gradients(function, model, x):
    model.zero_grad()
    x = x.detach().requires_grad_()
    out = function(x)
    out.sin().sum().backward()
    return [out.detach(), x.grad, *(parameter.grad for parameter in model.parameters())]


def operations(graphs):
    return [str(node.target) for graph in graphs for node in graph.graph.nodes]


def test_compile_a_network_with_any_batch(generator):
    """In one graph, with gradients, for batches of many sizes and an empty one."""
    model = KAN((3, 4, 1), BSpline(6), generator=generator).double()
    compiled = torch.compile(copy.deepcopy(model), fullgraph=True, dynamic=True, backend="aot_eager")
    for samples in (5, 0, 300):
        x = torch.randn(samples, 3, generator=generator, dtype=torch.float64)
        with superpose.using(bspline_linear="reference"):
            wanted = gradients(model, model, x)
        for mine, theirs in zip(gradients(compiled, compiled, x), wanted, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-11, atol=1e-11)


def test_compile_keeps_the_operation_whole(generator):
    """The compiled layer is in the graph, and few graphs serve all batches: zero and one may have their own."""
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return torch._dynamo.lookup_backend("aot_eager")(graph, inputs)

    layer = KANLinear(3, 2, generator=generator)
    compiled = torch.compile(layer, fullgraph=True, dynamic=True, backend=backend)
    for samples in (5, 8, 1, 0, 300):
        x = torch.randn(samples, 3, generator=generator)
        assert torch.equal(compiled(x), layer(x))
    assert all(any("superpose.bspline_linear" in name for name in operations([graph])) for graph in graphs)
    assert len(graphs) <= 3


@pytest.mark.parametrize("frozen", ["x", "parameters", "all"])
def test_compile_where_some_gradients_are_not_needed(frozen, generator):
    layer = KANLinear(3, 2, generator=generator).double()
    if frozen != "x":
        layer.requires_grad_(False)
    x = torch.randn(7, 3, generator=generator, dtype=torch.float64).requires_grad_(frozen == "parameters")
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    leaves = [tensor for tensor in (x, *layer.parameters()) if tensor.requires_grad]
    with superpose.using(bspline_linear="reference"):
        wanted = layer(x)
    out = compiled(x)
    torch.testing.assert_close(out, wanted, rtol=1e-11, atol=1e-11)
    assert out.requires_grad is bool(leaves)
    if leaves:
        for mine, theirs in zip(*(torch.autograd.grad(each.sum(), leaves) for each in (out, wanted)), strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-11, atol=1e-11)


def test_compile_under_autocast_and_without_gradients(generator):
    layer = KANLinear(3, 2, generator=generator)
    x = torch.randn(7, 3, generator=generator)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = compiled(x)
        assert out.dtype is torch.bfloat16
        torch.testing.assert_close(out, layer(x), rtol=2**-6, atol=2**-6)
    with torch.no_grad():
        torch.testing.assert_close(compiled(x), layer(x))


def test_compile_of_a_transform_is_right(generator):
    """torch.func inside torch.compile."""
    layer = KANLinear(2, 2, generator=generator).double()
    x = torch.randn(4, 2, generator=generator, dtype=torch.float64)
    function = torch.func.vmap(torch.func.jacrev(layer))
    compiled = torch.compile(function, backend="aot_eager")
    torch.testing.assert_close(compiled(x), function(x))


@pytest.mark.slow
def test_compile_with_inductor(generator):
    model = KAN((3, 4, 1), generator=generator)
    compiled = torch.compile(copy.deepcopy(model), fullgraph=True, dynamic=True)
    for samples in (6, 0, 33):
        x = torch.randn(samples, 3, generator=generator)
        for mine, theirs in zip(gradients(compiled, compiled, x), gradients(model, model, x), strict=True):
            torch.testing.assert_close(mine, theirs)


@pytest.mark.as_shipped
def test_export_takes_the_reference(generator):
    """What is exported runs anywhere."""
    layer = KANLinear(3, 2, generator=generator)
    x = torch.randn(5, 3, generator=generator)
    program = torch.export.export(layer, (x,))
    assert not any("superpose" in name for name in operations([program.graph_module]))
    torch.testing.assert_close(program.module()(x), layer(x))


def arguments(generator, base=True, dtype=torch.float64, requires_grad=True):
    x, coef, weight = (
        torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_(requires_grad)
        for shape in ((6, 3), (3, 7, 4), (4, 3))
    )
    knots = torch.linspace(-2, 2, 11, dtype=torch.float64).to(dtype).unsqueeze(0)
    return x, coef, knots, weight if base else None, 3, "linear"


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize("base", [True, False])
def test_operations_keep_the_rules_of_pytorch(base, generator):
    """Schema, fake tensors, autograd registration, and tracing with sizes that change."""
    for dtype in (torch.float64, torch.bfloat16):
        args = arguments(generator, base, dtype)
        torch.library.opcheck(torch.ops.superpose.bspline_linear.default, args)
        fixed = arguments(generator, base, dtype, requires_grad=False)
        grad = torch.ones(6, 4, dtype=dtype)
        for needs in ((True, True), (True, False), (False, True)):
            torch.library.opcheck(torch.ops.superpose.bspline_linear_backward.default, (grad, *fixed, *needs))


def test_operations_are_right(generator):
    x, coef, knots, weight, *rest = arguments(generator)
    leaves = x, coef, weight
    out = torch.ops.superpose.bspline_linear(x, coef, knots, weight, *rest)
    wanted = reference.bspline_linear(x, coef, knots, *rest, weight)
    for mine, theirs in zip(*(torch.autograd.grad(each.sin().sum(), leaves) for each in (out, wanted)), strict=True):
        torch.testing.assert_close(mine, theirs)
    torch.testing.assert_close(out, wanted)


@pytest.mark.as_shipped
def test_tracing_takes_the_reference(generator):
    x, coef, knots, weight, degree, extrapolation = arguments(generator, requires_grad=False)

    def function(x):
        return bspline_linear(x, coef, knots, degree, extrapolation, weight)

    traced = torch.fx.experimental.proxy_tensor.make_fx(function)(x)
    assert not any("superpose" in name for name in operations([traced]))
    torch.testing.assert_close(traced(x + 0.1), function(x + 0.1))
