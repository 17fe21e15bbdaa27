"""Nodes that are products of sums, as in KAN 2.0 (Liu et al. 2024, arXiv 2408.10205)."""

from collections.abc import Sequence
from functools import reduce
from itertools import accumulate

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor, nn

from superpose.layers.init import domain_points
from superpose.layers.kan_linear import KANLinear


class Products(nn.Module):
    """Multiplies neighbouring features: node n is the product of the next `arities[n]` of them, its factors.

    A factor of arity 1 is the node itself. The empty sum of a factor without edges is zero, and so is its product;
    `superpose.prune`, which puts the mean of a factor in its place, never leaves one behind.

    Args:
        arities: Number of factors of every node, each at least 1.

    Example:
        >>> Products((1, 1, 2))(torch.tensor([[2.0, 3.0, 4.0, 5.0]]))
        tensor([[ 2.,  3., 20.]])
    """

    index: Int[Tensor, "most nodes"] | None
    """The first factors of all nodes, the second ones and so on; where there is none, one past the last feature."""
    plain: bool
    """Whether every node is a sum, so that nothing is multiplied."""

    def __init__(self, arities: Sequence[int]) -> None:
        super().__init__()
        self.arities = tuple(map(int, arities))
        if not self.arities or min(self.arities) < 1:
            raise ValueError(f"arities must be one or more positive integers such as (1, 1, 2), got {arities!r}.")
        self.plain = max(self.arities) == 1
        first, none = [0, *accumulate(self.arities)], sum(self.arities)
        index = torch.tensor(
            [
                [start + k if k < arity else none for start, arity in zip(first, self.arities, strict=False)]
                for k in range(max(self.arities))
            ]
        )
        # Plain integers that follow from the arities: not in state dicts, which stay those of plain networks.
        self.register_buffer("index", None if self.plain else index, persistent=False)

    def forward(self, x: Float[Tensor, "*batch factors"]) -> Float[Tensor, "*batch nodes"]:
        """The product of the factors of each node."""
        return x if self.index is None else reduce(torch.mul, self._by_rank(x, self.index))

    def cofactors(self, x: Float[Tensor, "*batch factors"]) -> Float[Tensor, "*batch factors"]:
        """The product of all other factors of the same node, its derivative: never a quotient, so zeros do no harm."""
        if self.index is None:
            return torch.ones_like(x)
        ranks = self._by_rank(x, self.index)
        one = torch.ones_like(ranks[0])
        before = list(accumulate(ranks[:-1], torch.mul, initial=one))
        behind = list(accumulate(ranks[:0:-1], torch.mul, initial=one))[::-1]
        others = torch.stack([a * b for a, b in zip(before, behind, strict=True)], -2)
        made = torch.zeros_like(nn.functional.pad(x, (0, 1)))
        return made.index_copy(-1, self.index.flatten(), others.flatten(-2))[..., :-1]

    def by_factor(self, values: Shaped[Tensor, "*batch nodes"]) -> Shaped[Tensor, "*batch factors"]:
        """What belongs to a node, once for each of its factors."""
        return values if self.plain else values[..., self.nodes]

    def any(self, marks: Bool[Tensor, "*batch factors"]) -> Bool[Tensor, "*batch nodes"]:
        """Whether a factor of the node is marked."""
        return self((~marks).float()) == 0

    @property
    def nodes(self) -> list[int]:
        """The number of the node that each factor belongs to."""
        return [node for node, arity in enumerate(self.arities) for _ in range(arity)]

    def place(self, node: int) -> slice:
        """Where the factors of a node are."""
        start = sum(self.arities[:node])
        return slice(start, start + self.arities[node])

    @staticmethod
    def _by_rank(x: Tensor, index: Tensor) -> tuple[Tensor, ...]:
        padded = nn.functional.pad(x, (0, 1), value=1.0)
        return padded.index_select(-1, index.flatten()).unflatten(-1, index.shape).unbind(-2)

    def extra_repr(self) -> str:
        return f"{self.arities}"


@torch.no_grad()
def balance_(layer: KANLinear, products: Products) -> None:
    r"""Scale the factors of fresh products so that a product is about as large as a sum next to it.

    The product of k independent factors of mean square q has mean square $q^k$, which is q again when every factor is
    multiplied by $q^{(1 - k) / (2k)}$. Here q is that of the layer's sums for inputs spread evenly over the domain.
    """
    if products.plain:
        return
    points, _ = domain_points(layer)
    features = layer.features(points).unflatten(1, (layer.in_features, -1)).transpose(0, 1)
    edges = layer.matrix().unflatten(1, (layer.in_features, -1)).transpose(0, 1)
    square = (features @ edges.mT).square().mean(1).sum(0).mean()
    if not square > 0:  # an initialisation with zeros
        return
    arity = points.new_tensor([products.arities[node] for node in products.nodes])
    layer.set_matrix_(layer.matrix() * (square ** ((1 - arity) / (2 * arity))).unsqueeze(1))
