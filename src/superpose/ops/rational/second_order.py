"""Gradients of the group-rational function that are to be differentiated again: those of the reference."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from superpose.ops.rational import reference


def rational_gradients(grad: Tensor, args: tuple[Any, ...], needed: Sequence[bool]) -> list[Tensor | None]:
    """Gradients of x, numerator and denominator where they are needed, as functions of these and of `grad`.

    Args:
        grad: Gradient of the result.
        args: Arguments of the reference in their order: x, numerator, denominator, form, axis.
        needed: Which of the three gradients are needed.
    """
    *tensors, form, axis = args
    return _gradients(lambda x, a, b: reference.rational(x, a, b, form, axis), grad, tensors, needed)


def linear_gradients(
    grad: Tensor, tensors: Sequence[Tensor | None], form: str, needed: Sequence[bool]
) -> list[Tensor | None]:
    """The same for the function with a linear map after it; the tensors are x, numerator, denominator, weight and bias."""

    def function(x: Tensor, numerator: Tensor, denominator: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        hidden = reference.rational(x, numerator, denominator, form, x.ndim - 1)
        return linear(hidden.to(weight.dtype), weight, bias)

    return _gradients(function, grad, tensors, needed)


def _gradients(
    function: Callable[..., Tensor], grad: Tensor, tensors: Sequence[Tensor | None], needed: Sequence[bool]
) -> list[Tensor | None]:
    create_graph = torch.is_grad_enabled()
    with torch.enable_grad(), torch.autocast(grad.device.type, enabled=False):
        # Views end the search for gradients here, where a parameter may be computed from x or be the same tensor.
        fresh = [tensor if tensor is None else tensor.view_as(tensor) for tensor in tensors]
        wanted = [tensor for tensor, need in zip(fresh, needed, strict=True) if need and tensor is not None]
        out = function(*fresh)  # does not depend on x or the denominator where the degrees are 0
        grads = iter(torch.autograd.grad(out, wanted, grad, create_graph=create_graph, materialize_grads=True))
    return [next(grads) if need else None for need in needed]
