"""Several networks of one shape, fitted side by side.

Many short fits from different starts are how small networks get out of bad minima; side by side they cost little more
than one. S networks, N samples, K outputs, P parameters each.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from superpose.bases import Basis, BSpline
from superpose.fitting.losses import Loss
from superpose.fitting.stages import DenseStage, KANStage, Stage
from superpose.grids import equidistributed, placement, projection, stretched
from superpose.models import KAN, Network

CHUNK = 2**23
"""Numbers in the largest piece of a Jacobian held at once: 64 MB in float64."""


@dataclass(frozen=True)
class Data:
    """Inputs, targets and weights that sum to one; `total` is what they summed to, the number of observations."""

    x: Float[Tensor, "N inputs"]
    y: Tensor
    weight: Float[Tensor, " N"]
    total: float

    def __len__(self) -> int:
        return len(self.x)

    def rows(self, index: Tensor | slice) -> "Data":
        """A part of the data, its weights summing to one again."""
        weight = self.weight[index]
        share = float(weight.sum())
        return Data(self.x[index], self.y[index], weight / share, self.total * share)


@dataclass(frozen=True)
class Bundle:
    """S networks in the solver's form: a stage and a matrix of parameters for each layer, in float64."""

    stages: list[Stage]
    matrices: list[Float[Tensor, "S _ _"]]

    @classmethod
    @torch.no_grad()
    def of(cls, models: list[Network]) -> "Bundle":
        """The given networks, which share their shape and their scaling."""
        stage = KANStage if isinstance(models[0], KAN) else DenseStage
        layers = list(zip(*(model.layers for model in models), strict=True))
        matrices = [torch.stack([layer.matrix() for layer in group]).double() for group in layers]
        return cls([stage.of(list(group)) for group in layers], matrices)

    @torch.no_grad()
    def written_to(self, template: Network, which: int = 0) -> Network:
        """A copy of `template` with the parameters and grids of one network of the bundle."""
        model = copy.deepcopy(template)
        chosen = self.picked(torch.tensor([which]))
        for layer, stage, matrix in zip(model.layers, chosen.stages, chosen.matrices, strict=True):
            if isinstance(stage, KANStage):
                layer.basis = stage.basis.to(layer.coef.dtype)
                layer.coef = torch.nn.Parameter(layer.coef.new_empty(stage.inputs, stage.basis.num, layer.out_features))
            layer.set_matrix_(matrix[0])
        return model

    @property
    def count(self) -> int:
        """Number of networks."""
        return self.matrices[0].shape[0]

    @property
    def intervals(self) -> int:
        """Size of the bases, 0 for perceptrons."""
        return self.stages[0].basis.size if isinstance(self.stages[0], KANStage) else 0

    def picked(self, index: Tensor) -> "Bundle":
        """The chosen networks."""
        return Bundle([stage.picked(index) for stage in self.stages], [m[index].clone() for m in self.matrices])

    @classmethod
    def joined(cls, bundles: list["Bundle"]) -> "Bundle":
        """Bundles of one shape as one."""
        stages = [stage.joined([bundle.stages[n] for bundle in bundles]) for n, stage in enumerate(bundles[0].stages)]
        layers = zip(*(bundle.matrices for bundle in bundles), strict=True)
        return cls(stages, [torch.cat(matrices) for matrices in layers])

    def flat(self) -> Float[Tensor, "S P"]:
        """All parameters in a row."""
        return torch.cat([matrix.flatten(1) for matrix in self.matrices], 1)

    def with_flat(self, parameters: Float[Tensor, "S P"]) -> "Bundle":
        """The same networks with other parameters."""
        parts = parameters.split([matrix[0].numel() for matrix in self.matrices], dim=1)
        return replace(self, matrices=[p.view_as(m) for p, m in zip(parts, self.matrices, strict=True)])

    def hidden(self, x: Float[Tensor, "N inputs"]) -> list[Float[Tensor, "S N _"]]:
        """Inputs of every layer, and the outputs last."""
        values = [x.expand(self.count, -1, -1)]
        for stage, matrix in zip(self.stages, self.matrices, strict=True):
            values.append(torch.bmm(matrix, stage.features(values[-1], slopes=False)[0]).mT)
        return values

    def losses(self, data: Data, loss: Loss) -> Float[Tensor, " S"]:
        """Mean loss of every network."""
        total = data.x.new_zeros(self.count)
        for part in self._pieces(len(data), sum(stage.inputs * stage.per_input for stage in self.stages)):
            values = loss.values(self.hidden(data.x[part])[-1], data.y[part])
            total += values @ data.weight[part]
        return total

    def _pieces(self, samples: int, numbers: int) -> list[slice]:
        """Parts of the samples of which each network needs so many numbers for each sample."""
        most = max(1, CHUNK // (self.count * numbers))
        return [slice(start, start + most) for start in range(0, samples, most)]

    def evaluated(self, x: Float[Tensor, "N inputs"]) -> "Evaluated":
        """The networks at some points, with what their derivatives are made of."""
        value, features, slopes = x.expand(self.count, -1, -1), [], []
        for layer, (stage, matrix) in enumerate(zip(self.stages, self.matrices, strict=True)):
            made, slope = stage.features(value, slopes=layer > 0)
            value = torch.bmm(matrix, made).mT
            features.append(made)
            slopes.append(slope)
        return Evaluated(self, value, features, slopes)

    def outputs_and_jacobian(
        self, x: Float[Tensor, "N inputs"]
    ) -> tuple[Float[Tensor, "S N K"], Float[Tensor, "S N K P"]]:
        """Outputs and their derivatives with respect to all parameters."""
        here = self.evaluated(x)
        eye = torch.eye(here.outputs.shape[-1], dtype=x.dtype).unsqueeze(-1)
        rows = here.rows(here.adjoints(eye.expand(self.count, -1, -1, len(x))))
        return here.outputs, rows.permute(0, 3, 2, 1)

    def normal_equations(self, data: Data, loss: Loss) -> tuple[Float[Tensor, "S P"], Float[Tensor, "S P P"]]:
        """Gradient and Gauss-Newton matrix of the mean loss, gathered over pieces of the data."""
        size, outputs = sum(matrix[0].numel() for matrix in self.matrices), self.matrices[-1].shape[1]
        gradient = data.x.new_zeros(self.count, size)
        hessian = data.x.new_zeros(self.count, size, size)
        eye = torch.eye(outputs, dtype=data.x.dtype)
        for part in self._pieces(len(data), size * outputs):
            here = self.evaluated(data.x[part])
            slopes = loss.slopes(here.outputs, data.y[part]) * data.weight[part].unsqueeze(-1)
            root = loss.rooted(eye.expand(*here.outputs.shape, -1), here.outputs, data.y[part])
            root = root * data.weight[part].sqrt()[:, None, None]
            # One sweep from the outputs to the inputs pulls back the rows of the root and, behind them, the slopes.
            both = here.adjoints(torch.cat([root, slopes.unsqueeze(2)], 2).permute(0, 3, 2, 1).contiguous())
            gradient += here.gradient([adjoint[:, :, -1] for adjoint in both])
            rows = here.rows([adjoint[:, :, :-1] for adjoint in both]).flatten(2)
            hessian.baddbmm_(rows, rows.mT)
        return gradient, hessian

    def without_node(self, layer: int, node: int) -> "Bundle":
        """The same networks with all edges into and out of a node after `layer` set to zero."""
        matrices = [matrix.clone() for matrix in self.matrices]
        matrices[layer][:, node] = 0
        matrices[layer + 1][..., self._from(layer + 1, node)] = 0
        return replace(self, matrices=matrices)

    def dead_nodes(self) -> list[Bool[Tensor, "S O"]]:
        """For every hidden layer, the nodes whose edges are all zero. Nothing can wake them, so they stay as they are."""
        dead = []
        for layer in range(len(self.stages) - 1):
            silent = (self.matrices[layer] == 0).all(2)
            unheard = [
                (self.matrices[layer + 1][..., self._from(layer + 1, n)] == 0).all(2).all(1)
                for n in range(silent.shape[1])
            ]
            dead.append(silent & torch.stack(unheard, 1))
        return dead

    def frozen(self) -> Bool[Tensor, "S P"]:
        """The parameters of edges into and out of dead nodes."""
        marks = [torch.zeros_like(matrix, dtype=torch.bool) for matrix in self.matrices]
        for layer, dead in enumerate(self.dead_nodes()):
            marks[layer] |= dead.unsqueeze(2)
            for node in range(dead.shape[1]):
                marks[layer + 1][..., self._from(layer + 1, node)] |= dead[:, node, None, None]
        return torch.cat([mark.flatten(1) for mark in marks], 1)

    def _kan(self, layer: int) -> KANStage:
        stage = self.stages[layer]
        if not isinstance(stage, KANStage):
            raise TypeError("a perceptron has no grids.")
        return stage

    def _from(self, layer: int, node: int) -> slice:
        """Columns of a layer's matrix that belong to one of its inputs."""
        width = self.stages[layer].per_input
        return slice(node * width, (node + 1) * width)

    def with_basis(self, layer: int, basis: Basis, carry: Float[Tensor, "SI new old"]) -> "Bundle":
        """The same functions on other grids of one layer; `carry` takes the coefficients over."""
        stage, matrix = self._kan(layer), self.matrices[layer]
        split = matrix.view(self.count, -1, stage.inputs, stage.per_input)
        carry = carry.view(self.count, stage.inputs, *carry.shape[1:])
        coef = torch.einsum("sino,sjio->sjin", carry, split[..., 1:])
        joined = torch.cat([split[..., :1], coef], -1).flatten(2)
        placed = KANStage(self.count, stage.inputs, basis, stage.base)
        return Bundle(
            [*self.stages[:layer], placed, *self.stages[layer + 1 :]],
            [*self.matrices[:layer], joined, *self.matrices[layer + 1 :]],
        )

    def moved(self, data: Data, *, uniform: float, margin: float) -> "Bundle":
        """Grids of the hidden layers where their data are, layer by layer."""

        def placed(basis: Basis, values: Tensor) -> Basis:
            return basis.at(placement(basis, values, uniform=uniform, margin=max(margin, 0.5 / basis.size)))

        return self._regridded(data, placed)

    def stretched(self, data: Data, *, margin: float) -> "Bundle":
        """Grids of the hidden layers scaled as they are to the range of their data, layer by layer."""

        def scaled(basis: Basis, values: Tensor) -> Basis:
            return basis.at(stretched(basis, values, max(margin, 0.5 / basis.size)))

        return self._regridded(data, scaled)

    def _regridded(self, data: Data, regrid: Callable[[Basis, Tensor], Basis]) -> "Bundle":
        bundle = self
        value = data.x.expand(self.count, -1, -1)
        for layer in range(len(self.stages)):
            if layer and isinstance(bundle.stages[layer], KANStage):
                basis = bundle._kan(layer).basis
                placed = regrid(basis, value.mT.flatten(0, 1).T)
                bundle = bundle.with_basis(layer, placed, projection(basis, placed))
            features, _ = bundle.stages[layer].features(value, slopes=False)
            value = torch.bmm(bundle.matrices[layer], features).mT
        return bundle

    def refined(self, intervals: int) -> "Bundle":
        """The same functions on finer grids; splines get their knots where the functions are hard to approximate."""
        bundle = self
        for layer, stage in enumerate(self.stages):
            if not isinstance(stage, KANStage):
                continue
            basis, carry = stage.basis.refined(intervals)
            if isinstance(stage.basis, BSpline):
                split = self.matrices[layer].view(self.count, -1, stage.inputs, stage.per_input)
                coef = split[..., 1:].permute(0, 2, 3, 1).flatten(0, 1)
                basis, carry = stage.basis.at(equidistributed(stage.basis, coef, intervals)), None
            bundle = bundle.with_basis(layer, basis, projection(stage.basis, basis) if carry is None else carry)
        return bundle


@dataclass(frozen=True)
class Evaluated:
    """S networks at N points, with the features and slopes of every layer."""

    bundle: Bundle
    outputs: Float[Tensor, "S N K"]
    features: list[Float[Tensor, "S _ N"]]
    slopes: list[Float[Tensor, "S _ _ N"] | None]

    def adjoints(self, top: Float[Tensor, "S K R N"]) -> list[Float[Tensor, "S _ R N"]]:
        """R combinations of the outputs' derivatives, by the outputs of every layer instead."""
        made = [top]
        for layer in range(len(self.features) - 1, 0, -1):
            slope = self.slopes[layer]
            assert slope is not None
            made.append(self.bundle.stages[layer].pulled_back(made[-1], self.bundle.matrices[layer], slope))
        return made[::-1]

    def rows(self, adjoints: list[Float[Tensor, "S _ R N"]]) -> Float[Tensor, "S P R N"]:
        """Derivatives by all parameters, one row for each combination and point."""
        sizes = [matrix[0].numel() for matrix in self.bundle.matrices]
        made = self.outputs.new_empty(len(self.outputs), sum(sizes), *adjoints[-1].shape[2:])
        for part, adjoint, features in zip(made.split(sizes, 1), adjoints, self.features, strict=True):
            shape = adjoint.shape[1], features.shape[1]
            torch.mul(adjoint.unsqueeze(2), features[:, None, :, None], out=part.unflatten(1, shape))
        return made

    def gradient(self, adjoints: list[Float[Tensor, "S _ N"]]) -> Float[Tensor, "S P"]:
        """Derivatives by all parameters of one combination, summed over the points."""
        blocks = [torch.bmm(a, f.mT).flatten(1) for a, f in zip(adjoints, self.features, strict=True)]
        return torch.cat(blocks, 1)
