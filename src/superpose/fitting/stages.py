"""Layers of several equal networks, evaluated side by side with what Gauss-Newton needs.

S networks, N samples, I inputs, O outputs of a layer, F = features a layer is linear in. A network of a bundle is as
small as 2-5-1: one call for all of them costs hardly more than a call for one.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from superpose.bases import Basis
from superpose.layers import KANLinear
from superpose.models.mlp import Dense


class Stage(ABC):
    """One layer of S networks: outputs = features(inputs) @ matrix^T."""

    def __init__(self, count: int, inputs: int, per_input: int) -> None:
        self.count, self.inputs, self.per_input = count, inputs, per_input

    @abstractmethod
    def features(
        self, x: Float[Tensor, "S N I"], slopes: bool
    ) -> tuple[Float[Tensor, "S N F"], Float[Tensor, "S N I J"] | None]:
        """Features and, if asked for, the slope of each with respect to the input it belongs to."""

    @abstractmethod
    def picked(self, index: Tensor) -> "Stage":
        """The same layer of the chosen networks."""

    @abstractmethod
    def joined(self, stages: Sequence["Stage"]) -> "Stage":
        """The same layer of the networks of all given stages, one after the other."""

    def pulled_back(
        self, adjoint: Float[Tensor, "S N K O"], matrix: Float[Tensor, "S O F"], slopes: Float[Tensor, "S N I J"]
    ) -> Float[Tensor, "S N K I"]:
        """Derivatives with respect to the inputs from those with respect to the outputs."""
        own = matrix[..., : self.inputs * self.per_input]
        by_feature = (adjoint.flatten(1, 2) @ own).view(*adjoint.shape[:3], self.inputs, self.per_input)
        return (by_feature * slopes.unsqueeze(2)).sum(-1)


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
    ) -> tuple[Float[Tensor, "S N F"], Float[Tensor, "S N I J"] | None]:
        rows = x.transpose(0, 1).flatten(1)
        value, slope = value_and_slope(self.base, rows, slopes)
        features = self._joined(value, self.basis(rows), len(rows)).flatten(2)
        return features, self._joined(slope, self.basis(rows, order=1), len(rows)) if slopes else None

    def _joined(self, base: Tensor, basis: Tensor, samples: int) -> Tensor:
        both = torch.cat([base.unsqueeze(-1), basis], -1)
        return both.view(samples, self.count, self.inputs, -1).transpose(0, 1)

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
    ) -> tuple[Float[Tensor, "S N F"], Float[Tensor, "S N I J"] | None]:
        value, slope = value_and_slope(self.activation, x, slopes)
        return torch.cat([value, torch.ones_like(value[..., :1])], -1), slope.unsqueeze(-1) if slopes else None

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
