"""The B-spline layer in plain PyTorch, arranged for speed where there are no compiled kernels.

At a point only `degree + 1` splines differ from zero. They are computed for one block of samples and inputs at a time
and scattered into a basis matrix that stays in the cache, with the samples along its rows; a matrix product follows.
The backward pass computes them again, for the input alone is saved. Where there are many functions and few of them
live, the forward pass looks up the rows of the coefficients instead.
"""

from itertools import product
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.utils.weak import WeakIdKeyDictionary

from superpose.ops.bspline.second_order import differentiable_backward

DEGREES = (1, 2, 3)
PLAIN = (Tensor, torch.nn.Parameter)
BLOCK = 1 << 18
"""Entries of the basis matrix of one block: 1 MB in float32, which the cache of a core holds."""
SAMPLES = 512
"""Samples of one block, enough for a matrix product to run at its full speed."""

MANY = 8
"""Functions for each byte of a number from which looking up is faster: 32 in float32, 64 in float64, measured."""

# Splines of one interval of uniform knots as polynomials in u, 0 <= u <= 1 from its left end to its right: a row for
# each spline, a column for each power (de Boor, A Practical Guide to Splines, chapter X, for integer knots).
UNIFORM = {
    2: [[1 / 2, -1.0, 1 / 2], [1 / 2, 1.0, -1.0], [0.0, 0.0, 1 / 2]],
    3: [
        [1 / 6, -1 / 2, 1 / 2, -1 / 6],
        [2 / 3, 0.0, -1.0, 1 / 2],
        [1 / 6, 1 / 2, 1 / 2, -1 / 2],
        [0.0, 0.0, 0.0, 1 / 6],
    ],
}


def obstacle(
    x: Tensor, coef: Tensor, knots: Tensor, degree: int, extrapolation: str, weight: Tensor | None
) -> str | None:
    """Why this implementation cannot take these arguments, or None if it can."""
    mode = _mode()
    if mode is not None:
        return mode
    if degree not in DEGREES:
        return f"it has degrees {DEGREES[0]} to {DEGREES[-1]}, not {degree}"
    if x.dtype not in (torch.float32, torch.float64) or x.device.type not in ("cpu", "cuda"):
        return "it takes float32 and float64 on the CPU and on CUDA devices"
    for tensor in (x, coef, knots, x if weight is None else weight):
        if tensor.dtype != x.dtype or tensor.device != x.device or type(tensor) not in PLAIN:
            return "it takes plain tensors of one dtype on one device"
    if knots.requires_grad:
        return "it has no gradient for the knots"
    if torch.is_autocast_enabled(x.device.type):
        return "it does not follow autocast"
    return None


def _mode() -> str | None:
    """What PyTorch does beside computing, if anything."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing() or torch._C._len_torch_dispatch_stack():
        return "it cannot be traced"
    if torch._C._functorch.peek_interpreter_stack() is not None or forward_ad._current_level >= 0:
        return "it has no rule for torch.func and forward-mode derivatives"
    return None


def bspline_linear(
    x: Tensor, coef: Tensor, knots: Tensor, degree: int, extrapolation: str, weight: Tensor | None
) -> Tensor:
    """As the reference's."""
    wanted = x.requires_grad or coef.requires_grad or (weight is not None and weight.requires_grad)
    if wanted and torch.is_grad_enabled():
        return _BSplineLinear.apply(x, coef, weight, knots, degree, extrapolation)
    return _forward(x, coef, weight, _read(knots, degree), extrapolation)


class _Uniform(NamedTuple):
    """What makes uniform knots simple."""

    scale: Tensor
    """Intervals per unit length, as a column over the inputs."""
    below: float
    """The greatest number below that of the intervals."""
    values: Tensor
    """Polynomials of the splines of one interval."""
    both: Tensor
    """The same, and the polynomials of their slopes below them."""


class _Grid(NamedTuple):
    """What the knots of a layer say, as columns over the inputs; one row serves all of them."""

    knots: Tensor
    degree: int
    low: Tensor
    high: Tensor
    uniform: _Uniform | None


