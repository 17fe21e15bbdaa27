"""A penalty on the scores of the edges, which makes a network say what it says on few of them.

For every layer the sum of its edges' scores (see `superpose.attribute`), which is one for a single path from an input to
an output and more for edges that work against each other, and the entropy of their shares, at most one where all are
alike and zero where a single edge has everything (Liu et al. 2024, arXiv 2404.19756, eqs. 2.17 to 2.20, with scores in
the place of mean magnitudes). Scores are relative to the spreads of the nodes, so that no units matter, those of hidden
nodes included, and a network gains nothing from small numbers.
"""

import copy
import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from superpose.fitting.bundle import Bundle, Data
from superpose.models import KAN, Network
from superpose.scores import Scores, scored

ROWS = 1000
"""Rows that a second-order solver takes the scores from."""
LEAST = 1e-12
"""Share of a layer's scores below which its logarithm stays as it is."""
SMALL = 1e-5
"""Spread of an edge, relative to that of its layer's largest, from which its curvature grows no more."""


def penalty(scores: Scores) -> Tensor:
    """Sum of the scores and entropy of their shares, the mean over the layers."""
    layers = []
    for edges in scores.edges:
        total = edges.sum()
        shares = edges / torch.where(total > 0, total, 1)
        entropy = -(shares * shares.clamp_min(LEAST).log()).sum() / max(1.0, math.log(edges.numel()))
        layers.append(total + entropy)
    return torch.stack(layers).mean()


def sparsity_loss(model: Network, x: Float[Tensor, "N inputs"]) -> Tensor:
    """The penalty of a network at inputs in its own units, with gradients for its parameters."""
    assert isinstance(model, KAN)
    return penalty(scored(model, x)).to(x.dtype)


@dataclass(frozen=True)
class Release:
    """A strength that holds for some steps and is zero from then on."""

    full: float
    steps: int

    def strength(self, step: int) -> float:
        """What it is at a step."""
        return self.full if step < self.steps else 0.0


NONE = Release(0.0, 0)


class Expansion(NamedTuple):
    """A penalty of a network around its parameters, to the second order."""

    value: Float[Tensor, "1"]
    gradient: Float[Tensor, "1 P"]
    curvature: Float[Tensor, "1 P P"]


@dataclass(frozen=True)
class Sparsity:
    """The penalty of one network in a solver's form."""

    strength: float
    template: KAN
    x: Float[Tensor, "rows inputs"]

    @classmethod
    def of(cls, strength: float, model: Network, data: Data) -> "Sparsity":
        """For networks like the given one and some rows of a table, which count once each whatever their weight."""
        assert isinstance(model, KAN)
        return cls(strength, copy.deepcopy(model).double(), data.x[:: math.ceil(len(data) / ROWS)])

    @torch.no_grad()
    def value(self, bundle: Bundle) -> Float[Tensor, "1"]:
        """The penalty, times its strength."""
        model = bundle.written_to(self.template)
        assert isinstance(model, KAN)
        return self.strength * penalty(scored(model, self.x)).unsqueeze(0)

    @torch.no_grad()
    def scores(self, bundle: Bundle) -> tuple[Float[Tensor, "_ _"], ...]:
        """Scores of the edges of every layer."""
        model = bundle.written_to(self.template)
        assert isinstance(model, KAN)
        return scored(model, self.x).edges

    def expansion(self, bundle: Bundle) -> Expansion:
        r"""The penalty, its exact gradient, and a curvature that is never negative.

        The spread s of an edge is the root of a quadratic form, $s^2 = c^T C c$ with the covariance C of its features,
        and $s \le s^2 / (2 s_0) + s_0 / 2$ about the present $s_0$: where the penalty grows with s by a slope p, it has
        the curvature $(p / s_0) C$ of this bound (Hunter and Li 2005, Variable selection using MM algorithms).
        """
        model = bundle.written_to(self.template)
        assert isinstance(model, KAN)
        with torch.enable_grad():
            scores = scored(model, self.x)
            value = penalty(scores)
            spreads = [moments.spread for moments in scores.moments]
            parameters = [p for layer in model.layers for p in (layer.weight, layer.coef)]
            found = torch.autograd.grad(value, [*spreads, *parameters])
        slopes, by_weight, by_coef = found[: len(spreads)], found[len(spreads) :: 2], found[len(spreads) + 1 :: 2]
        rows = [torch.cat([w.unsqueeze(-1), c.permute(2, 0, 1)], -1) for w, c in zip(by_weight, by_coef, strict=True)]
        blocks = self._curvatures(model, spreads, slopes)
        return Expansion(
            self.strength * value.detach().unsqueeze(0),
            self.strength * torch.cat([row.flatten() for row in rows]).unsqueeze(0),
            self.strength * torch.block_diag(*blocks).unsqueeze(0),
        )

    @torch.no_grad()
    def _curvatures(self, model: KAN, spreads: list[Tensor], slopes: tuple[Tensor, ...]) -> list[Tensor]:
        """One block for every edge, in the order of the parameters."""
        blocks, values = [], self.x
        for layer, products, spread, slope in zip(model.layers, model.products, spreads, slopes, strict=True):
            features = layer.features(values).view(len(values), layer.in_features, -1).transpose(0, 1)
            centred = features - features.mean(1, keepdim=True)
            covariance = centred.mT @ centred / len(values)
            weight = slope.clamp_min(0) / spread.clamp_min(SMALL * float(spread.max()) + 1e-300)
            blocks += list((weight[..., None, None] * covariance).flatten(0, 1))
            values = products(layer(values))
        return blocks
