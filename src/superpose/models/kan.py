"""The Kolmogorov-Arnold network."""

from collections.abc import MutableSequence, Sequence
from itertools import groupby
from typing import Any, TypeGuard

import torch
from jaxtyping import Float
from torch import Tensor, nn

from superpose.bases import Basis, BSpline
from superpose.layers import KANLinear, Products, variance_preserving
from superpose.layers.init import Initializer
from superpose.layers.products import balance_
from superpose.models.network import Network, check_widths

MANY = 3
"""Equal arities in a row from which a printed shape counts them."""


class KAN(Network):
    """A Kolmogorov-Arnold network: sums and compositions of learnable functions of one variable.

    Nodes may also be products of sums, as in KAN 2.0 (Liu et al. 2024, arXiv 2408.10205). Each sum is a factor with
    edges of its own, so that the layer has more outputs than there are nodes.

    Args:
        widths: Nodes of each layer from inputs to outputs, such as `(2, 5, 1)`. A layer with products is the row of
            its nodes' numbers of factors, 1 for a sum: `(2, (1, 1, 2), 1)` has two sums and a product of two.
        basis: Family of functions on the edges, the same for all layers; `BSpline()` if None.
        base: Residual function of the edges; `nn.SiLU()` if None.
        init: Sets the parameters, see `superpose.layers.init`; factors are then scaled to products as large as sums.
        generator: Source of randomness; the caller's global state if None.

    Raises:
        TypeError: If the widths are not a row, or the inputs are not a number.
        ValueError: If they are not two or more positive integers or rows of such.

    Example:
        >>> model = KAN((2, 5, 1), BSpline(intervals=5))
        >>> model
        KAN 2-5-1, BSpline(intervals=5, degree=3, extrapolation='linear'), base SiLU, 135 parameters
        >>> model(torch.zeros(7, 2)).shape
        torch.Size([7, 1])
        >>> KAN((2, (1, 1, 2), 1)).arities
        ((1, 1, 2), (1,))
    """

    layers: MutableSequence[KANLinear]
    products: MutableSequence[Products]
    """What makes the nodes from the outputs of each layer; nothing is done where all are sums."""

    def __init__(
        self,
        widths: Sequence[int | Sequence[int]],
        basis: Basis | None = None,
        *,
        base: nn.Module | None = None,
        init: Initializer = variance_preserving,
        generator: torch.Generator | None = None,
    ) -> None:
        inputs, arities = _checked(widths)
        nodes = [inputs, *map(len, arities)]
        basis = BSpline() if basis is None else basis
        sizes = zip(nodes[:-1], map(sum, arities), strict=True)
        super().__init__(nodes, [KANLinear(i, o, basis, base=base, init=init, generator=generator) for i, o in sizes])
        self.products = nn.ModuleList(map(Products, arities))  # type: ignore[assignment]
        for layer, products in zip(self.layers, self.products, strict=True):
            balance_(layer, products)

    @property
    def arities(self) -> tuple[tuple[int, ...], ...]:
        """Number of factors of every node that each layer of edges feeds, 1 for sums."""
        return tuple(products.arities for products in self.products)

    @property
    def num_parameters(self) -> int:
        """Number of trainable values on the edges there are."""
        pruned = [(layer, int((~layer.mask).sum())) for layer in self.layers if layer.mask is not None]
        return super().num_parameters - sum(
            edges * (layer.weight.requires_grad + layer.basis.num * layer.coef.requires_grad) for layer, edges in pruned
        )

    def body(self, x: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
        """The layers and products alone, in the units they were fitted in."""
        for layer, products in zip(self.layers, self.products, strict=True):
            x = layer(x) if products.plain else products(layer(x))
        return x

    def __repr__(self) -> str:
        first = self.layers[0]
        shape = "-".join([str(self.widths[0]), *map(_shown, self.products)])
        return f"KAN {shape}, {first.basis!r}, base {type(first.base).__name__}, {self.num_parameters} parameters"


def _checked(widths: Sequence[int | Sequence[int]]) -> tuple[int, list[tuple[int, ...]]]:
    """Number of inputs and, of every node behind them, that of its factors; or a clear error."""
    if not isinstance(widths, Sequence) or isinstance(widths, str) or any(map(_is_row, widths[:1])):
        raise TypeError(
            f"widths must be a row of integers such as (2, 5, 1) whose entries behind the first may be rows of arities "
            f"such as (2, (1, 1, 2), 1), got {widths!r}."
        )
    rows: list[tuple[int, ...] | None] = []
    for entry in widths[1:]:
        if not _is_row(entry):
            rows.append(None)
            continue
        if not entry or any(isinstance(a, bool) or _is_row(a) or int(a) != a or a < 1 for a in entry):
            raise ValueError(f"arities must be one or more positive integers such as (1, 1, 2), got {entry!r}.")
        rows.append(tuple(map(int, entry)))
    pairs = check_widths([len(entry) if _is_row(entry) else entry for entry in widths])  # type: ignore[misc]
    return pairs[0][0], [(1,) * nodes if row is None else row for (_, nodes), row in zip(pairs, rows, strict=True)]


def _shown(products: Products) -> str:
    """The nodes of a layer, in short: their number if all are sums, else their arities, and long runs of one counted."""
    if products.plain:
        return str(len(products.arities))
    runs = [(arity, len(list(run))) for arity, run in groupby(products.arities)]
    shown = (f"{arity}x{count}" if count > MANY else ",".join([str(arity)] * count) for arity, count in runs)
    return f"({','.join(shown)})"


def _is_row(entry: Any) -> TypeGuard[Sequence[int]]:
    return isinstance(entry, Sequence) and not isinstance(entry, str)
