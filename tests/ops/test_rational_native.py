"""The compiled group-rational function against the reference in float64, on every instruction set.

Tolerances are in units of the rounding error of the dtype times the size of the terms that are summed.
"""

from contextlib import contextmanager

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import superpose
from superpose.ops.rational import native, rational, reference

kernels = pytest.importorskip("superpose._kernels", reason="there are no compiled kernels", exc_type=ImportError)

FORMS = ("sum_abs", "abs_sum")
DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
ROUNDINGS = 30
"""Rounding errors of the size of a term, and of the sum of absolute terms, that a result may be off by."""


@contextmanager
def threads(number):
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def make_case(generator, shape, axis, rows=(1, 8), degrees=(5, 4), form="sum_abs", dtype=torch.float32):
    """Arguments, and a gradient of the result; in x are zeros of both signs."""
    x, a, b, grad = (
        torch.randn(size, generator=generator, dtype=torch.float64)
        for size in (shape, (rows[0], degrees[0] + 1), (rows[1], degrees[1]), shape)
    )
    x.view(-1)[1:3] = torch.tensor([0.0, -0.0])[: len(x.view(-1)[1:3])]
    coefficients = torch.promote_types(dtype, torch.float32)
    return (x.to(dtype), a.to(coefficients), b.to(coefficients), form, axis), grad.to(dtype)


def exact(args, grad):
    """Values and gradients of the reference in float64, and of each the size of the terms it sums up."""
    *tensors, form, axis = args
    wide = [tensor.double().requires_grad_() for tensor in tensors]
    grad = grad.double()
    out = reference.rational(*wide, form, axis)
    grads = torch.autograd.grad(out, wide, grad, materialize_grads=True)
    x, a, b = (tensor.detach().abs() for tensor in wide)
    if not x.numel():
        return (out.detach(), *grads), (0.0,) * 4
    lower = 1.0 if form == "sum_abs" else (1 + x) ** (b.shape[1])  # what a denominator's cancellation may cost
    sizes = torch.ones_like(x) * lower * a.sum() * (1 + x) ** (a.shape[1] - 1)
    steep = sizes * (1 + b.sum()) * (1 + x) ** b.shape[1] * grad.abs()
    reach = (1 + x) ** max(a.shape[1], b.shape[1])
    return (out.detach(), *grads), (
        sizes.amax(),
        steep.amax(),
        (grad.abs() * reach).sum(),
        (grad.abs() * reach * sizes).sum(),
    )


def assert_same(args, grad, needed=(True, True, True)):
    """Values and gradients of the kernels are the reference's."""
    assert native.obstacle(*args) is None
    ours = native.forward(*args), *native.backward(grad, *args, needed)
    dtype = args[0].dtype
    eps = torch.finfo(torch.promote_types(dtype, torch.float32)).eps
    for mine, theirs, size, like, wanted in zip(
        ours, *exact(args, grad), (args[0], *args[:3]), (True, *needed), strict=True
    ):
        if not wanted:
            assert mine is None
            continue
        assert mine.dtype is like.dtype
        assert mine.shape == theirs.shape
        if mine.numel():
            stored = torch.finfo(like.dtype).eps
            torch.testing.assert_close(
                mine.double(),
                theirs,
                rtol=4 * stored,
                atol=float(ROUNDINGS * eps * size) + 1e-7 * (dtype is torch.float16),
            )


@pytest.mark.usefixtures("level", "poisoned_memory")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("form", FORMS)
def test_layers_of_transformers(dtype, form, generator):
    for channels, rows in ((24, (1, 8)), (192, (1, 8)), (768, (8, 8)), (255, (1, 8)), (3, (8, 1)), (40, (40, 40))):
        assert_same(*make_case(generator, (2, 5, channels), 2, rows, form=form, dtype=dtype))


@pytest.mark.usefixtures("level", "poisoned_memory")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_values_are_exact_to_rounding(dtype, generator):
    """With the first form and positive coefficients nothing cancels: every value and slope is right to some roundings."""
    (x, a, b, *rest), grad = make_case(generator, (70, 48), 1, (8, 8), dtype=dtype)
    args = x.abs(), a.abs(), b.abs(), *rest
    out, expected = native.forward(*args), exact(args, grad)[0][0]
    stored, computed = torch.finfo(dtype).eps, torch.finfo(torch.promote_types(dtype, torch.float32)).eps
    assert ((out.double() - expected) / expected).abs().max() <= stored / 2 * (dtype.itemsize == 2) + 6 * computed


