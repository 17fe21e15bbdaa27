"""Sums over a head's coordinates of functions of one variable, which keep no values of functions for backward."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from superpose._select import transformed
from superpose.layers.kernels.kernel import Mix

Functions = Callable[[Tensor, int], Tensor]
"""Derivatives of the given order of all functions at every point, along a new axis before the last."""

VALUES = {"cpu": 2**19}
"""Values of functions that are held at once: on a processor what its caches hold."""
MANY_VALUES = 2**24


def sums(
    functions: Functions, x: Float[Tensor, "*batch heads coordinates"], mix: Mix
) -> Float[Tensor, "*batch heads columns functions"]:
    r"""$\sum_d w_{dc}\, \psi_m(x_d)$, in memory for the points and the sums alone, forward and backward.

    Backward computes the functions again from the points. `torch.func`, forward-mode derivatives, `torch.compile` and
    `torch.export` see the plain formula.
    """
    points = x.flatten(0, -3)
    if torch.compiler.is_compiling() and not torch.compiler.is_exporting():
        found = checkpoint(_plain, functions, points, mix, use_reentrant=False, preserve_rng_state=False)
    elif transformed(x, mix):
        found = _plain(functions, points, mix)
    else:
        found = _Sums.apply(points, mix, functions)
    return found.unflatten(0, x.shape[:-2])


def _plain(functions: Functions, x: Tensor, mix: Mix) -> Tensor:
    """The definition."""
    values = functions(x, 0)
    return values.mT if mix is None else torch.einsum("thmd,hdc->thcm", values, mix)


class _Sums(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, mix: Mix, functions: Functions) -> Tensor:
        ctx.save_for_backward(x, mix)
        ctx.functions = functions
        return torch.cat([_total(functions(part, 0), mix) for part in x.split(_rows(functions, x))])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:  # type: ignore[override]
        """What a second derivative goes through once more: nothing here is done in place."""
        x, mix = ctx.saved_tensors
        rows = _rows(ctx.functions, x)
        parts = list(zip(x.split(rows), grad.split(rows), strict=True))
        for_x = for_mix = None
        if ctx.needs_input_grad[0]:
            for_x = torch.cat([_pulled(ctx.functions(part, 1), mix, each) for part, each in parts])
        if ctx.needs_input_grad[1]:
            shares = (torch.einsum("thmd,thcm->hdc", ctx.functions(part, 0), each) for part, each in parts)
            for_mix = sum(shares, torch.zeros_like(mix).expand(x.shape[1], -1, -1)).sum_to_size(mix.shape)
        return for_x, for_mix, None


def _rows(functions: Functions, x: Tensor) -> int:
    """How many tokens are worked on at once."""
    each = max(1, x.shape[1] * functions(x[:1, :1], 0)[0].numel())
    return max(1, VALUES.get(x.device.type, MANY_VALUES) // each)


def _total(values: Tensor, mix: Mix) -> Tensor:
    if mix is None:
        return values.mT
    if len(mix) == 1:  # one product for all heads
        return (values @ mix[0]).mT
    return torch.einsum("thmd,hdc->thcm", values, mix)


def _pulled(slopes: Tensor, mix: Mix, grad: Tensor) -> Tensor:
    if mix is None:
        return (grad.mT * slopes).sum(-2)
    return ((grad @ slopes) * mix.mT).sum(-2)
