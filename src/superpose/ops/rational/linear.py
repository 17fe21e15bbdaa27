"""The group-rational function with a linear map after it, saving the input alone: what lies between is computed again."""

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from superpose.ops.rational.function import Kernel, is_watched
from superpose.ops.rational.second_order import linear_gradients


def call_linear(
    kernel: Kernel,
    x: Tensor,
    numerator: Tensor,
    denominator: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    form: str,
) -> Tensor:
    """As the two functions one after the other, by a kernel that has no obstacle."""
    device = x.device.type
    if torch.is_autocast_enabled(device):
        weight, bias = (_cast(each, torch.get_autocast_dtype(device)) for each in (weight, bias))
    if torch.compiler.is_compiling():
        return torch.ops.superpose.rational_linear(x, numerator, denominator, weight, bias, form)
    if torch.is_grad_enabled():
        return _RationalLinear.apply(x, numerator, denominator, weight, bias, form, kernel)
    return forward(kernel, x, numerator, denominator, weight, bias, form)


def _cast(tensor: Any, dtype: torch.dtype) -> Any:
    """As autocast does, which leaves float64 alone."""
    return tensor if tensor is None or tensor.dtype is torch.float64 else tensor.to(dtype)


def forward(
    kernel: Kernel,
    x: Tensor,
    numerator: Tensor,
    denominator: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    form: str,
) -> Tensor:
    """The values; the linear map is computed in the dtype of its weight."""
    hidden = kernel.forward(x, numerator, denominator, form, x.ndim - 1)
    with torch.autocast(x.device.type, enabled=False):
        return functional.linear(hidden.to(weight.dtype), weight, bias)


def gradients(
    kernel: Kernel, grad: Tensor, tensors: Sequence[Any], form: str, needed: Sequence[bool]
) -> list[Tensor | None]:
    """Gradients of x, numerator, denominator, weight and bias, which `tensors` are, where they are needed."""
    x, numerator, denominator, weight, _ = tensors
    args = x, numerator, denominator, form, x.ndim - 1
    rows = prod(x.shape[:-1])
    flat = grad.to(weight.dtype).reshape(rows, weight.shape[0])
    results: list[Tensor | None] = [None] * 5
    with torch.autocast(x.device.type, enabled=False):
        hidden = None
        if any(needed[:3]):
            inner, wanted = (flat @ weight).to(x.dtype).view(x.shape), (needed[0], needed[1], needed[2])
            if needed[3]:
                hidden, *results[:3] = kernel.backward_and_forward(inner, *args, wanted)
            else:
                results[:3] = kernel.backward(inner, *args, wanted)
        if needed[3]:
            hidden = kernel.forward(*args) if hidden is None else hidden
            results[3] = flat.T @ hidden.to(weight.dtype).reshape(rows, x.shape[-1])
        if needed[4]:
            results[4] = flat.sum(0)
    return results


class _RationalLinear(torch.autograd.Function):
    """Saves x and the parameters."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        numerator: Tensor,
        denominator: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        form: str,
        kernel: Kernel,
    ) -> Tensor:
        ctx.save_for_backward(x, numerator, denominator, weight, bias)
        ctx.form, ctx.kernel = form, kernel
        return forward(kernel, x, numerator, denominator, weight, bias, form)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        tensors, needed, kernel = ctx.saved_tensors, ctx.needs_input_grad[:5], ctx.kernel
        if is_watched(grads[0], *tensors):
            return *linear_gradients(grads[0], tensors, ctx.form, needed), None, None
        return *gradients(kernel, grads[0], tensors, ctx.form, needed), None, None