class _Local(NamedTuple):
    """The `degree + 1` splines that live at each point; samples lie along the last axis of every array."""

    interval: Tensor
    values: Tensor
    slopes: Tensor | None
    """Slopes divided by `scale`."""
    scale: Tensor | None
    inside: Tensor | None
    """One inside the domain and zero outside, if that matters for the slopes."""


_grids = WeakIdKeyDictionary()


def _read(knots: Tensor, degree: int) -> _Grid:
    """What the knots say; on the CPU it is kept, and used again while their numbers are the same."""
    if knots.device.type != "cpu":
        return _grid(knots, degree, uniform=False)  # to look at them would make the CPU wait for the device
    known: _Grid | None = _grids.get(knots)
    if known is None or known.degree != degree or not torch.equal(known.knots, knots):
        # At knots the slopes of degree 1 jump, so that points must be compared with the very numbers.
        _grids[knots] = known = _grid(knots.clone(), degree, uniform=degree > 1 and _are_uniform(knots))
    return known


def _are_uniform(knots: Tensor) -> bool:
    """Whether all knots that matter are where uniform ones would be, as far as their rounding can tell."""
    used = knots[:, 1:-1]
    step = (used[:, -1:] - used[:, :1]) / (used.shape[-1] - 1)
    ideal = used[:, :1] + step * torch.arange(used.shape[-1], dtype=knots.dtype)
    return bool(((used - ideal).abs() <= 64 * torch.finfo(knots.dtype).eps * step).all())


def _grid(knots: Tensor, degree: int, *, uniform: bool) -> _Grid:
    low, high = knots[:, degree, None], knots[:, -degree - 1, None]
    if not uniform:
        return _Grid(knots, degree, low, high, None)
    intervals = torch.tensor(knots.shape[-1] - 2 * degree - 1, dtype=knots.dtype)
    values = torch.tensor(UNIFORM[degree], dtype=knots.dtype)
    slopes = torch.zeros_like(values)
    slopes[:, :-1] = values[:, 1:] * torch.arange(1, degree + 1, dtype=knots.dtype)
    below = torch.nextafter(intervals, intervals * 0).item()
    return _Grid(
        knots, degree, low, high, _Uniform(intervals / (high - low), below, values, torch.cat([values, slopes]))
    )


def _part(tensor: Tensor, rows: slice) -> Tensor:
    """The rows of a block; one row serves all blocks, and a slice that cuts nothing away would only take time."""
    return tensor if len(tensor) <= rows.stop - rows.start else tensor[rows]


