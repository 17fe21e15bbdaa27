"""The compiled B-spline layer and the kinds of tensors and modes that PyTorch has: layouts, devices, compilation, memory."""

import copy
import io
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

import superpose
from superpose.ops.bspline import bspline_linear, native, reference

pytest.importorskip("superpose._kernels", reason="there are no compiled kernels", exc_type=ImportError)

INPUTS, OUTPUTS = 3, 4
KNOTS = ((torch.arange(13, dtype=torch.float64) - 3) * 0.3 - 0.9).unsqueeze(0)
SHAPES = (6, INPUTS), (INPUTS, 9, OUTPUTS), (OUTPUTS, INPUTS)


def ours(x, coef, weight=None, knots=KNOTS):
    with superpose.using(bspline_linear="native"):
        return bspline_linear(x, coef, knots.to(coef), 3, "linear", weight)


def expected(x, coef, weight=None, knots=KNOTS):
    return reference.bspline_linear(x, coef, knots.to(coef), 3, "linear", weight)


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


def assert_same(tensors, grad=None, knots=KNOTS):
    """Output and gradients for a fixed gradient of the output."""
    results = []
    for function in (ours, expected):
        leaves = [tensor.detach().requires_grad_() for tensor in tensors]  # with the strides they have
        out = function(*leaves, knots=knots)
        cotangent = out.detach().cos() if grad is None else grad
        results.append([out.detach(), *torch.autograd.grad(out, leaves, cotangent)])
    for mine, theirs in zip(*results, strict=True):
        assert mine.is_contiguous()
        close(mine, theirs)


@pytest.fixture
def tensors(generator):
    """Points, coefficients and weights."""
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in SHAPES]


@pytest.mark.parametrize("shape", [(), (0,), (7,), (2, 3), (2, 0, 3), (1, 1, 1, 1)], ids=str)
def test_any_batch_shape(shape, tensors, generator):
    x = torch.randn(*shape, INPUTS, generator=generator, dtype=torch.float64)
    assert ours(x, *tensors[1:]).shape == (*shape, OUTPUTS)
    assert_same([x, *tensors[1:]])
    if x.ndim > 2:
        assert_same([x.transpose(0, 1), *tensors[1:]])


@pytest.mark.parametrize("inputs", [0, 3])
@pytest.mark.parametrize("outputs", [0, 4])
def test_no_inputs_or_no_outputs(inputs, outputs):
    x = torch.zeros(5, inputs, dtype=torch.float64, requires_grad=True)
    coef = torch.ones(inputs, 9, outputs, dtype=torch.float64, requires_grad=True)
    out = ours(x, coef)
    close(out, expected(x, coef))
    torch.use_deterministic_algorithms(True)  # memory that is not initialised holds NaN
    try:
        a, b = (torch.autograd.grad(f(x, coef).sum(), (x, coef)) for f in (ours, expected))
    finally:
        torch.use_deterministic_algorithms(False)
    close(a, b)


def test_arrays_that_are_not_contiguous(tensors):
    x, coef, weight = tensors
    strided = [
        [x.T.contiguous().T, coef.permute(2, 1, 0).contiguous().permute(2, 1, 0), weight.repeat(1, 2)[:, ::2]],
        [x.repeat(2, 2)[1::2, 1:4], coef.repeat(1, 2, 1)[:, :18:2], weight.flip(0)],
        [x[:1].expand(9, -1), coef[:, :, :1].expand(-1, -1, 4), weight[:1].expand(4, -1)],
        [torch.cat([x, x]).flatten()[5 : 5 + 12].view(4, 3), coef, weight.T.contiguous().T],
    ]
    for each in strided:
        assert_same(each)
    wide = torch.stack([KNOTS, KNOTS * 1.1, KNOTS - 0.1], -1)[0].T
    assert not wide.is_contiguous()
    assert_same(tensors, knots=wide)
    assert_same(tensors, knots=KNOTS.expand(3, -1))


