"""The group-rational function by a kernel, as PyTorch differentiates, compiles and transforms it."""

from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from superpose._select import transformed
from superpose.ops.rational.second_order import rational_gradients


@runtime_checkable
class Kernel(Protocol):
    """What an implementation is: a module with these functions. The axis is not negative."""

    def obstacle(self, x: Tensor, numerator: Tensor, denominator: Tensor, form: str, axis: int) -> str | None:
        """Why it cannot take these arguments, or None if it can."""

    def forward(self, x: Tensor, numerator: Tensor, denominator: Tensor, form: str, axis: int) -> Tensor:
        """The values."""

    def backward(
        self,
        grad: Tensor,
        x: Tensor,
        numerator: Tensor,
        denominator: Tensor,
        form: str,
        axis: int,
        needed: tuple[bool, bool, bool],
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Gradients of x, numerator and denominator where they are needed."""

    def backward_and_forward(
        self,
        grad: Tensor,
        x: Tensor,
        numerator: Tensor,
        denominator: Tensor,
        form: str,
        axis: int,
        needed: tuple[bool, bool, bool],
    ) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]:
        """The values, and then the same gradients."""


def call(kernel: Kernel, x: Tensor, numerator: Tensor, denominator: Tensor, form: str, axis: int) -> Tensor:
    """As the reference's, by a kernel that has no obstacle."""
    if torch.compiler.is_compiling():
        return torch.ops.superpose.rational(x, numerator, denominator, form, axis)
    if torch.is_grad_enabled():
        return _Rational.apply(x, numerator, denominator, form, axis, kernel)
    return kernel.forward(x, numerator, denominator, form, axis)


def is_watched(grad: Tensor, *tensors: Tensor) -> bool:
    """Whether a backward pass is to be differentiated, transformed or traced, which no kernel can be."""
    batched = torch._C._functorch.is_legacy_batchedtensor(grad)  # torch.autograd.grad(is_grads_batched=True)
    return torch.is_grad_enabled() or batched or transformed(grad, *tensors) is not None


class _Rational(torch.autograd.Function):
    """Saves x and the coefficients."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, numerator: Tensor, denominator: Tensor, form: str, axis: int, kernel: Kernel
    ) -> Tensor:
        ctx.save_for_backward(x, numerator, denominator)
        ctx.rest = form, axis, kernel
        return kernel.forward(x, numerator, denominator, form, axis)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        tensors, needed = ctx.saved_tensors, ctx.needs_input_grad[:3]
        form, axis, kernel = ctx.rest
        if is_watched(grads[0], *tensors):
            return *rational_gradients(grads[0], (*tensors, form, axis), needed), None, None, None
        return *kernel.backward(grads[0], *tensors, form, axis, needed), None, None, None
