"""What there is to draw of a network, as numbers: the edges that live, their curves over their data, and their scores."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from superpose.layers import KANLinear
from superpose.models import KAN
from superpose.scores import Attribution, attribution

POINTS = 65
"""Points of a curve: smooth on paper, at the size of a frame and at that of a page."""

Edge = tuple[int, int, int]
"""Layer, output and input."""


@dataclass(frozen=True)
class Edges:
    """The edges of one layer.

    Attributes:
        alive: Which edges lie on a way from an input to an output.
        scores: How much each matters.
        values: The data at the inputs of the layer.
        x: Points over the range of the data of every input.
        y: The functions of the edges there.
        arities: How many outputs of the layer are the factors of each node behind it; 1 for sums.
    """

    alive: Bool[np.ndarray, "outputs inputs"]
    scores: Float[np.ndarray, "outputs inputs"]
    values: Float[np.ndarray, "rows inputs"]
    x: Float[np.ndarray, "points inputs"]
    y: Float[np.ndarray, "outputs inputs points"]
    arities: tuple[int, ...]

    @property
    def starts(self) -> list[int]:
        """The first factor of every node."""
        return np.cumsum([0, *self.arities[:-1]]).tolist()

    @property
    def strengths(self) -> Float[np.ndarray, "outputs inputs"]:
        """Scores as shares of the largest in the layer: layers with many edges are not all faint."""
        most = float(self.scores[self.alive].max()) if self.alive.any() else 0.0
        return self.scores / most if most > 0 else np.zeros_like(self.scores)


@dataclass(frozen=True)
class Graph:
    """The edges of every layer, and how much the inputs matter."""

    layers: tuple[Edges, ...]
    inputs: Float[np.ndarray, " inputs"]

    @property
    def edges(self) -> list[Edge]:
        """All edges that live."""
        return [(n, o, i) for n, layer in enumerate(self.layers) for o, i in np.argwhere(layer.alive).tolist()]


@torch.no_grad()
def graph(model: KAN, rows: Float[Tensor, "rows inputs"], scores: Attribution | None = None) -> Graph:
    """What there is to draw of a network on these rows, in the units of the model."""
    scores = attribution(model, rows, detach=True) if scores is None else scores
    values = model.input_scaling(rows.to(model.input_scaling.scale))
    arities = factors(model)
    masks = connected([_edges(layer) for layer in model.layers], arities)
    layers = []
    for layer, mask, score, nodes in zip(model.layers, masks, scores.edges, arities, strict=True):
        low, high = values.amin(0), values.amax(0)
        x = low + (high - low) * torch.linspace(0, 1, POINTS, dtype=low.dtype, device=low.device).unsqueeze(1)
        y = as_array(edge_functions(layer, x))
        layers.append(Edges(mask.cpu().numpy(), as_array(score), as_array(values), as_array(x), y, nodes))
        values = multiplied(layer(values), nodes)
    return Graph(tuple(layers), as_array(scores.inputs))


def as_array(values: Tensor) -> np.ndarray:
    """Float64 on the CPU."""
    return values.detach().double().cpu().numpy()


def factors(model: KAN) -> tuple[tuple[int, ...], ...]:
    """How many outputs of each layer make a node of the next: one, a sum, where the model knows no products."""
    sums = tuple((1,) * layer.out_features for layer in model.layers)
    return tuple(map(tuple, getattr(model, "arities", sums)))


def edge_functions(layer: KANLinear, x: Float[Tensor, "points inputs"]) -> Float[Tensor, "outputs inputs points"]:
    """Every edge function of a layer at points of its input."""
    features = layer.features(x).view(len(x), layer.in_features, -1)
    return torch.einsum("pif,oif->oip", features, layer.matrix().view(layer.out_features, layer.in_features, -1))


def multiplied(x: Float[Tensor, "rows outputs"], arities: Sequence[int]) -> Float[Tensor, "rows nodes"]:
    """The nodes: products of consecutive outputs."""
    if all(arity == 1 for arity in arities):
        return x
    return torch.stack([part.prod(-1) for part in x.split(list(arities), -1)], -1)


def connected(masks: Sequence[Tensor], arities: Sequence[Sequence[int]]) -> list[Tensor]:
    """The edges without those of hidden nodes that nothing enters or nothing leaves."""
    masks = [mask.clone() for mask in masks]
    owners = [torch.arange(len(nodes)).repeat_interleave(torch.tensor(nodes)).to(masks[0].device) for nodes in arities]
    for n, (mask, owner, nodes) in enumerate(zip(masks[:-1], owners, arities, strict=False)):
        entered = torch.zeros(len(nodes), dtype=torch.bool, device=mask.device)
        entered[owner[mask.any(1)]] = True
        masks[n + 1] &= entered
    for n in reversed(range(len(masks) - 1)):
        masks[n] &= masks[n + 1].any(0)[owners[n]].unsqueeze(1)
    return masks


def _edges(layer: KANLinear) -> Bool[Tensor, "outputs inputs"]:
    """The edges that are not zero everywhere; those that were pruned are."""
    return layer.matrix().view(layer.out_features, layer.in_features, -1).ne(0).any(-1)
