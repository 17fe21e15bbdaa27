"""The group-rational function by a kernel, alone and with a linear map, and all that PyTorch does with functions."""

import copy

import pytest
import torch
from torch.autograd import forward_ad
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.functional import linear
from torch.utils.checkpoint import checkpoint

import superpose
from superpose.ops.rational import native, rational, rational_linear, reference

pytest.importorskip("superpose._kernels", reason="there are no compiled kernels", exc_type=ImportError)

ops = torch.ops.superpose


def plain(x, a, b, form="sum_abs"):
    return reference.rational(x, a, b, form, x.ndim - 1)


def plain_linear(x, a, b, weight, bias=None, form="sum_abs"):
    return linear(plain(x, a, b, form), weight, bias)


FUNCTIONS = {"rational": (rational, plain, 3), "linear": (rational_linear, plain_linear, 5)}


@pytest.fixture(params=FUNCTIONS)
def pair(request, generator):
    """Ours, the same by the reference, and their tensors in float64."""
    ours, theirs, number = FUNCTIONS[request.param]
    shapes = (3, 4, 16), (1, 6), (8, 4), (5, 16), (5,)
    tensors = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    return ours, theirs, tensors[:number]


@pytest.fixture(autouse=True)
def fresh():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def close(mine, theirs):
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def leaves(tensors, needed=None):
    return [t.detach().clone().requires_grad_(needed is None or bool(needed >> i & 1)) for i, t in enumerate(tensors)]


def gradients(function, tensors, **options):
    return torch.autograd.grad(function(*tensors).sin().sum(), [t for t in tensors if t.requires_grad], **options)


@pytest.mark.parametrize("form", ["sum_abs", "abs_sum"])
def test_gradcheck(form, pair):
    ours, _, tensors = pair
    with superpose.using(rational="native"):
        given = leaves(tensors)
        assert torch.autograd.gradcheck(lambda *t: ours(*t, form=form), given, fast_mode=True)
        assert torch.autograd.gradgradcheck(lambda *t: ours(*t, form=form), given, fast_mode=True)


def test_gradients_of_some_of_the_arguments(pair):
    ours, theirs, tensors = pair
    for needed in range(1, 2 ** len(tensors)):
        given = leaves(tensors, needed)
        close(gradients(ours, given), gradients(theirs, given))
    out = ours(*tensors)
    assert not out.requires_grad
    with torch.no_grad():
        assert ours(*leaves(tensors)).grad_fn is None


def test_what_is_not_needed_is_not_computed(pair, monkeypatch):
    ours, _, tensors = pair
    given = []
    call = native._call
    monkeypatch.setattr(native, "_call", lambda *args: given.append(args[-3:]) or call(*args))
    for needed in (0b001, 0b010, 0b100):
        ours(*leaves(tensors, needed)).sum().backward()
        assert [where != 0 for where in given[-1]] == [needed == 1, needed > 1, needed > 1]


def test_twice_and_with_a_graph(pair):
    """Gradients with a graph, and theirs: a penalty on the slopes."""
    ours, theirs, tensors = pair
    results = []
    for function in (ours, theirs):
        given = leaves(tensors)
        slopes = gradients(function, given, create_graph=True)
        results.append([*slopes, *torch.autograd.grad(sum(s.square().sum() for s in slopes), given)])
    close(*results)


def test_degrees_of_zero_twice(generator):
    """The result depends on neither x nor the empty denominator."""
    x, a, b = (torch.randn(s, generator=generator, requires_grad=True) for s in ((2, 3), (1, 1), (1, 0)))
    slopes = torch.autograd.grad(rational(x, a, b).sum(), (x, a, b), create_graph=True)
    assert [each.tolist() for each in slopes] == [[[0.0] * 3] * 2, [[6.0]], [[]]]


def test_arguments_that_depend_on_each_other(pair):
    ours, theirs, tensors = pair
    for graph in (False, True):
        results = []
        for function in (ours, theirs):
            x = tensors[0].clone().requires_grad_()
            out = function(x, tensors[1] * x.mean(), x[0, :2, :4], *tensors[3:])
            results.append(torch.autograd.grad(out.sin().sum(), x, create_graph=graph))
        close(*results)


def test_gradients_that_are_expanded_or_batched(pair):
    ours, theirs, tensors = pair
    results = []
    for function in (ours, theirs):
        given = leaves(tensors)
        out = function(*given)
        batch = torch.stack([out.detach().cos(), torch.ones_like(out)])
        found = list(torch.autograd.grad(out.sum(), given, retain_graph=True))
        found += torch.autograd.grad(out, given, batch, is_grads_batched=True, retain_graph=True)
        found += torch.func.vmap(lambda g, out=out, given=given: torch.autograd.grad(out, given, g, retain_graph=True))(
            batch
        )
        results.append(found)
    close(*results)


