"""Sums over a head's coordinates of functions of one variable, which keep no values of functions for backward."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from superpose._select import transformed
from superpose.layers.kernels.kernel import Mix

VALUES = {"cpu": 2**19}
"""Values of functions that are held at once: on a processor what its caches hold."""
MANY_VALUES = 2**24

Functions = Callable[[Tensor, int], Tensor]
"""Derivatives of the given order of all functions at every point, along a new axis before the last."""


class Work(ABC):
    """A way of adding functions up, for tokens (t), heads (h), coordinates (d), columns (c) and functions (m)."""

    functions: Functions

    @property
    @abstractmethod
    def rows(self) -> int:
        """Values for each coordinate that are held on the way."""

    @abstractmethod
    def total(self, x: Tensor, mix: Mix) -> Tensor:
        """The sums, (t, h, c, m)."""

    @abstractmethod
    def pulled(self, x: Tensor, mix: Mix, grad: Tensor, needed: tuple[bool, bool]) -> tuple[Tensor, Tensor]:
        """What a gradient of the sums is for the points and for the mix, as far as needed, and else zero.

        It may be differentiated again: nothing is done in place.
        """


class Direct(Work):
    """Evaluates each of `count` functions at every point."""

    def __init__(self, functions: Functions, count: int) -> None:
        self.functions, self.count = functions, count

    @property
    def rows(self) -> int:
        return self.count

    def total(self, x: Tensor, mix: Mix) -> Tensor:
        values = self.functions(x, 0)
        if mix is None:
            return values.mT
        if len(mix) == 1:  # one product for all heads
            return (values @ mix[0]).mT
        return torch.einsum("thmd,hdc->thcm", values, mix)

    def pulled(self, x: Tensor, mix: Mix, grad: Tensor, needed: tuple[bool, bool]) -> tuple[Tensor, Tensor]:
        for_x = for_mix = x.new_zeros(())
        if needed[0]:
            slopes = self.functions(x, 1)
            for_x = (grad.mT * slopes).sum(-2) if mix is None else ((grad @ slopes) * mix.mT).sum(-2)
        if needed[1]:
            for_mix = (grad @ self.functions(x, 0)).sum(0).mT
        return for_x, for_mix


def sums(
    functions: Functions,
    x: Float[Tensor, "*batch heads coordinates"],
    mix: Mix,
    work: Callable[[], Work],
) -> Float[Tensor, "*batch heads columns functions"]:
    r"""$\sum_d w_{dc}\, \psi_m(x_d)$, in memory for the points and the sums alone, forward and backward.

    Backward computes the functions again from the points. `torch.func`, forward-mode derivatives, `torch.compile` and
    `torch.export` see the plain formula.

    Args:
        functions: The functions $\psi_m$.
        x: Points.
        mix: Weights w.
        work: Makes a way of adding up these functions with these weights.
    """
    points = x.flatten(0, -3)
    if torch.compiler.is_compiling() and not torch.compiler.is_exporting():
        found = checkpoint(_plain, functions, points, mix, use_reentrant=False, preserve_rng_state=False)
    elif transformed(x, mix):
        found = _plain(functions, points, mix)
    else:
        found = _Sums.apply(points, mix, work())
    return found.unflatten(0, x.shape[:-2])


def _plain(functions: Functions, x: Tensor, mix: Mix) -> Tensor:
    """The definition."""
    values = functions(x, 0)
    return values.mT if mix is None else torch.einsum("thmd,hdc->thcm", values, mix.expand(x.shape[1], -1, -1))


class _Sums(torch.autograd.Function):
    """The sums, some tokens at a time."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, mix: Mix, work: Work) -> Tensor:
        ctx.save_for_backward(x, mix)
        ctx.work = work
        return torch.cat([work.total(part, mix) for part in x.split(_tokens(work, x))])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:  # type: ignore[override]
        x, mix = ctx.saved_tensors
        needed = tuple(ctx.needs_input_grad[:2])
        size = _tokens(ctx.work, x)
        parts = zip(x.split(size), grad.split(size), strict=True)
        for_x, for_mix = zip(*(ctx.work.pulled(part, mix, each, needed) for part, each in parts), strict=True)
        return (
            torch.cat(for_x) if needed[0] else None,
            sum(for_mix[1:], for_mix[0]).sum_to_size(mix.shape) if needed[1] else None,
            None,
        )


def _tokens(work: Work, x: Tensor) -> int:
    """How many tokens are worked on at once."""
    each = max(1, x.shape[1:].numel() * work.rows)
    return max(1, VALUES.get(x.device.type, MANY_VALUES) // each)
