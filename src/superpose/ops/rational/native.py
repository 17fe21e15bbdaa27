"""The group-rational function by compiled kernels for the CPU (the files in `native`).

A pass reads each array once, in the order in which it lies in memory. Numbers of 16 bits are stored as such and computed
in float32; sums for the coefficients end in float64.
"""

from struct import Struct

import torch
from torch import Tensor

from superpose._select import NO_KERNELS, kernels, transformed

TYPES = {torch.float32: 0, torch.float64: 1, torch.bfloat16: 2, torch.float16: 3}
FORMS = {"sum_abs": 0, "abs_sum": 1}
MOST = 32
"""Highest degree."""
PARALLEL = 1 << 16
"""Least number of elements that are worth a second thread."""

_pack = Struct("19q").pack


def obstacle(x: Tensor, numerator: Tensor, denominator: Tensor, form: str, axis: int) -> str | None:
    """Why this implementation cannot take these arguments, or None if it can."""
    if kernels is None:
        return NO_KERNELS
    for tensor in (x, numerator, denominator):
        if not tensor.is_cpu or tensor.dtype not in TYPES:
            return f"it takes {', '.join(str(dtype)[6:] for dtype in TYPES)} on the CPU"
    if max(numerator.shape[1] - 1, denominator.shape[1]) > MOST:
        return f"it has degrees up to {MOST}"
    return transformed(x, numerator, denominator)


def forward(x: Tensor, numerator: Tensor, denominator: Tensor, form: str, axis: int) -> Tensor:
    """As the reference's, without a thought of derivatives; y lies in memory as x does."""
    points, numerator, denominator = _ready(x, numerator, denominator)
    y = torch.empty_like(points)
    if points.numel():
        _call(points, numerator, denominator, form, axis, y.data_ptr(), 0, 0, 0, 0)
    return y if y.dtype is x.dtype else y.to(x.dtype)


def backward(
    grad: Tensor,
    x: Tensor,
    numerator: Tensor,
    denominator: Tensor,
    form: str,
    axis: int,
    needed: tuple[bool, bool, bool],
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Gradients of x, numerator and denominator where they are needed, from that of the result."""
    points, a, b = _ready(x, numerator, denominator)
    parameters = needed[1] or needed[2]  # the kernel has these two together
    make = torch.empty_like if points.numel() else torch.zeros_like
    grad_x = make(points) if needed[0] else None
    grad_a, grad_b = (make(a), make(b)) if parameters else (None, None)
    if points.numel() and any(needed):
        grad = _like(grad, points)
        results = [0 if each is None else each.data_ptr() for each in (grad_x, grad_a, grad_b)]
        _call(points, a, b, form, axis, 0, grad.data_ptr(), *results)
    return (
        None if grad_x is None else grad_x.to(x.dtype),
        grad_a.to(numerator.dtype) if grad_a is not None and needed[1] else None,
        grad_b.to(denominator.dtype) if grad_b is not None and needed[2] else None,
    )


def backward_and_forward(
    grad: Tensor,
    x: Tensor,
    numerator: Tensor,
    denominator: Tensor,
    form: str,
    axis: int,
    needed: tuple[bool, bool, bool],
) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]:
    """The values, and then the same gradients."""
    y = forward(x, numerator, denominator, form, axis)
    return y, *backward(grad, x, numerator, denominator, form, axis, needed)


def _ready(x: Tensor, numerator: Tensor, denominator: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Dense points, and coefficients of the dtype they are computed in: float64 if any is, else float32."""
    wide = torch.float64 in (x.dtype, numerator.dtype, denominator.dtype)
    dtype = torch.float64 if wide else torch.float32
    points = x.double() if wide else x
    if points.is_neg() or not _is_dense(points):
        points = torch.empty_like(points).copy_(points)  # in the same order of axes
    return points, _dense(numerator, dtype), _dense(denominator, dtype)


def _dense(coef: Tensor, dtype: torch.dtype) -> Tensor:
    return coef.to(dtype).resolve_neg().contiguous()


def _like(grad: Tensor, points: Tensor) -> Tensor:
    """The gradient with the dtype of the points, and where they are."""
    if grad.dtype is points.dtype and grad.stride() == points.stride() and not grad.is_neg():
        return grad
    return torch.empty_like(points).copy_(grad)


def _is_dense(x: Tensor) -> bool:
    """Whether every number between the first and the last in memory is one of x, once."""
    if x.is_contiguous():
        return True
    expected = 1
    for axis in reversed(_order(x)):
        if x.stride(axis) != expected:
            return False
        expected *= x.shape[axis]
    return True


def _order(x: Tensor) -> list[int]:
    """The axes longer than one as they lie in memory."""
    return sorted((axis for axis in range(x.ndim) if x.shape[axis] != 1), key=x.stride, reverse=True)


def _inner(x: Tensor, axis: int) -> int:
    """Numbers of one channel that lie side by side, in a dense tensor that is not empty."""
    if x.shape[axis] == 1:
        return x.numel()
    return x.stride(axis)


def _call(x: Tensor, numerator: Tensor, denominator: Tensor, form: str, axis: int, *results: int) -> None:
    """Run a pass; `results` are where y, its gradient and the gradients of x and the coefficients lie, or 0."""
    inner, channels = _inner(x, axis), x.shape[axis]
    rows, groups = x.numel() // (channels * inner), max(len(numerator), len(denominator))
    flags = len(numerator) == 1, len(denominator) == 1, numerator.shape[1] - 1, denominator.shape[1], FORMS[form]
    threads = torch.get_num_threads() if x.numel() >= PARALLEL else 1
    where = x.data_ptr(), numerator.data_ptr(), denominator.data_ptr()
    kernels.rational(_pack(rows, channels, inner, groups, *flags, TYPES[x.dtype], threads, *where, *results))
