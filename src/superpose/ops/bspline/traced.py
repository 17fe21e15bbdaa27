"""The compiled B-spline layer as operations that torch.compile takes as a whole."""

from typing import Any

import torch
from torch import Tensor

from superpose.ops.bspline import native


@torch.library.custom_op("superpose::bspline_linear", mutates_args=(), device_types="cpu")
def traced_linear(
    x: Tensor, coef: Tensor, knots: Tensor, weight: Tensor | None, degree: int, extrapolation: str
) -> Tensor:
    """The layer as an operation that torch.compile takes as a whole."""
    return native.forward(x, coef, knots, weight, degree, extrapolation)


@torch.library.custom_op("superpose::bspline_linear_backward", mutates_args=(), device_types="cpu")
def traced_backward(  # noqa: PLR0913 - a schema knows no tuples
    grad: Tensor,
    x: Tensor,
    coef: Tensor,
    knots: Tensor,
    weight: Tensor | None,
    degree: int,
    extrapolation: str,
    need_x: bool,
    need_parameters: bool,
) -> list[Tensor]:
    """Its gradients; an empty tensor stands for one that is not needed."""
    grads = native.backward(grad, (x, coef, knots, weight, degree, extrapolation), need_x, need_parameters)
    return [x.new_empty(0) if g is None else g for g in grads]


@traced_linear.register_fake
def _(x: Tensor, coef: Tensor, knots: Tensor, weight: Tensor | None, degree: int, extrapolation: str) -> Tensor:
    return x.new_empty((*x.shape[:-1], coef.shape[-1]))


@traced_backward.register_fake
def _(  # noqa: PLR0913
    grad: Tensor,
    x: Tensor,
    coef: Tensor,
    knots: Tensor,
    weight: Tensor | None,
    degree: int,
    extrapolation: str,
    need_x: bool,
    need_parameters: bool,
) -> list[Tensor]:
    wanted = (x, need_x), (coef, need_parameters), (weight, need_parameters)
    return [x.new_empty(t.shape if need and t is not None else 0) for t, need in wanted]


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, coef, knots, weight, ctx.degree, ctx.extrapolation = inputs
    ctx.save_for_backward(x, coef, knots, weight)


def _derive(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, coef, knots, weight = ctx.saved_tensors
    need_x, need_coef, _, need_weight, *_ = ctx.needs_input_grad
    grad_x, grad_coef, grad_weight = traced_backward(
        grad, x, coef, knots, weight, ctx.degree, ctx.extrapolation, need_x, need_coef or need_weight
    )
    return (
        grad_x if need_x else None,
        grad_coef if need_coef else None,
        None,
        grad_weight if need_weight else None,
        None,
        None,
    )


traced_linear.register_autograd(_derive, setup_context=_save)
