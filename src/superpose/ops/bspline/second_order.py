"""Gradients of the B-spline layer that are to be differentiated again: automatic differentiation of the reference."""

from typing import Any

import torch
from torch import Tensor

from superpose.ops.bspline import reference


def differentiable_backward(
    args: tuple[Any, ...], grad: Tensor, needed: tuple[bool, bool, bool]
) -> list[Tensor | None]:
    """Gradients of x, coef and weight where they are needed, as functions of these and of `grad`.

    Args:
        args: Arguments of the layer in their order: x, coef, knots, degree, extrapolation, weight.
        grad: Gradient of the layer's result.
        needed: Which of the three gradients are needed.
    """
    create_graph = torch.is_grad_enabled()
    x, coef, knots, degree, extrapolation, weight = args
    with torch.enable_grad(), torch.autocast(x.device.type, enabled=False):
        # Views end the search for gradients here, where a parameter may be computed from x or be the same tensor.
        fresh: list[Any] = [tensor if tensor is None else tensor.view_as(tensor) for tensor in (x, coef, weight)]
        wanted = [tensor for tensor, need in zip(fresh, needed, strict=True) if need]
        out = reference.bspline_linear(fresh[0], fresh[1], knots, degree, extrapolation, fresh[2])
        grads = iter(torch.autograd.grad(out, wanted, grad, create_graph=create_graph))
    return [next(grads) if need else None for need in needed]