def test_gradients_that_are_not_contiguous(tensors):
    out = torch.randn(2, 6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    one = torch.ones((), dtype=torch.float64)
    for grad in (
        one.expand(6, 4),
        out[0, :1].expand(6, 4),
        out.movedim(0, -1).contiguous()[..., 1],
        out[0].T.contiguous().T,
    ):
        assert not grad.is_contiguous()
        assert_same(tensors, grad)


def test_numbers_behind_a_negative_view(tensors):
    """The imaginary part of a conjugate is a view whose sign is not in memory."""
    assert_same([torch._neg_view(tensor) for tensor in tensors], torch._neg_view(torch.ones(6, 4, dtype=torch.float64)))


def test_mixed_precision_of_16_bits(tensors):
    """Parameters and points of bfloat16: computed in float32, rounded once."""
    half = [tensor.bfloat16().requires_grad_() for tensor in tensors]
    out = ours(*half)
    wide = [tensor.detach().double().requires_grad_() for tensor in half]
    exact = expected(*wide, knots=KNOTS.bfloat16())
    assert (out.double() - exact).abs().max() <= 2**-8 * exact.abs().max()
    grads, wanted = torch.autograd.grad(out.sum(), half), torch.autograd.grad(exact.sum(), wide)
    for mine, theirs in zip(grads, wanted, strict=True):
        assert mine.dtype is torch.bfloat16
        assert (mine.double() - theirs).abs().max() <= 2**-8 * theirs.abs().max()


def test_autocast(tensors):
    x, coef, weight = (tensor.float().requires_grad_() for tensor in tensors)
    exact = expected(x, coef, weight)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = ours(x, coef, weight)
        again = ours(out[:, :INPUTS], coef, weight)
    assert out.dtype is again.dtype is torch.bfloat16
    assert (out - exact).abs().max() <= 2**-8 * exact.abs().max()
    for mine, theirs in zip(
        torch.autograd.grad(out.sum(), (x, coef, weight)),
        torch.autograd.grad(exact.sum(), (x, coef, weight)),
        strict=True,
    ):
        assert mine.dtype is torch.float32
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-4)


def test_autocast_leaves_double_alone(tensors):
    """As PyTorch's own operations do."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert expected(*tensors).dtype is torch.float64
        assert ours(*tensors).dtype is torch.float64


class Tagged(torch.Tensor):
    """A subclass with nothing of its own."""


def test_what_is_no_plain_tensor_takes_the_reference(tensors):
    x, coef, weight = tensors
    for position in range(3):
        args = [t.as_subclass(Tagged) if i == position else t for i, t in enumerate(tensors)]
        (decision,) = superpose.which(lambda args=args: bspline_linear(*args[:2], KNOTS, 3, "linear", args[2]).sum())
        assert "not Tagged" in decision.obstacles["native"]
    meta = [tensor.to("meta") for tensor in tensors]
    assert bspline_linear(meta[0], meta[1], KNOTS.to("meta"), 3, "linear", meta[2]).shape == (6, 4)
    assert "CPU" in native.obstacle(meta[0], coef, KNOTS, 3, "linear", weight)
    with FakeTensorMode() as mode:
        fake = [mode.from_tensor(tensor) for tensor in (*tensors, KNOTS)]
        out = bspline_linear(fake[0], fake[1], fake[3], 3, "linear", fake[2])
    assert (type(out), out.shape) == (type(fake[0]), (6, 4))
    assert "FakeTensor" in native.obstacle(fake[0], fake[1], fake[3], 3, "linear", None)
    knots = KNOTS.clone().requires_grad_()
    assert bspline_linear(x, coef, knots, 3, "linear", weight).requires_grad
    assert "no gradient for the knots" in native.obstacle(x, coef, knots, 3, "linear", weight)


def test_another_default_device_does_not_matter(tensors):
    """In a process of its own, for this has crashed."""
    code = (
        "import torch; from superpose import KAN; model = KAN((2, 3, 1)); x = torch.ones(5, 2, requires_grad=True)\n"
        "torch.set_default_device('meta'); model(x).sum().backward(); print(x.grad.device, model(x).device)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "cpu cpu\n"), done.stderr


def test_threads_and_repetition_and_batches_change_no_bit(generator):
    """Nor does the layout of the threads: over samples, over outputs, over inputs."""
    for samples, inputs, outputs in ((700, 33, 30), (50, 40, 900), (2000, 20, 65), (9000, 7, 1), (1500, 40, 5)):
        x = torch.randn(samples, inputs, generator=generator)
        coef = torch.randn(inputs, 9, outputs, generator=generator)
        weight = torch.randn(outputs, inputs, generator=generator)
        grad = torch.randn(samples, outputs, generator=generator)
        results = []
        for threads in (1, 2, 2, 3):
            torch.set_num_threads(threads)
            try:
                leaves = [tensor.detach().requires_grad_() for tensor in (x, coef, weight)]
                out = ours(*leaves)
                results.append([out.detach(), *torch.autograd.grad(out, leaves, grad)])
            finally:
                torch.set_num_threads(1)
        for other in results[1:]:
            assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))
        out, grad_x, *_ = results[0]
        order = torch.randperm(samples, generator=generator)
        for rows in (order, order[: samples // 3], order[:1]):
            part = x[rows].requires_grad_()
            again = ours(part, coef, weight)
            assert torch.equal(again, out[rows])
            (slopes,) = torch.autograd.grad(again, part, grad[rows])
            if len(rows) >= 64:
                assert torch.equal(slopes, grad_x[rows])
            else:  # layers of few outputs sum up in another order where the samples are few
                torch.testing.assert_close(slopes, grad_x[rows])


class Largest(TorchDispatchMode):
    """Remembers the size of the largest tensor made."""

    bytes = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for value in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(value, torch.Tensor):
                self.bytes = max(self.bytes, value.untyped_storage().nbytes())
        return out


def test_memory(monkeypatch, generator):
    """Nothing is made of the size samples x inputs x functions or samples x inputs x outputs: neither by PyTorch nor beside it."""
    code = """if True:
        import resource, torch
        from superpose.ops.bspline import native
        def step(samples, inputs, outputs):
            x = torch.rand(samples, inputs, requires_grad=True)
            coef = torch.rand(inputs, 23, outputs, requires_grad=True)
            knots = (torch.arange(27.0) - 3).unsqueeze(0) / 20
            native.bspline_linear(x, coef, knots, 3, "linear", torch.rand(outputs, inputs)).sum().backward()
        step(100, 3, 5)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        step(20_000, 100, 10)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    points = 20_000 * 100 * 4
    assert int(done.stdout) * 1024 <= 2.5 * points + (10 << 20)  # x, its gradient, and scratch: 1 / 10 of a basis
    monkeypatch.setattr(native, "transformed", lambda *args: None)  # lets the observer below see the compiled layer
    x = torch.rand(500, 20, generator=generator).requires_grad_()
    coef = torch.rand(20, 9, 30, generator=generator).requires_grad_()
    with Largest() as largest:
        ours(x, coef).sum().backward()
    assert 0 < largest.bytes <= 500 * 30 * 4


