"""Kernels made of kernels: another for every head, or two of which every head learns a mixture."""

from collections.abc import Iterable, MutableSequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from superpose.layers.kernels.kernel import Kernel, Mix, repeated


class PerHead(Kernel):
    """Different kernels for different heads.

    Args:
        kernels: Pairs of a kernel and the number of heads it serves, in the order of the heads.

    Raises:
        ValueError: If there are no heads, or another number of them is asked for.

    Example:
        >>> from superpose.layers.kernels import GaussianKernel, LinearKernel
        >>> PerHead((GaussianKernel(), 2), (LinearKernel(), 6)).counts
        (2, 6)
    """

    def __init__(self, *kernels: tuple[Kernel, int]) -> None:
        super().__init__()
        if not kernels or min(count for _, count in kernels) < 1:
            raise ValueError(f"give one or more pairs of a kernel and its number of heads, got {kernels!r}.")
        self.kernels: MutableSequence[Kernel] = nn.ModuleList(kernel.expanded(count) for kernel, count in kernels)  # type: ignore[assignment]
        self.counts = tuple(count for _, count in kernels)

    @property
    def positive(self) -> bool:  # type: ignore[override]
        return all(kernel.positive for kernel in self.kernels)

    @property
    def vectors(self) -> bool:  # type: ignore[override]
        return any(kernel.vectors for kernel in self.kernels)

    def expanded(self, heads: int) -> "PerHead":
        if heads != sum(self.counts):
            raise ValueError(f"the kernels are for {self.counts} heads, {sum(self.counts)} in all, not {heads}.")
        return PerHead(*zip(self.kernels, self.counts, strict=True))

    def coordinates(self, head_dim: int) -> nn.Module:
        return _agreed(self.kernels, head_dim)

    def forward(
        self, q: Tensor, k: Tensor, left: Mix, right: Mix, relative: bool
    ) -> tuple[Float[Tensor, "batch queries heads features"], Float[Tensor, "batch keys heads features"]]:
        pairs, start = [], 0
        for kernel, count in zip(self.kernels, self.counts, strict=True):
            heads = slice(start, start + count)
            keys = k[..., heads, :]
            queries = keys if q is k else q[..., heads, :]
            start += count
            mine = _of(left, heads)
            pairs.append(kernel(queries, keys, mine, mine if left is right else _of(right, heads), relative))
        width = max(queries.shape[-1] for queries, _ in pairs)
        padded = [
            [nn.functional.pad(each, (0, width - each.shape[-1])) for each in side] for side in zip(*pairs, strict=True)
        ]
        return torch.cat(padded[0], -2), torch.cat(padded[1], -2)


class Gated(Kernel):
    r"""$g \kappa_1 + (1 - g) \kappa_2$, with a share g from 0 to 1 that every head learns.

    Args:
        first: The kernel whose share is g.
        second: The other.
        share: Where g starts, between 0 and 1.
        heads: Heads with gates of their own.

    Raises:
        ValueError: If the share is not between 0 and 1.

    Example:
        >>> from superpose.layers.kernels import GaussianKernel, LinearKernel
        >>> Gated(GaussianKernel(), LinearKernel()).expanded(8).gate.shape
        torch.Size([8])
    """

    def __init__(self, first: Kernel, second: Kernel, *, share: float = 0.5, heads: int = 1) -> None:
        super().__init__()
        if not 0 < share < 1:
            raise ValueError(f"share is {share!r}; it must lie between 0 and 1.")
        self.first, self.second, self.share = first.expanded(heads), second.expanded(heads), share
        self.gate = nn.Parameter(torch.full((heads,), share, device="cpu").logit())
        """Shares of the first kernel, before a sigmoid."""
        self.keep_()

    @property
    def positive(self) -> bool:  # type: ignore[override]
        return self.first.positive and self.second.positive

    @property
    def vectors(self) -> bool:  # type: ignore[override]
        return self.first.vectors or self.second.vectors

    def expanded(self, heads: int) -> "Gated":
        made = Gated(self.first, self.second, share=self.share, heads=heads)
        made.gate.data = repeated(self.gate, heads, "gate")
        made.keep_()
        return made

    def coordinates(self, head_dim: int) -> nn.Module:
        return _agreed([self.first, self.second], head_dim)

    def forward(
        self, q: Tensor, k: Tensor, left: Mix, right: Mix, relative: bool
    ) -> tuple[Float[Tensor, "batch queries heads features"], Float[Tensor, "batch keys heads features"]]:
        q1, k1 = self.first(q, k, left, right, relative)
        q2, k2 = self.second(q, k, left, right, relative)
        share = self.gate.to(q1.dtype).sigmoid().unsqueeze(-1)
        return torch.cat([q1 * share, q2 * (1 - share)], -1), torch.cat([k1, k2], -1)


def _of(mix: Tensor | None, heads: slice) -> Tensor | None:
    """The weights of some heads; one row serves all."""
    return mix if mix is None or len(mix) == 1 else mix[heads]


def _agreed(kernels: Iterable[Kernel], head_dim: int) -> nn.Module:
    """The coordinates all kernels want, or a clear error."""
    wanted = [kernel.coordinates(head_dim) for kernel in kernels]
    particular = {repr(each): each for each in wanted if not isinstance(each, nn.Identity)}
    if len(particular) > 1:
        raise ValueError(f"the kernels want different coordinates, {', '.join(particular)}; give coordinates= for all.")
    return next(iter(particular.values()), nn.Identity())
