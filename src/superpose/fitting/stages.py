"""Layers of several equal networks, evaluated side by side with what Gauss-Newton needs.

A layer is linear in its features; its sums are the nodes it feeds, or the factors that they are products of.

S networks, N samples, I inputs, O sums of a layer, J features of an input, F = features a layer is linear in. A
network of a bundle is as small as 2-5-1: one call for all of them costs hardly more than a call for one. Samples come
last in memory, where the operations on every feature read and write long rows; values that leave or enter a layer are
views with the samples before the nodes.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from superpose.bases import Basis, BSpline
from superpose.fitting.splines import splines
from superpose.layers import KANLinear, Products
from superpose.models.mlp import Dense


class Stage(ABC):
    """One layer of S networks: outputs = products(matrix @ features(inputs))."""

    def __init__(self, count: int, inputs: int, per_input: int, products: Products) -> None:
        self.count, self.inputs, self.per_input, self.products = count, inputs, per_input, products

    @abstractmethod
    def features(
        self, x: Float[Tensor, "S N I"], slopes: bool
    ) -> tuple[Float[Tensor, "S F N"], Float[Tensor, "S I J N"] | None]:
        """Features and, if asked for, the slope of each with respect to the input it belongs to."""

    @abstractmethod
    def picked(self, index: Tensor) -> "Stage":
        """The same layer of the chosen networks."""

    @abstractmethod
    def joined(self, stages: Sequence["Stage"]) -> "Stage":
        """The same layer of the networks of all given stages, one after the other."""

    def pulled_back(
        self, adjoint: Float[Tensor, "S O K N"], matrix: Float[Tensor, "S O F"], slopes: Float[Tensor, "S I J N"]
    ) -> Float[Tensor, "S I K N"]:
        """Derivatives with respect to the inputs from those with respect to the sums."""
        own = matrix[..., : self.inputs * self.per_input]
        by_feature = torch.bmm(own.mT, adjoint.flatten(2)).view(
            len(adjoint), self.inputs, self.per_input, *adjoint.shape[2:]
        )
        return by_feature.mul_(slopes.unsqueeze(3)).sum(2)


class KANStage(Stage):
    """Kolmogorov-Arnold layers; the basis holds the placements of all networks, S * I rows."""

    def __init__(self, count: int, inputs: int, basis: Basis, base: nn.Module, products: Products) -> None:
        super().__init__(count, inputs, 1 + basis.num, products)
        self.basis, self.base = basis, base

    @classmethod
    def of(cls, layers: list[KANLinear], products: Products) -> "KANStage":
        first = layers[0]
        placed = first.basis.at(torch.cat([layer.basis.breakpoints for layer in layers]).double())
        return cls(len(layers), first.in_features, placed.double(), first.base, products)

    def on(self, basis: Basis, count: int | None = None) -> "KANStage":
        """The same layers on other grids, which may be those of another number of networks."""
        return KANStage(count or self.count, self.inputs, basis, self.base, self.products)

    def features(
        self, x: Float[Tensor, "S N I"], slopes: bool
    ) -> tuple[Float[Tensor, "S F N"], Float[Tensor, "S I J N"] | None]:
        rows = x.mT.flatten(0, 1).contiguous()
        value, slope = value_and_slope(self.base, rows, slopes)
        if isinstance(self.basis, BSpline):
            features, slanted = splines(self.basis, rows, value, slope if slopes else None)
        else:
            features = self._joined(value, self.basis(rows.T))
            slanted = self._joined(slope, self.basis(rows.T, order=1)) if slopes else None
        shape = self.count, self.inputs, self.per_input, rows.shape[1]
        return features.view(shape).flatten(1, 2), None if slanted is None else slanted.view(shape)

    @staticmethod
    def _joined(base: Tensor, basis: Tensor) -> Tensor:
        return torch.cat([base.unsqueeze(1), basis.permute(1, 2, 0)], 1)

    def picked(self, index: Tensor) -> "KANStage":
        points = self.basis.breakpoints.view(self.count, self.inputs, -1)[index].flatten(0, 1)
        return self.on(self.basis.at(points), len(index))

    def joined(self, stages: Sequence["Stage"]) -> "KANStage":
        points = torch.cat([stage.basis.breakpoints for stage in stages if isinstance(stage, KANStage)])
        return self.on(self.basis.at(points), sum(stage.count for stage in stages))


class DenseStage(Stage):
    """Linear layers after an activation."""

    def __init__(self, count: int, inputs: int, activation: nn.Module, products: Products) -> None:
        super().__init__(count, inputs, 1, products)
        self.activation = activation

    @classmethod
    def of(cls, layers: list[Dense]) -> "DenseStage":
        outputs, inputs = layers[0].weight.shape
        return cls(len(layers), inputs, layers[0].activation, Products((1,) * outputs))

    def features(
        self, x: Float[Tensor, "S N I"], slopes: bool
    ) -> tuple[Float[Tensor, "S F N"], Float[Tensor, "S I J N"] | None]:
        value, slope = value_and_slope(self.activation, x.mT, slopes)
        return torch.cat([value, torch.ones_like(value[:, :1])], 1), slope.unsqueeze(2) if slopes else None

    def picked(self, index: Tensor) -> "DenseStage":
        return DenseStage(len(index), self.inputs, self.activation, self.products)

    def joined(self, stages: Sequence["Stage"]) -> "DenseStage":
        return DenseStage(sum(stage.count for stage in stages), self.inputs, self.activation, self.products)


def value_and_slope(function: nn.Module, x: Tensor, slope: bool) -> tuple[Tensor, Tensor]:
    """An elementwise function and, if asked for, its derivative (zeros otherwise)."""
    if not slope:
        return function(x), torch.zeros_like(x)
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        value = function(x)
        if not value.requires_grad:
            return value, torch.zeros_like(x)
        return value.detach(), torch.autograd.grad(value.sum(), x)[0]