def test_modules_are_copied_and_pickled(tensors):
    layer = superpose.KANLinear(INPUTS, OUTPUTS).double()
    out = layer(tensors[0])
    file = io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    for other in (copy.deepcopy(layer), torch.load(file, weights_only=False)):
        assert torch.equal(other(tensors[0]), out)
    assert superpose.which(layer, tensors[0])[0].implementation == "native"


def zeros(*shape):
    """Numbers that take no memory until they are written."""
    return torch.from_numpy(np.zeros(shape, np.float32))


@pytest.mark.slow
def test_more_points_than_32_bits_count():
    """The last of 2^31 samples bring the gradient; the others are never written, so that they take no memory."""
    samples, last = (1 << 31) + 1000, 1000
    x, grad = zeros(samples, 1), zeros(samples, 1)
    x[-last:, 0], grad[-last:, 0] = torch.linspace(-1, 1, last), torch.linspace(1, 2, last)
    coef, knots = torch.zeros(1, 5, 1), torch.linspace(-2, 2, 7).unsqueeze(0)
    args = coef, knots, None, 1, "linear"
    _, big, _ = native.backward(grad, (x, *args), False, True)
    _, small, _ = native.backward(grad[-last:].clone(), (x[-last:].clone(), *args), False, True)
    assert small.abs().max() > 1
    torch.testing.assert_close(big, small)


@pytest.mark.slow
def test_more_coefficients_than_32_bits_count():
    inputs, outputs, last = (1 << 20) + 3, 520, 3
    coef = zeros(inputs, 4, outputs)
    assert coef.numel() > 1 << 31
    coef[-last:] = torch.randn(last, 4, outputs, generator=torch.Generator().manual_seed(0))
    x = torch.full((2, inputs), 0.3)
    knots = torch.linspace(-2, 2, 6).unsqueeze(0)
    few = x[:, -last:].clone(), coef[-last:].clone(), knots, None, 1, "linear"
    big = x, coef, knots, None, 1, "linear"
    torch.testing.assert_close(native.forward(*big), native.forward(*few))
    grad = torch.ones(2, outputs)
    torch.testing.assert_close(
        native.backward(grad, big, True, False)[0][:, -last:], native.backward(grad, few, True, False)[0]
    )
