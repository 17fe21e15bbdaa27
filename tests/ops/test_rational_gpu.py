"""The Triton kernels of the rational operation against the reference in float64.

Where there is a GPU the tests run on it. Where there is none, one test runs the others in Triton's interpreter, which must
be asked for before Triton is imported, so in a process of its own; and every kernel is compiled for GPUs that are not here.
"""

import os
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode

from superpose._select import using
from superpose.ops.rational import gpu, rational, reference

triton = pytest.importorskip("triton", reason="Triton comes with PyTorch on Linux alone")
GPUTarget = pytest.importorskip("triton.backends.compiler").GPUTarget

DEVICE = "cpu" if gpu.INTERPRETED else "cuda"


def on_device(test):
    """A test that needs a GPU, or the interpreter."""
    missing = not gpu.INTERPRETED and not torch.cuda.is_available()
    return pytest.mark.gpu(pytest.mark.skipif(missing, reason="no GPU; the interpreter runs these tests")(test))


DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
ROUNDING = {torch.float32: 2e-6, torch.float64: 1e-14, torch.bfloat16: 4e-3, torch.float16: 5e-4}
SUMS = {torch.float32: 2e-6, torch.float64: 1e-13, torch.bfloat16: 2e-6, torch.float16: 2e-6}
EVERY = (True, True, True)


