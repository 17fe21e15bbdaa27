"""Several networks of one shape, fitted side by side.

Many short fits from different starts are how small networks get out of bad minima; side by side they cost little more
than one. S networks, N samples, K outputs, P parameters each.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from superpose._select import Obstacle, choose
from superpose.bases import Basis, BSpline
from superpose.fitting import compiled, evaluation
from superpose.fitting.losses import Loss
from superpose.fitting.stages import DenseStage, KANStage, Stage
from superpose.grids import equidistributed, placement, projection, stretched
from superpose.models import KAN, Network

EVALUATIONS: dict[str, Obstacle] = {"native": compiled.obstacle, "reference": evaluation.obstacle}
HIDDEN = {"native": compiled.hidden, "reference": evaluation.hidden}
NORMAL = {"native": compiled.normal_equations, "reference": evaluation.normal_equations}


@dataclass(frozen=True)
class Data:
    """Inputs, targets and weights that sum to one; `total` is what they summed to, the number of observations."""

    x: Float[Tensor, "N inputs"]
    y: Tensor
    weight: Float[Tensor, " N"]
    total: float

    def __len__(self) -> int:
        return len(self.x)

    def mean_loss(self, outputs: Float[Tensor, "S N K"], loss: Loss) -> Float[Tensor, " S"]:
        """Mean loss of networks with these outputs."""
        return loss.values(outputs, self.y) @ self.weight

    def rows(self, index: Tensor | slice) -> "Data":
        """A part of the data, its weights summing to one again."""
        weight = self.weight[index]
        share = float(weight.sum())
        return Data(self.x[index], self.y[index], weight / share, self.total * share)


@dataclass(frozen=True)
class Bundle:
    """S networks in the solver's form: a stage and a matrix of parameters for each layer, in float64.

    `masks` say which edges of a layer there are; None stands for all, and no masks for networks that are complete.
    """

    stages: list[Stage]
    matrices: list[Float[Tensor, "S _ _"]]
    masks: tuple[Bool[Tensor, "_ _"] | None, ...] = ()

    @classmethod
    @torch.no_grad()
    def of(cls, models: list[Network]) -> "Bundle":
        """The given networks, which share their shape and their scaling."""
        layers = list(zip(*(model.layers for model in models), strict=True))
        if isinstance(models[0], KAN):
            shapes = zip(layers, models[0].products, strict=True)
            stages: list[Stage] = [KANStage.of(list(group), products) for group, products in shapes]
        else:
            stages = [DenseStage.of(list(group)) for group in layers]
        matrices = [torch.stack([layer.matrix() for layer in group]).double() for group in layers]
        masks = tuple(getattr(group[0], "mask", None) for group in layers)
        return cls(stages, matrices, masks)

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
        stages = [stage.picked(index) for stage in self.stages]
        return replace(self, stages=stages, matrices=[matrix[index].clone() for matrix in self.matrices])

    @classmethod
    def joined(cls, bundles: list["Bundle"]) -> "Bundle":
        """Bundles of one shape as one."""
        stages = [stage.joined([bundle.stages[n] for bundle in bundles]) for n, stage in enumerate(bundles[0].stages)]
        layers = zip(*(bundle.matrices for bundle in bundles), strict=True)
        return replace(bundles[0], stages=stages, matrices=[torch.cat(matrices) for matrices in layers])

    def flat(self) -> Float[Tensor, "S P"]:
        """All parameters in a row."""
        return torch.cat([matrix.flatten(1) for matrix in self.matrices], 1)

    def with_flat(self, parameters: Float[Tensor, "S P"]) -> "Bundle":
        """The same networks with other parameters."""
        parts = parameters.split([matrix[0].numel() for matrix in self.matrices], dim=1)
        return replace(self, matrices=[p.view_as(m) for p, m in zip(parts, self.matrices, strict=True)])

    def hidden(self, x: Float[Tensor, "N inputs"]) -> list[Float[Tensor, "S N _"]]:
        """Inputs of every layer, and the outputs last."""
        return [x.expand(self.count, -1, -1), *HIDDEN[self._chosen(x)](self.stages, self.matrices, x)]

    def losses(self, data: Data, loss: Loss) -> Float[Tensor, " S"]:
        """Mean loss of every network."""
        return data.mean_loss(self.hidden(data.x)[-1], loss)

    def outputs_and_jacobian(
        self, x: Float[Tensor, "N inputs"]
    ) -> tuple[Float[Tensor, "S N K"], Float[Tensor, "S N K P"]]:
        """Outputs and their derivatives with respect to all parameters."""
        here = evaluation.Evaluated.of(self.stages, self.matrices, x)
        eye = torch.eye(here.outputs.shape[-1], dtype=x.dtype).unsqueeze(-1)
        rows = here.rows(here.adjoints(eye.expand(self.count, -1, -1, len(x))))
        return here.outputs, rows.permute(0, 3, 2, 1)

    def normal_equations(
        self, data: Data, loss: Loss, outputs: Float[Tensor, "S N K"] | None = None
    ) -> tuple[Float[Tensor, "S P"], Float[Tensor, "S P P"]]:
        """Gradient and Gauss-Newton matrix of the mean loss; `outputs` are those of the networks, if they are known."""
        eye = torch.eye(len(self.stages[-1].products.arities), dtype=data.x.dtype)

        def pull(outputs: Tensor, part: slice) -> tuple[Tensor, Tensor]:
            targets, weight = data.y[part], data.weight[part]
            root = loss.rooted(eye.expand(*outputs.shape, -1), outputs, targets)
            return root * weight.sqrt()[:, None, None], loss.slopes(outputs, targets) * weight.unsqueeze(-1)

        return NORMAL[self._chosen(data.x)](self.stages, self.matrices, data.x, pull, outputs)

    def _chosen(self, x: Tensor) -> str:
        """The implementation that evaluates these networks."""
        return choose("networks", EVALUATIONS, x, self.stages)

    def without_node(self, layer: int, node: int) -> "Bundle":
        """The same networks with all edges into and out of a node after `layer` set to zero."""
        matrices = [matrix.clone() for matrix in self.matrices]
        matrices[layer][:, self.stages[layer].products.place(node)] = 0
        matrices[layer + 1][..., self._from(layer + 1, node)] = 0
        return replace(self, matrices=matrices)

    def with_edges(self, keep: Sequence[Bool[Tensor, "_ _"]]) -> "Bundle":
        """The same networks of which only these edges are there."""
        masks = self.masks or (None,) * len(self.stages)
        masks = tuple(k if mask is None else k & mask for k, mask in zip(keep, masks, strict=True))
        wide = (k.repeat_interleave(stage.per_input, 1) for k, stage in zip(keep, self.stages, strict=True))
        return replace(self, matrices=[m * w for m, w in zip(self.matrices, wide, strict=True)], masks=masks)

    def dead_nodes(self) -> list[Bool[Tensor, "S O"]]:
        """For every hidden layer, the nodes whose edges are all zero. Nothing can wake them, so they stay as they are."""
        dead = []
        for layer in range(len(self.stages) - 1):
            silent = ~self.stages[layer].products.any((self.matrices[layer] != 0).any(2))
            unheard = [
                (self.matrices[layer + 1][..., self._from(layer + 1, n)] == 0).all(2).all(1)
                for n in range(silent.shape[1])
            ]
            dead.append(silent & torch.stack(unheard, 1))
        return dead

    def frozen(self) -> Bool[Tensor, "S P"]:
        """The parameters of edges that there are not, and of those into and out of dead nodes."""
        marks = [torch.zeros_like(matrix, dtype=torch.bool) for matrix in self.matrices]
        for mark, stage, mask in zip(marks, self.stages, self.masks, strict=False):
            if mask is not None:
                mark |= ~mask.repeat_interleave(stage.per_input, 1)
        for layer, dead in enumerate(self.dead_nodes()):
            marks[layer] |= self.stages[layer].products.by_factor(dead).unsqueeze(2)
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
        stages = [*self.stages[:layer], stage.on(basis), *self.stages[layer + 1 :]]
        return replace(self, stages=stages, matrices=[*self.matrices[:layer], joined, *self.matrices[layer + 1 :]])

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
        bundle, value = self, data.x
        for layer in range(len(self.stages)):
            if layer and isinstance(bundle.stages[layer], KANStage):
                basis = bundle._kan(layer).basis
                placed = regrid(basis, value.mT.flatten(0, 1).T)
                bundle = bundle.with_basis(layer, placed, projection(basis, placed))
            if layer < len(self.stages) - 1:
                one = slice(layer, layer + 1)
                value = HIDDEN[self._chosen(value)](bundle.stages[one], bundle.matrices[one], value)[0]
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