def _blocks(samples: int, inputs: int, num: int) -> list[tuple[slice, slice]]:
    """Parts of the samples and of the inputs such that the basis matrix of both fits the cache."""
    some = max(1, min(samples, max(SAMPLES, BLOCK // (num * inputs))))
    each = max(1, BLOCK // (num * some))
    if some == samples and each >= inputs:
        return [(slice(0, samples), slice(0, inputs))]
    starts = product(range(0, samples, some), range(0, inputs, each))
    return [(slice(b, min(b + some, samples)), slice(i, min(i + each, inputs))) for b, i in starts]


def _local(x: Tensor, grid: _Grid, rows: slice, extrapolation: str, *, slopes: bool) -> _Local:
    """The splines at points of shape (inputs, samples), whose inputs are those rows of all."""
    low, high = _part(grid.low, rows), _part(grid.high, rows)
    clamped = torch.clamp(x, low, high)
    within = x.device.type == "cpu" and torch.equal(x, clamped)
    lines = extrapolation == "linear" and not within
    if grid.uniform is None:
        local = _uneven(clamped, _part(grid.knots, rows), grid.degree)
    else:
        local = _even(clamped, low, _part(grid.uniform.scale, rows), grid.uniform, slopes=slopes or lines)
    if within:
        return local
    if lines:
        assert local.slopes is not None
        beyond = x - clamped
        local.values.addcmul_(local.slopes, beyond if local.scale is None else beyond.mul_(local.scale))
        return local
    inside = (x == clamped).to(x.dtype)
    if extrapolation == "zero":
        local.values.mul_(inside)
    return local._replace(inside=inside)


def _even(x: Tensor, low: Tensor, scale: Tensor, uniform: _Uniform, *, slopes: bool) -> _Local:
    """On uniform knots."""
    matrix = uniform.both if slopes else uniform.values
    position = (x - low).mul_(scale).clamp_(max=uniform.below)
    interval = position.long().clamp_(0, int(uniform.below))  # NaN becomes any integer
    powers = x.new_empty(matrix.shape[1], *x.shape)
    one, u, *higher = powers.unbind()
    one.fill_(1)
    torch.frac(position, out=u)
    for lower, power in zip((u, *higher), higher, strict=False):
        torch.mul(lower, u, out=power)
    values = torch.mm(matrix, powers.view(matrix.shape[1], -1)).view(-1, *x.shape)
    if not slopes:
        return _Local(interval, values, None, scale, None)
    return _Local(interval, values[: len(powers)], values[len(powers) :], scale, None)


def _uneven(x: Tensor, knots: Tensor, degree: int) -> _Local:
    """On any knots (NURBS Book, algorithms A2.2 and A2.3)."""
    inner = knots[:, degree + 1 : -degree - 1].contiguous()
    interval = torch.searchsorted(inner if len(inner) > 1 else inner[0], x, right=True)
    table = knots.expand(len(x), -1)
    near = [table[:, j:].gather(1, interval) for j in range(1, 2 * degree + 1)]
    left = [x - near[degree - j] for j in range(1, degree + 1)]
    right = [near[degree + j - 1] - x for j in range(1, degree + 1)]
    values = slopes = [torch.ones_like(x)]
    for level in range(1, degree + 1):
        scaled = [values[r] / (near[degree + r] - near[degree + r - level]) for r in range(level)]
        rising = [left[level - 1 - r] * scaled[r] for r in range(level)]
        falling = [right[r] * scaled[r] for r in range(level)]
        values = [falling[0], *(a + b for a, b in zip(rising[:-1], falling[1:], strict=True)), rising[-1]]
        slopes = [-scaled[0], *(a - b for a, b in zip(scaled[:-1], scaled[1:], strict=True)), scaled[-1]]
    return _Local(interval, torch.stack(values), torch.stack(slopes).mul_(degree), None, None)


def _window(matrix: Tensor, local: _Local, num: int) -> tuple[Tensor, Tensor]:
    """A view of the basis matrix, (function, input, interval, sample), that the returned index leads to the local functions.

    The first function of an interval has the interval's number, the next follow; so the view meets entries repeatedly.
    """
    width, inputs, samples = local.values.shape
    shape, strides = (width, inputs, num - width + 1, samples), (samples, num * samples, samples, 1)
    return matrix.as_strided(shape, strides), local.interval.unsqueeze(1).expand(width, inputs, 1, samples)


def _fill(matrix: Tensor, local: _Local, num: int) -> Tensor:
    """The basis matrix, with a row for each function of each input."""
    matrix.zero_()
    window, index = _window(matrix, local, num)
    window.scatter_(2, index, local.values.unsqueeze(2))
    return matrix


def _contract(matrix: Tensor, local: _Local, num: int, out: Tensor) -> None:
    """Slopes of the sums over the functions, each times its entry of the matrix."""
    assert local.slopes is not None
    window, index = _window(matrix, local, num)
    torch.sum(window.gather(2, index).squeeze(2).mul_(local.slopes), 0, out=out)
    for factor in (local.scale, local.inside):
        if factor is not None:
            out.mul_(factor)


def _forward(x: Tensor, coef: Tensor, weight: Tensor | None, grid: _Grid, extrapolation: str) -> Tensor:
    inputs, num, outputs = coef.shape
    points, rows = x.reshape(-1, inputs), coef.reshape(-1, outputs)
    if weight is None:
        sums = x.new_zeros(len(points), outputs)
    else:
        sums = torch.nn.functional.linear(torch.nn.functional.silu(points), weight)
    blocks = _blocks(len(points), inputs, num)
    many = x.device.type == "cpu" and num >= MANY * x.element_size()
    memory = None if many else _memory(points, blocks, num)
    for some, part in blocks:
        local = _local(_part(_part(points, some).T, part).contiguous(), grid, part, extrapolation, slopes=False)
        these = _part(rows, slice(part.start * num, part.stop * num))
        if memory is None:
            _part(sums, some).add_(_look_up(these, local, num))
        else:
            _part(sums, some).addmm_(_fill(_matrix(memory, local, num), local, num).T, these)
    return sums.view(*x.shape[:-1], outputs)


def _look_up(rows: Tensor, local: _Local, num: int) -> Tensor:
    """Sums of the rows that belong to the local functions of every sample."""
    width, inputs, samples = local.values.shape
    first = local.interval + torch.arange(0, inputs * num, num).unsqueeze(1)
    index = (first.T.unsqueeze(-1) + torch.arange(width)).reshape(samples, -1)
    weights = local.values.permute(2, 1, 0).reshape(samples, -1)
    return torch.nn.functional.embedding_bag(index, rows, mode="sum", per_sample_weights=weights)


def _memory(like: Tensor, blocks: list[tuple[slice, slice]], num: int) -> Tensor:
    """Room for the basis matrix of a block; all blocks use the same, so that it stays in the cache."""
    some, part = blocks[0] if blocks else (slice(0, 0), slice(0, 0))
    return like.new_empty((some.stop - some.start) * (part.stop - part.start) * num)


def _matrix(memory: Tensor, local: _Local, num: int) -> Tensor:
    inputs, samples = local.interval.shape
    return memory.as_strided((inputs * num, samples), (samples, 1))


class _BSplineLinear(torch.autograd.Function):
    """Saves the input and no basis; its backward pass is differentiable where that is asked for."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, coef: Tensor, weight: Tensor | None, knots: Tensor, degree: int, extrapolation: str
    ) -> Tensor:
        ctx.save_for_backward(x, coef, weight, knots)
        ctx.rest = degree, extrapolation
        return _forward(x, coef, weight, _read(knots, degree), extrapolation)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        x, coef, weight, knots = ctx.saved_tensors
        args, needed = (x, coef, knots, *ctx.rest, weight), ctx.needs_input_grad[:3]
        batched = torch._C._functorch.is_legacy_batchedtensor(cotangents[0])  # by is_grads_batched=True
        autocast = torch.is_autocast_enabled(x.device.type)
        if torch.is_grad_enabled() or batched or autocast or _mode() is not None:
            grads = differentiable_backward(args, cotangents[0], needed)
        else:
            grads = _backward(args, cotangents[0], needed)
        return (*grads, None, None, None)


def _backward(args: tuple[Any, ...], cotangent: Tensor, needed: tuple[bool, ...]) -> list[Tensor | None]:
    """Gradients of x, coef and weight where they are needed."""
    x, coef, knots, degree, extrapolation, weight = args
    inputs, num, outputs = coef.shape
    points, rows = x.reshape(-1, inputs), coef.reshape(-1, outputs)
    cotangent = cotangent.reshape(-1, outputs).contiguous()
    grid = _read(knots, degree)
    blocks = _blocks(len(points), inputs, num) if needed[0] or needed[1] else []
    memory = _memory(points, blocks, num)
    grad_x = x.new_empty(inputs, len(points)) if needed[0] else None
    grad_coef = coef.new_zeros(inputs * num, outputs) if needed[1] else None
    for some, part in blocks:
        local = _local(_part(_part(points, some).T, part).contiguous(), grid, part, extrapolation, slopes=needed[0])
        matrix, these = _matrix(memory, local, num), slice(part.start * num, part.stop * num)
        outer = _part(cotangent, some)
        if grad_coef is not None:
            _part(grad_coef, these).addmm_(_fill(matrix, local, num), outer)
        if grad_x is not None:
            torch.mm(_part(rows, these), outer.T, out=matrix)
            _contract(matrix, local, num, out=grad_x[part, some])
    return [
        None if grad_x is None else _with_residual(grad_x.T, points, weight, cotangent).view(x.shape),
        None if grad_coef is None else grad_coef.view(coef.shape),
        cotangent.T @ torch.nn.functional.silu(points) if needed[2] else None,
    ]


def _with_residual(grad_x: Tensor, points: Tensor, weight: Tensor | None, cotangent: Tensor) -> Tensor:
    if weight is None:
        return grad_x.contiguous()
    return torch.ops.aten.silu_backward(cotangent @ weight, points).add_(grad_x)