@st.composite
def cases(draw):
    """Shapes that end in the middle of vectors, runs, groups and rows, few enough for the reference."""
    axes = draw(st.integers(1, 4))
    axis = draw(st.integers(0, axes - 1))
    most = {1: 5000, 2: 90, 3: 20, 4: 9}[axes]
    shape = tuple(draw(st.sampled_from([0, 1, 15, 16, 17]) | st.integers(1, most)) for _ in range(axes))
    groups = draw(st.integers(1, 20))
    rows = draw(st.sampled_from([(1, groups), (groups, 1), (groups, groups)]))
    degrees = draw(st.just((5, 4)) | st.tuples(st.integers(0, 7), st.integers(0, 6)))
    return {"shape": shape, "axis": axis, "rows": rows, "degrees": degrees}


@settings(max_examples=150, derandomize=True, deadline=None, database=None)
@given(
    case=cases(),
    form=st.sampled_from(FORMS),
    dtype=st.sampled_from(DTYPES),
    needed=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    permuted=st.randoms(use_true_random=False),
    name=st.sampled_from(kernels.LEVELS),
)
def test_any_shape_and_layout(instructions, case, form, dtype, needed, permuted, name):
    args, grad = make_case(torch.Generator().manual_seed(0), **case, form=form, dtype=dtype)
    order = list(range(args[0].ndim))
    permuted.shuffle(order)
    back = [order.index(axis) for axis in range(len(order))]
    x = args[0].permute(order).contiguous().permute(back)  # the axes lie in memory in another order
    with instructions(name):
        assert_same((x, *args[1:]), grad, needed)


@pytest.mark.usefixtures("poisoned_memory")
def test_layouts_are_kept(generator):
    """A result lies in memory as x does, and nothing is copied for it where x is dense."""
    (x, *rest), grad = make_case(generator, (2, 16, 5, 7), 1)
    channels_last = x.to(memory_format=torch.channels_last)
    for points in (x, channels_last, x.transpose(0, 2), x.transpose(2, 3)):
        assert native._ready(points, *rest[:2])[0] is points
        cotangent = grad.expand_as(x) if points.shape == x.shape else torch.ones(points.shape)
        axis = 1
        y = native.forward(points, *rest[:2], rest[2], axis)
        assert y.stride() == points.stride()
        assert_same((points, *rest[:3], axis), cotangent)
    for points in (
        x[:, :, ::2],
        x[..., :3],
        x[:1].expand(3, -1, -1, -1),
        x[:, ::2],
        x.flatten()[5:].as_strided((4, 8, 2), (3, 1, 40)),
    ):
        assert_same((points, *rest[:3], 1), torch.randn(points.shape, generator=generator))
    assert_same((torch._neg_view(x), *rest), torch._neg_view(grad))
    assert_same((x[:, :1], *rest), grad[:, :1])


def test_gradients_of_any_layout(generator):
    args, grad = make_case(generator, (6, 5, 16), 2)
    one = torch.ones(())
    for cotangent in (
        one.expand(6, 5, 16),
        grad[:1].expand(6, -1, -1),
        grad.transpose(0, 1).contiguous().transpose(0, 1),
    ):
        assert_same(args, cotangent)
    assert_same(args, grad.double())


@pytest.mark.usefixtures("level")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_every_number_of_16_bits(dtype):
    """Reading is exact and writing rounds as PyTorch does, subnormal and infinite numbers, NaN and ties included."""
    every = torch.arange(-(2**15), 2**15, dtype=torch.int16).view(dtype)
    one = torch.tensor([[0.0, 1.0]]), torch.zeros(1, 0)
    torch.testing.assert_close(native.forward(every, *one, "sum_abs", 0), every, rtol=0, atol=0, equal_nan=True)
    for factor in (1.001, 1 / 3, 0.5, 1.0 + 2.0**-9, 1.0 + 2.0**-12, 70.0):
        found = native.forward(every, torch.tensor([[0.0, factor]]), one[1], "sum_abs", 0)
        torch.testing.assert_close(found, (every.float() * factor).to(dtype), rtol=0, atol=0, equal_nan=True)


