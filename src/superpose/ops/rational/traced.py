"""The group-rational function by kernels, as operations that torch.compile takes as a whole."""

from typing import Any

import torch
from torch import Tensor

from superpose.ops.rational import gpu, linear, native
from superpose.ops.rational.function import Kernel

KERNELS: dict[str, Kernel] = {"cpu": native, "cuda": gpu}
"""The kernels of each type of device."""


@torch.library.custom_op("superpose::rational", mutates_args=())
def traced_rational(x: Tensor, numerator: Tensor, denominator: Tensor, form: str, axis: int) -> Tensor:
    """The values."""
    return KERNELS[x.device.type].forward(x, numerator, denominator, form, axis)


@torch.library.custom_op("superpose::rational_backward", mutates_args=())
def traced_backward(
    grad: Tensor, x: Tensor, numerator: Tensor, denominator: Tensor, form: str, axis: int, needed: list[bool]
) -> list[Tensor]:
    """The values and the gradients of x, numerator and denominator; an empty tensor stands for what is not needed."""
    kernel, wanted = KERNELS[x.device.type], (needed[1], needed[2], needed[3])
    results: tuple[Tensor | None, ...]
    if needed[0]:
        results = kernel.backward_and_forward(grad, x, numerator, denominator, form, axis, wanted)
    else:
        results = None, *kernel.backward(grad, x, numerator, denominator, form, axis, wanted)
    return [x.new_empty(0) if each is None else each for each in results]


@traced_rational.register_fake
def _(x: Tensor, numerator: Tensor, denominator: Tensor, form: str, axis: int) -> Tensor:
    return torch.empty_like(x)


@traced_backward.register_fake
def _(
    grad: Tensor, x: Tensor, numerator: Tensor, denominator: Tensor, form: str, axis: int, needed: list[bool]
) -> list[Tensor]:
    tensors = zip((x, x, numerator, denominator), needed, strict=True)
    return [
        (torch.empty_like(each) if each is x else each.new_empty(each.shape)) if need else x.new_empty(0)
        for each, need in tensors
    ]


@torch.library.custom_op("superpose::rational_linear", mutates_args=())
def traced_linear(
    x: Tensor, numerator: Tensor, denominator: Tensor, weight: Tensor, bias: Tensor | None, form: str
) -> Tensor:
    """The values with a linear map after them, in one operation so that a graph keeps nothing between the two."""
    return linear.forward(KERNELS[x.device.type], x, numerator, denominator, weight, bias, form)


@traced_linear.register_fake
def _(x: Tensor, numerator: Tensor, denominator: Tensor, weight: Tensor, bias: Tensor | None, form: str) -> Tensor:
    return weight.new_empty((*x.shape[:-1], weight.shape[0]))


class _Traced:
    """The operations above as a kernel."""

    obstacle = staticmethod(native.obstacle)
    forward = staticmethod(traced_rational)

    @staticmethod
    def backward(*args: Any) -> Any:
        """Gradients of x, numerator and denominator where they are needed."""
        *rest, needed = args
        grads = traced_backward(*rest, [False, *needed])[1:]
        return tuple(each if need else None for each, need in zip(grads, needed, strict=True))

    @staticmethod
    def backward_and_forward(*args: Any) -> Any:
        """The values, and then the same gradients."""
        *rest, needed = args
        y, *grads = traced_backward(*rest, [True, *needed])
        return y, *(each if need else None for each, need in zip(grads, needed, strict=True))


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.form, ctx.axis = inputs
    ctx.save_for_backward(*tensors)


def _derive(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    return *_Traced.backward(grad, *ctx.saved_tensors, ctx.form, ctx.axis, ctx.needs_input_grad[:3]), None, None


def _save_linear(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.form = inputs
    ctx.save_for_backward(*tensors)


def _derive_linear(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    return *linear.gradients(_Traced(), grad, ctx.saved_tensors, ctx.form, ctx.needs_input_grad[:5]), None


traced_rational.register_autograd(_derive, setup_context=_save)
traced_linear.register_autograd(_derive_linear, setup_context=_save_linear)
