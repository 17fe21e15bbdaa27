"""The B-spline layer by compiled kernels for the CPU (the files in `native`).

The samples of each input are sorted by the interval they lie in, so that the rows of coefficients they reach are loaded
once for all of them; the cost grows little with the number of intervals. The input alone is saved for the backward
pass. Numbers of 16 bits are stored as such and computed in float32.
"""

from struct import Struct
from typing import Any

import torch
from torch import Tensor

from superpose._select import NO_KERNELS, kernels, transformed
from superpose.ops.bspline.second_order import differentiable_backward

DEGREES = (1, 2, 3)
EXTRAPOLATIONS = {"linear": 0, "clamp": 1, "zero": 2}
DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
MOST = 1 << 20
"""Functions of a basis; their numbers are exact in float32."""
PARALLEL = 1 << 20
"""Least number of multiply-adds, about, that are worth a second thread."""

_pack = Struct("18q").pack


def obstacle(
    x: Tensor, coef: Tensor, knots: Tensor, degree: int, extrapolation: str, weight: Tensor | None
) -> str | None:
    """Why this implementation cannot take these arguments, or None if it can."""
    if kernels is None:
        return NO_KERNELS
    if degree not in DEGREES:
        return f"it has degrees {DEGREES[0]} to {DEGREES[-1]}, not {degree}"
    for tensor in (x, coef, knots) if weight is None else (x, coef, knots, weight):
        if not tensor.is_cpu or tensor.dtype not in DTYPES:
            return f"it takes {', '.join(str(dtype)[6:] for dtype in DTYPES)} on the CPU"
    if coef.dtype is not x.dtype and not torch.is_autocast_enabled("cpu"):
        return f"x is {x.dtype} and coef {coef.dtype}"
    if coef.shape[1] > MOST:
        return f"it has at most {MOST} functions"
    if knots.requires_grad:
        return "it has no gradient for the knots"
    return transformed(x, coef, knots, weight)


def bspline_linear(
    x: Tensor, coef: Tensor, knots: Tensor, degree: int, extrapolation: str, weight: Tensor | None
) -> Tensor:
    """As the reference's; under autocast in float32, with a result of autocast's dtype."""
    if torch.is_autocast_enabled("cpu") and x.dtype is not torch.float64:
        with torch.autocast("cpu", enabled=False):
            out = bspline_linear(x.float(), coef, knots, degree, extrapolation, weight)
            return out.to(torch.get_autocast_dtype("cpu"))
    if torch.compiler.is_compiling():
        return torch.ops.superpose.bspline_linear(x, coef, knots, weight, degree, extrapolation)
    if torch.is_grad_enabled():
        return _Linear.apply(x, coef, weight, knots, degree, extrapolation)
    return forward(x, coef, knots, weight, degree, extrapolation)


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, coef: Tensor, weight: Tensor | None, knots: Tensor, degree: int, extrapolation: str
    ) -> Tensor:
        ctx.save_for_backward(x, coef, weight, knots)
        ctx.degree, ctx.extrapolation = degree, extrapolation
        return forward(x, coef, knots, weight, degree, extrapolation)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, coef, weight, knots = ctx.saved_tensors
        need_x, need_coef, need_weight, *_ = ctx.needs_input_grad
        batched = torch._C._functorch.is_legacy_batchedtensor(grads[0])  # torch.autograd.grad(is_grads_batched=True)
        if torch.is_grad_enabled() or batched or transformed(grads[0], x, coef, weight):
            args = x, coef, knots, ctx.degree, ctx.extrapolation, weight
            return *differentiable_backward(args, grads[0], (need_x, need_coef, need_weight)), None, None, None
        args = x, coef, knots, weight, ctx.degree, ctx.extrapolation
        return *backward(grads[0], args, need_x, need_coef or need_weight), None, None, None


def forward(x: Tensor, coef: Tensor, knots: Tensor, weight: Tensor | None, degree: int, extrapolation: str) -> Tensor:
    """The layer, without a thought of derivatives."""
    dtype = x.dtype
    x, coef, knots, weight = _ready(x, coef, knots, weight)
    y = x.new_empty((*x.shape[:-1], coef.shape[-1]))  # unlike torch.empty, this knows no default device
    if not x.numel():
        return y.zero_().to(dtype)
    _call(x, coef, knots, weight, degree, extrapolation, y.data_ptr(), 0, 0, 0, 0)
    return y if y.dtype is dtype else y.to(dtype)


def backward(
    grad: Tensor, args: tuple[Any, ...], need_x: bool, need_parameters: bool
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Gradients of x, coef and weight, the last two together, from that of the result; `args` as for `forward`."""
    x, coef, knots, weight = _ready(*args[:4])
    make = torch.empty_like if x.numel() and grad.numel() else torch.zeros_like
    grad_x = make(x) if need_x else None
    grad_coef = make(coef) if need_parameters else None
    grad_weight = make(weight) if need_parameters and weight is not None else None
    if x.numel() and grad.numel():
        grad = grad.to(x.dtype).resolve_neg().contiguous()
        results = [0 if g is None else g.data_ptr() for g in (grad_x, grad_coef, grad_weight)]
        _call(x, coef, knots, weight, args[4], args[5], 0, grad.data_ptr(), *results)
    return _as(grad_x, args[0]), _as(grad_coef, args[1]), _as(grad_weight, args[3])


def _as(result: Tensor | None, like: Tensor | None) -> Any:
    return result if result is None or like is None or result.dtype is like.dtype else result.to(like.dtype)


def _ready(*tensors: Tensor | None) -> list[Any]:
    """Dense tensors of one dtype that the kernels know: double if any is, else float."""
    first = tensors[0].dtype if tensors[0] is not None else None
    if first is torch.float32 or first is torch.float64:  # as a rule nothing is to be done
        for t in tensors:
            if t is not None and (t.dtype is not first or not t.is_contiguous() or t.is_neg()):
                break
        else:
            return list(tensors)
    wide = any(t is not None and t.dtype is torch.float64 for t in tensors)
    dtype = torch.float64 if wide else torch.float32
    return [None if t is None else t.to(dtype).resolve_neg().contiguous() for t in tensors]


def _call(
    x: Tensor,
    coef: Tensor,
    knots: Tensor,
    weight: Tensor | None,
    degree: int,
    extrapolation: str,
    *results: int,
) -> None:
    """Run a pass; `results` are where y, its gradient and the gradients of x, coef and weight lie, or 0."""
    inputs, num, outputs = coef.shape
    points = x.numel()
    threads = torch.get_num_threads() if points * (outputs + 32) * 4 > PARALLEL else 1
    sizes = points // inputs, inputs, outputs, num - degree, degree, EXTRAPOLATIONS[extrapolation]
    flags = knots.shape[0] == 1, x.dtype is torch.float64, threads
    where = 0 if weight is None else weight.data_ptr()
    kernels.bspline(_pack(*sizes, *flags, x.data_ptr(), coef.data_ptr(), knots.data_ptr(), where, *results))