@pytest.mark.usefixtures("level")
def test_strange_points(generator):
    """NaN and infinite points spoil themselves and the gradients of their group alone."""
    args, grad = make_case(generator, (50, 24), 1, (8, 8))
    usual = native.forward(*args), *native.backward(grad, *args, (True, True, True))
    x = args[0].clone()
    x[7, 4], x[3, 5], x[9, 3] = torch.nan, torch.inf, -torch.inf  # all in the second group
    args = x, *args[1:]
    strange = native.forward(*args), *native.backward(grad, *args, (True, True, True))
    spoiled = (x != x) | x.isinf()
    for new, old in zip(strange[:2], usual[:2], strict=True):
        assert new[spoiled].isnan().all()
        assert torch.equal(new[~spoiled], old[~spoiled])
    for new, old in zip(strange[2:], usual[2:], strict=True):
        assert new[1].isnan().all()
        assert torch.equal(new[[0, *range(2, 8)]], old[[0, *range(2, 8)]])


def test_the_identity_takes_numbers_of_any_size():
    """Nothing overflows where the result does not; a gradient of zero stays zero beside a huge point."""
    x = torch.tensor([1e30, -1e30, 3e38, 1e-40, -0.0])
    a, b = torch.tensor([[0.0, 1, 0, 0, 0, 0]]), torch.zeros(1, 4)
    assert torch.equal(native.forward(x, a, b, "sum_abs", 0), x)
    grads = native.backward(torch.zeros(5), x, a, b, "sum_abs", 0, (True, True, True))
    assert not any(each.any() for each in grads)


def test_threads_and_repetition_change_no_bit(generator):
    for shape, axis, rows in (
        ((300, 768), 1, (1, 8)),
        ((4, 40, 41, 43), 1, (1, 8)),
        ((500_001,), 0, (1, 1)),
        ((700, 255), 1, (255, 255)),
    ):
        args, grad = make_case(generator, shape, axis, rows)
        results = []
        for number in (1, 2, 2, 3):
            with threads(number):
                results.append((native.forward(*args), *native.backward(grad, *args, (True, True, True))))
        for other in results[1:]:
            assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_long_sums_stay_accurate():
    """Ten million equal terms: one by one in float32 they would be off by tens of percent; here by 128 roundings."""
    x = torch.full((10_000_000,), 0.7)
    a, b = torch.tensor([[0.3, 0.9]]), torch.tensor([[0.1, 0.2]])
    grad = torch.full_like(x, 0.1)
    short = exact((x[:1], a, b, "sum_abs", 0), grad[:1])[0]
    for mine, theirs in zip(
        native.backward(grad, x, a, b, "sum_abs", 0, (False, True, True))[1:], short[2:], strict=True
    ):
        torch.testing.assert_close(mine.double() / 1e7, theirs, rtol=4e-6, atol=0)


def test_more_elements_than_32_bits_count():
    """Places are counted in 64 bits. Zeros that nobody has written take no memory; sums show where a pass has been."""
    count = 2**31 + 2**20 + 3
    try:
        x, grad = (torch.from_numpy(np.zeros(count, dtype=np.int16)).view(torch.bfloat16) for _ in range(2))
    except MemoryError:
        pytest.skip("there is no room for 8 GB of zeros")
    places = [5, 2**31 - 1, 2**31, count - 1]
    for value, place in enumerate(places, 1):
        x[place], grad[place] = value, 1
    a, b = torch.tensor([[0.0, 1.0, 0.0]]), torch.zeros(1, 1)
    with threads(2):
        _, grad_a, grad_b = native.backward(grad.view(1, -1), x.view(1, -1), a, b, "sum_abs", 1, (False, True, True))
    assert grad_a.tolist() == [[4.0, 10.0, 30.0]]
    assert grad_b.tolist() == [[-30.0]]


def test_what_it_does_not_take(generator):
    args, _ = make_case(generator, (4, 16), 1)
    x, a, b, form, axis = args
    assert "degrees up to 32" in native.obstacle(x, torch.ones(1, 34), b, form, axis)
    assert "on the CPU" in native.obstacle(x.to("meta"), a, b, form, axis)
    assert "on the CPU" in native.obstacle(x, a.to(torch.float8_e4m3fn), b, form, axis)
    assert superpose.which(rational, x, torch.ones(1, 34), b)[0].implementation == "reference"
    assert rational(x.to("meta"), a.to("meta"), b.to("meta")).shape == x.shape
    with superpose.using(rational="native"), pytest.raises(RuntimeError, match="degrees up to 32"):
        rational(x, torch.ones(1, 34), b)