def tensors(shape, axis=-1, dtype=torch.float32, groups=4, degrees=(5, 4), shared=(True, False), seed=0):
    """Gradient, x and coefficients; the terms of the sums have one sign, so that their errors are not magnified."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*size):
        return torch.rand(size, generator=generator, dtype=torch.float64)

    wide = torch.promote_types(dtype, torch.float32)
    rows = [1 if one else groups for one in shared]
    x, grad = draw(*shape) * 4 - 2, draw(*shape) + 0.5
    # Negative coefficients too, but not so large that P loses its digits.
    numerator = draw(rows[0], degrees[0] + 1) + 0.1
    denominator = (draw(rows[1], degrees[1]) + 0.1) * torch.where(torch.arange(degrees[1]) % 2 == 1, -0.3, 1.0)
    made = grad.to(dtype), x.to(dtype), numerator.to(wide), denominator.to(wide)
    return [each.to(DEVICE) for each in made]


def expected(grad, x, numerator, denominator, form, axis):
    """The value and all gradients in float64."""
    leaves = [each.detach().double().requires_grad_() for each in (x, numerator, denominator)]
    y = reference.rational(*leaves, form, axis)
    return y.detach(), *torch.autograd.grad(y, leaves, grad.double(), materialize_grads=True)


def off(got, exact):
    return float((got.double() - exact).norm()) / (float(exact.norm()) or 1.0)


def check(grad, x, numerator, denominator, form="sum_abs", axis=-1):
    args = x, numerator, denominator, form, axis % x.ndim
    assert gpu.obstacle(*args) is None
    got = [gpu.forward(*args), *gpu.backward(grad, *args, EVERY)]
    fused = gpu.backward_and_forward(grad, *args, EVERY)
    exact = expected(grad, *args)
    limits = ROUNDING[x.dtype], 4 * ROUNDING[x.dtype], SUMS[x.dtype], SUMS[x.dtype]
    for one, other, wanted, limit in zip(got, fused, exact, limits, strict=True):
        assert one.shape == wanted.shape
        assert off(one, wanted) <= limit
        assert off(other, wanted) <= limit
    assert [each.dtype for each in got] == [x.dtype, x.dtype, numerator.dtype, denominator.dtype]


@on_device
@pytest.mark.parametrize("form", reference.FORMS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype_and_form(dtype, form):
    check(*tensors((33, 48), dtype=dtype, groups=4), form=form)


@on_device
@pytest.mark.parametrize("rows", [0, 1, 7, 300])
def test_any_number_of_rows(rows):
    check(*tensors((rows, 24), dtype=torch.bfloat16))


@on_device
@pytest.mark.parametrize(
    ("channels", "groups", "shared"),
    [
        (255, 8, (True, False)), (3, 8, (False, False)), (1, 1, (True, False)), (1, 4, (False, True)),
        (6, 6, (False, False)), (40, 8, (False, True)), (100, 3, (True, False)),
    ],
)  # fmt: skip
def test_any_number_of_channels_and_groups(channels, groups, shared):
    check(*tensors((5, channels), groups=groups, shared=shared))


@on_device
def test_equal_inputs_give_equal_bits():
    grad, x, *coefficients = tensors((1000, 24), dtype=torch.bfloat16)
    args = grad, x, *coefficients, "sum_abs", 1, EVERY
    for one, other in zip(gpu.backward_and_forward(*args), gpu.backward_and_forward(*args), strict=True):
        assert torch.equal(one, other)


@on_device
def test_one_row_for_all():
    check(*tensors((5, 24), groups=8, shared=(True, True)))


@on_device
@pytest.mark.parametrize("form", reference.FORMS)
@pytest.mark.parametrize("degrees", [(0, 0), (0, 2), (3, 0), (7, 6)])
def test_any_degrees(degrees, form):
    check(*tensors((9, 24), degrees=degrees, groups=2), form=form)


@on_device
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("layout", ["contiguous", "channels last", "transposed", "gaps", "expanded"])
def test_any_axis_and_layout(axis, layout):
    grad, x, *coefficients = tensors((3, 8, 5, 6), dtype=torch.bfloat16, groups=2)
    if layout == "channels last":
        grad, x = (each.to(memory_format=torch.channels_last) for each in (grad, x))
    elif layout == "transposed":
        x = x.transpose(1, 2).contiguous().transpose(1, 2)
    elif layout == "gaps":
        x = torch.stack([x, -x], -1)[..., 0]
    elif layout == "expanded":
        x = x[:1].expand(3, -1, -1, -1)
    check(grad, x, *coefficients, axis=axis)
    y = gpu.forward(x, *coefficients, "sum_abs", axis)
    assert y.stride() == torch.empty_like(x).stride()


@on_device
@pytest.mark.parametrize("form", reference.FORMS)
def test_a_gradient_of_any_layout(form):
    grad, x, *coefficients = tensors((6, 4, 24))
    for each in (
        grad[..., :1].expand_as(grad),
        grad[:1, :1, :1].expand_as(grad),
        grad.transpose(0, 1).contiguous().transpose(0, 1),
    ):
        check(each, x, *coefficients, form=form)


@on_device
def test_coefficients_of_any_layout_and_dtype():
    grad, x, numerator, denominator = tensors((6, 24), shared=(False, False))
    check(grad, x, numerator[:1].expand(4, -1), denominator.T.contiguous().T)
    args = x, numerator.double(), denominator.bfloat16(), "sum_abs", 1
    got = gpu.forward(*args), *gpu.backward(grad, *args, EVERY)
    assert [each.dtype for each in got] == [torch.float32, torch.float32, torch.float64, torch.bfloat16]
    for one, wanted, limit in zip(got, expected(grad, *args), (1e-7, 2e-7, 1e-13, 4e-3), strict=True):
        assert off(one, wanted) <= limit, (one, wanted)


@on_device
def test_what_is_not_needed_is_not_computed():
    grad, x, *coefficients = tensors((40, 24))
    args = x, *coefficients, "sum_abs", 1
    everything = gpu.backward(grad, *args, EVERY)
    for number in range(8):
        needed = bool(number & 1), bool(number & 2), bool(number & 4)
        for got, wanted, need in zip(gpu.backward(grad, *args, needed), everything, needed, strict=True):
            assert (got is not None) == need
            assert got is None or off(got, wanted.double()) <= 1e-6


@on_device
@pytest.mark.parametrize("form", reference.FORMS)
@pytest.mark.parametrize("zero", [0.0, -0.0])
def test_absolute_values_have_slope_one_at_zero(zero, form):
    x, grad = torch.full((2, 8), zero, device=DEVICE), torch.ones(2, 8, device=DEVICE)
    numerator = torch.tensor([[2.0, 3.0, 1.0]], device=DEVICE)
    denominator = torch.tensor([[0.0, 0.0], [0.5, -0.5]], device=DEVICE)
    args = x, numerator, denominator, form, 1
    for one, wanted in zip(gpu.backward(grad, *args, EVERY), expected(grad, *args)[1:], strict=True):
        torch.testing.assert_close(one.double(), wanted)


@on_device
@pytest.mark.filterwarnings("ignore:(invalid value|overflow):RuntimeWarning")
def test_large_numbers_and_numbers_that_are_not():
    x = torch.tensor([[1e7, -1e7, 6e9, torch.nan, torch.inf, 0.0, 1.0, -3.0]], device=DEVICE)
    numerator = torch.tensor([[1.0, 1.0, 0.5, 0.25, 0.125]], device=DEVICE)
    denominator = torch.tensor([[0.5, 0.1, 0.2, 0.1]], device=DEVICE)
    y = gpu.forward(x, numerator, denominator, "sum_abs", 1)
    wanted = reference.rational(x.double(), numerator.double(), denominator.double(), "sum_abs", 1)
    # Infinity over infinity is no number; 1 / 4 of Q is what the reciprocal is taken of, so 1e38 is not too large for it.
    torch.testing.assert_close(y.double(), wanted, equal_nan=True, rtol=1e-6, atol=0)


@on_device
@settings(max_examples=10, deadline=None, derandomize=True)
@given(
    shape=st.lists(st.integers(1, 9), min_size=1, max_size=4).map(tuple),
    axis=st.integers(0, 3),
    groups=st.integers(1, 6),
    degrees=st.sampled_from([(5, 4), (2, 3), (0, 1)]),
    dtype=st.sampled_from(DTYPES),
    form=st.sampled_from(reference.FORMS),
    shared=st.tuples(st.booleans(), st.booleans()),
)
def test_any_arguments(shape, axis, groups, degrees, dtype, form, shared):
    check(
        *tensors(shape, dtype=dtype, groups=groups, degrees=degrees, shared=shared), form=form, axis=axis % len(shape)
    )


@on_device
@pytest.mark.as_shipped
def test_the_operation_chooses_these_kernels_and_derives_by_them():
    grad, x, *coefficients = tensors((40, 24))
    leaves = [each.requires_grad_() for each in (x, *coefficients)]
    with using(rational="triton"):
        y = rational(*leaves)
    got = y.detach(), *torch.autograd.grad(y, leaves, grad)
    args = x.detach(), *(each.detach() for each in coefficients), "sum_abs", 1
    for one, wanted in zip(got, [gpu.forward(*args), *gpu.backward(grad, *args, EVERY)], strict=True):
        assert torch.equal(one, wanted)


COMMON = {"M": 5, "N": 4, "SUM_ABS": True, "V": 8, "THREADS": 128, "FAST": True, "NEED_Y": True, "NEED_X": True}
COMMON |= {"NEED_A": True, "NEED_B": True, "PERIODS": 128, "BLOCK": 16}


@pytest.mark.skipif(gpu.INTERPRETED, reason="the interpreter compiles nothing")
@pytest.mark.parametrize(
    ("name", "dtype", "target", "constants"),
    [
        ("forward", "bf16", 90, {}),
        ("forward", "fp32", 100, {"V": 4, "SUM_ABS": False, "INDEX": "int64"}),
        ("backward", "bf16", 80, {}),
        ("backward", "bf16", 90, {}),
        ("backward", "fp16", 100, {"SUM_ABS": False}),
        ("backward", "fp64", 90, {"V": 2, "FAST": False, "M": 7, "N": 0}),
        ("part", "fp32", 90, {}),
        ("sum", "bf16", 90, {}),
    ],
)
def test_a_kernel_compiles_for_a_gpu_that_is_not_here(name, dtype, target, constants):
    from superpose.ops.rational import gpu_kernels as kernels

    tl, kernel = kernels.tl, getattr(kernels, f"{name}_kernel")
    wide = "fp64" if dtype == "fp64" else "fp32"
    constants = COMMON | {"WIDE": tl.float64 if wide == "fp64" else tl.float32, "INDEX": "int32"} | constants
    constants["INDEX"] = getattr(tl, constants["INDEX"])
    kinds = {each: "i32" for each in kernels.RUNTIME} | {each: "constexpr" for each in constants}
    kinds |= dict.fromkeys(("sums_pointer", "parts_pointer", "a_pointer", "b_pointer"), f"*{wide}")
    signature = {each: kinds.get(each, f"*{dtype}") for each in kernel.arg_names}
    aligned = {(i,): [["tt.divisibility", 16]] for i, kind in enumerate(signature.values()) if kind.startswith("*")}
    used = {each: value for each, value in constants.items() if each in signature}
    source = triton.compiler.ASTSource(fn=kernel, signature=signature, constexprs=used, attrs=aligned)
    options = {"num_warps": 4, "enable_fp_fusion": True}
    made = triton.compile(source, target=GPUTarget("cuda", target, 32), options=options).asm
    assert "atom" not in made["ptx"]
    assert ".local" not in made["ptx"]
    if name in ("forward", "backward"):
        # A thread reads 16 bytes at once, and shares nothing with others.
        assert "ld.global.v4.b32" in made["ptx"] or "ld.global.v2.b64" in made["ptx"]
        assert "bar.sync" not in made["ptx"]
    assert made["cubin"]


@pytest.mark.skipif(gpu.INTERPRETED, reason="the interpreter takes the place of every GPU")
def test_a_compiled_graph_for_a_gpu_holds_the_operation(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: (9, 0))
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph.code)
        return graph

    with FakeTensorMode():  # a device that is not there
        x, numerator, denominator = (torch.empty(size, device="cuda:0") for size in ((8, 16), (1, 6), (8, 4)))
        with using(rational="triton"):
            torch.compile(rational, fullgraph=True, backend=backend)(x, numerator, denominator)
    assert len(graphs) == 1
    assert "ops.superpose.rational(" in graphs[0]


@pytest.mark.gpu
@pytest.mark.slow
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_torch_compile_takes_the_operation_in_one_graph():
    grad, x, *coefficients = tensors((40, 24))
    leaves = [each.requires_grad_() for each in (x, *coefficients)]
    with using(rational="triton"):
        plain, compiled = rational(*leaves), torch.compile(rational, fullgraph=True)(*leaves)
    assert torch.equal(plain, compiled)
    for one, other in zip(*(torch.autograd.grad(y, leaves, grad) for y in (plain, compiled)), strict=True):
        assert torch.equal(one, other)


@pytest.mark.skipif(gpu.INTERPRETED, reason="this is the interpreter")
@pytest.mark.slow
def test_in_the_interpreter():
    """All tests above, without a GPU."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", __file__]
    environment = os.environ | {"TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""}
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert " passed" in result.stdout


def test_importing_superpose_does_not_import_triton():
    code = "import sys, superpose.ops.rational; assert 'triton' not in sys.modules"
    subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        check=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64, torch.complex64], ids=str)
def test_a_tensor_elsewhere_is_an_obstacle(dtype):
    x = torch.ones(2, 4, dtype=dtype, device="meta")
    reason = gpu.obstacle(x, torch.ones(1, 2), torch.ones(1, 2), "sum_abs", 1)
    assert reason is not None
    assert "GPU" in reason or "float32" in reason