def test_x_of_any_layout(pair):
    ours, theirs, tensors = pair
    for x in (tensors[0].transpose(0, 1), tensors[0][:, ::2], tensors[0][:1].expand(3, -1, -1), tensors[0][0, 0]):
        given = [x.detach().requires_grad_(), *leaves(tensors[1:])]
        close((ours(*given),), (theirs(*given),))
        close(gradients(ours, given), gradients(theirs, given))


TRANSFORMS = {
    "vmap": torch.func.vmap,
    "jacfwd": torch.func.jacfwd,
    "hessian": lambda f: torch.func.hessian(lambda x: f(x).sin().sum()),
    "jvp": lambda f: lambda x: torch.func.jvp(f, (x,), (x.sin(),)),
    "jacrev": torch.func.jacrev,
    "per sample": lambda f: torch.func.vmap(torch.func.grad(lambda x: f(x).sin().sum())),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms_take_the_reference(name, pair):
    ours, theirs, (x, *rest) = pair
    seen = []

    def function(x):
        seen.extend(superpose.which(ours, x, *rest))
        return ours(x, *rest)

    x = x[:2, :1]
    torch.testing.assert_close(TRANSFORMS[name](function)(x), TRANSFORMS[name](lambda x: theirs(x, *rest))(x))
    assert {decision.implementation for decision in seen} == {"reference"}


def test_dual_numbers(pair):
    ours, theirs, (x, *rest) = pair
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(x, x.cos())
        mine, exact = (forward_ad.unpack_dual(f(dual, *rest)).tangent for f in (ours, theirs))
    close((mine,), (exact,))


def test_a_map_over_parameters(pair):
    """An ensemble: torch.func.vmap over all that is learned."""
    ours, theirs, (x, *rest) = pair
    stacked = [torch.stack([each, each * 1.1]) for each in rest]
    ways = [torch.func.vmap(lambda *t, f=f: f(x, *t)) for f in (ours, theirs)]
    close((ways[0](*stacked),), (ways[1](*stacked),))


def test_what_is_saved(pair):
    """The arguments, and nothing of the size of what lies between the function and the linear map."""
    ours, theirs, tensors = pair
    given = leaves(tensors)
    kept = []
    for function in (ours, theirs):
        with saved_tensors_hooks(lambda tensor: kept[-1].append(tensor.data_ptr()) or tensor, lambda tensor: tensor):
            kept.append([])
            function(*given)
    arguments = {tensor.data_ptr() for tensor in given}
    assert set(kept[0]) <= arguments
    assert set(kept[1]) - arguments


def test_a_change_in_place_is_noticed(pair):
    ours, _, tensors = pair
    x = tensors[0].clone()
    out = ours(x, *leaves(tensors[1:]))
    x.zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.sum().backward()


@pytest.mark.parametrize("reentrant", [False, True])
def test_activation_checkpoints(reentrant, pair):
    ours, theirs, tensors = pair
    close(
        gradients(lambda *t: checkpoint(ours, *t, use_reentrant=reentrant), leaves(tensors))
        if not reentrant
        else _backward(ours, tensors),
        gradients(theirs, leaves(tensors)),
    )


def _backward(function, tensors):
    """Reentrant checkpoints know backward() alone."""
    given = leaves(tensors)
    checkpoint(function, *given, use_reentrant=True).sin().sum().backward()
    return [tensor.grad for tensor in given]


def test_autocast_keeps_the_dtype(pair):
    """Of the function; the linear map gets what autocast gives torch.nn.functional.linear."""
    ours, theirs, tensors = pair
    for dtype in (torch.float32, torch.bfloat16):
        results = []
        for function in (ours, theirs):
            given = [each.detach().float().requires_grad_() for each in tensors]
            given[0] = given[0].detach().to(dtype).requires_grad_()
            with torch.autocast("cpu", dtype=torch.bfloat16):
                out = function(*given)
            assert out.dtype is (dtype if function in (rational, plain) else torch.bfloat16)
            results.append((out.detach(), *torch.autograd.grad(out.float().sin().sum(), given)))
            assert [g.dtype for g in results[-1][1:]] == [each.dtype for each in given]
        for mine, exact in zip(*results, strict=True):
            assert (mine.float() - exact.float()).abs().max() <= 2**-6 * exact.float().abs().max()


def test_autocast_leaves_double_alone(pair):
    ours, theirs, tensors = pair
    with torch.autocast("cpu", dtype=torch.bfloat16):
        close((ours(*tensors),), (theirs(*tensors),))


def test_autocast_twice(generator):
    """A penalty on slopes under autocast, whose backward pass runs within it."""
    given = [torch.randn(s, generator=generator, requires_grad=True) for s in ((4, 16), (1, 6), (8, 4), (5, 16), (5,))]
    results = []
    for function in (rational_linear, plain_linear):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            slopes = gradients(lambda *t, f=function: f(*t).float(), given, create_graph=True)
            results.append(torch.autograd.grad(sum(s.square().sum() for s in slopes), given))
    for mine, exact in zip(*results, strict=True):
        assert (mine - exact).abs().max() <= 2**-5 * exact.abs().max()


# ------------------------------------------------------------------------------------------------ compiled graphs


def operations(graph):
    return [str(node.target) for node in graph.graph.nodes]


def test_compile(pair):
    """In one graph, with any batch, with our operations whole in it."""
    ours, theirs, tensors = pair
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return torch._dynamo.lookup_backend("aot_eager")(graph, inputs)

    compiled = torch.compile(ours, fullgraph=True, dynamic=True, backend=backend)
    for samples in (3, 0, 7):
        given = leaves([tensors[0].repeat(3, 1, 1)[:samples], *tensors[1:]])
        close(gradients(compiled, given), gradients(theirs, given))
    assert all(any("superpose.rational" in name for name in operations(graph)) for graph in graphs)


def test_compile_where_some_gradients_are_not_needed(pair):
    ours, theirs, tensors = pair
    for needed in (0b1, 0b10, 0b100, 0b11110 % 2 ** len(tensors)):
        compiled = torch.compile(ours, fullgraph=True, backend="aot_eager")
        given = leaves(tensors, needed)
        close(gradients(compiled, given), gradients(theirs, given))
        torch._dynamo.reset()


def test_compile_keeps_little_and_follows_autocast(generator):
    """A compiled graph saves no more than ours does."""
    given = [torch.randn(s, generator=generator, requires_grad=True) for s in ((40, 16), (1, 6), (8, 4), (5, 16), (5,))]
    compiled = torch.compile(rational_linear, fullgraph=True, backend="aot_eager")
    kept = []
    with saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        compiled(*given)
    assert [tensor.data_ptr() for tensor in kept if tensor.numel() >= 40 * 16] == [given[0].data_ptr()]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(compiled(*given), rational_linear(*given))


@pytest.mark.slow
def test_compile_with_inductor(pair):
    ours, theirs, tensors = pair
    compiled = torch.compile(ours, fullgraph=True)
    given = leaves([tensors[0].transpose(0, 1), *tensors[1:]])
    close(gradients(compiled, given), gradients(theirs, given))


@pytest.mark.as_shipped
def test_export_and_tracing_take_the_reference(pair):
    ours, theirs, (x, *rest) = pair

    class Layer(torch.nn.Module):
        def forward(self, x):
            return ours(x, *rest)

    program = torch.export.export(Layer(), (x,))
    assert not any("superpose" in name for name in operations(program.graph_module))
    close((program.module()(x),), (theirs(x, *rest),))
    traced = torch.fx.experimental.proxy_tensor.make_fx(lambda x: ours(x, *rest))(x)
    assert not any("superpose" in name for name in operations(traced))


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize("layout", ["dense", "permuted", "gaps"])
def test_operations_keep_the_rules_of_pytorch(layout, pair):
    """Schema, fake tensors and their strides, autograd registration, and tracing with sizes that change."""
    _, _, tensors = pair
    change = {"dense": torch.clone, "permuted": lambda x: x.transpose(0, 1), "gaps": lambda x: x[:, ::2]}[layout]
    for dtype in (torch.float64, torch.bfloat16):
        given = [each.to(dtype) for each in tensors]
        given[0] = change(given[0])
        learned = [each.detach().requires_grad_() for each in given]
        if len(given) == 5:
            torch.library.opcheck(ops.rational_linear.default, (*learned, "sum_abs"))
            continue
        torch.library.opcheck(ops.rational.default, (*learned, "sum_abs", 2))
        for needed in ([False, True, True, True], [False, True, False, False], [True, False, True, False]):
            torch.library.opcheck(ops.rational_backward.default, (given[0], *given, "abs_sum", 2, needed))


# ------------------------------------------------------------------------------------------------ training


def test_copies_that_learn_together(tmp_path, pair):
    """DistributedDataParallel, of one process: hooks on gradients and buckets see the gradients of plain PyTorch."""
    ours, theirs, (x, *rest) = pair

    class Layer(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.learned = torch.nn.ParameterList(each.clone() for each in rest)

        def forward(self, x):
            return ours(x, *self.learned)

    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        layer = Layer()
        torch.nn.parallel.DistributedDataParallel(layer)(x).sin().sum().backward()
        found = [each.grad.clone() for each in layer.learned]
    finally:
        torch.distributed.destroy_process_group()
    given = [x, *leaves(rest)]
    close(found, gradients(theirs, given))


def test_copies_of_a_tensor_that_wants_gradients_and_other_devices(pair):
    ours, _, tensors = pair
    copies = copy.deepcopy(leaves(tensors))
    assert ours(*copies).requires_grad
    meta = ours(*(each.to("meta") for each in tensors))
    assert meta.shape == ours(*tensors).shape
