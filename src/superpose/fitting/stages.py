"""Layers of several equal networks, evaluated side by side with what Gauss-Newton needs.

S networks, N samples, I inputs, O outputs of a layer, J features of an input, F = features a layer is linear in. A
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
from superpose.layers import KANLinear
from superpose.models.mlp import Dense


class Stage(ABC):
    """One layer of S networks: outputs = matrix @ features(inputs)."""

    def __init__(self, count: int, inputs: int, per_input: int) -> None:
        self.count, self.inputs, self.per_input = count, inputs, per_input

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
        """Derivatives with respect to the inputs from those with respect to the outputs."""
        own = matrix[..., : self.inputs * self.per_input]
        by_feature = torch.bmm(own.mT, adjoint.flatten(2)).view(
            len(adjoint), self.inputs, self.per_input, *adjoint.shape[2:]
        )
        return by_feature.mul_(slopes.unsqueeze(3)).sum(2)


class KANStage(Stage):
    """Kolmogorov-Arnold layers; the basis holds the placements of all networks, S * I rows."""

    def __init__(self, count: int, inputs: int, basis: Basis, base: nn.Module) -> None:
        super().__init__(count, inputs, 1 + basis.num)
        self.basis, self.base = basis, base

    @classmethod
    def of(cls, layers: list[KANLinear]) -> "KANStage":
        first = layers[0]
        placed = first.basis.at(torch.cat([layer.basis.breakpoints for layer in layers]).double())
        return cls(len(layers), first.in_features, placed.double(), first.base)

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
        return KANStage(len(index), self.inputs, self.basis.at(points), self.base)

    def joined(self, stages: Sequence["Stage"]) -> "KANStage":
        points = torch.cat([stage.basis.breakpoints for stage in stages if isinstance(stage, KANStage)])
        return KANStage(sum(stage.count for stage in stages), self.inputs, self.basis.at(points), self.base)


class DenseStage(Stage):
    """Linear layers after an activation."""

    def __init__(self, count: int, inputs: int, activation: nn.Module) -> None:
        super().__init__(count, inputs, 1)
        self.activation = activation

    @classmethod
    def of(cls, layers: list[Dense]) -> "DenseStage":
        return cls(len(layers), layers[0].weight.shape[1], layers[0].activation)

    def features(
        self, x: Float[Tensor, "S N I"], slopes: bool
    ) -> tuple[Float[Tensor, "S F N"], Float[Tensor, "S I J N"] | None]:
        value, slope = value_and_slope(self.activation, x.mT, slopes)
        return torch.cat([value, torch.ones_like(value[:, :1])], 1), slope.unsqueeze(2) if slopes else None

    def picked(self, index: Tensor) -> "DenseStage":
        return DenseStage(len(index), self.inputs, self.activation)

    def joined(self, stages: Sequence["Stage"]) -> "DenseStage":
        return DenseStage(sum(stage.count for stage in stages), self.inputs, self.activation)


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
