"""Networks side by side in plain PyTorch: values and normal equations. The definition that compiled kernels are held to."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from superpose.fitting.stages import Stage

CHUNK = 2**23
"""Numbers in the largest piece of a Jacobian held at once: 64 MB in float64."""

Pull = Callable[[Float[Tensor, "S M K"], slice], tuple[Float[Tensor, "S M R K"], Float[Tensor, "S M K"]]]
"""Given the outputs at some of the samples, the rows of a root of the loss's curvature there, and its slopes."""


def obstacle(x: Tensor, stages: list[Stage]) -> str | None:
    """None: plain PyTorch takes everything."""


def hidden(
    stages: list[Stage], matrices: list[Float[Tensor, "S _ _"]], x: Float[Tensor, "*S N inputs"]
) -> list[Float[Tensor, "S N _"]]:
    """Outputs of every layer; the networks share the inputs or have their own."""
    values = [x.expand(len(matrices[0]), -1, -1)]
    for stage, matrix in zip(stages, matrices, strict=True):
        values.append(stage.products(torch.bmm(matrix, stage.features(values[-1], slopes=False)[0]).mT))
    return values[1:]


def normal_equations(
    stages: list[Stage],
    matrices: list[Float[Tensor, "S _ _"]],
    x: Float[Tensor, "N inputs"],
    pull: Pull,
    known: Float[Tensor, "S N K"] | None = None,
) -> tuple[Float[Tensor, "S P"], Float[Tensor, "S P P"]]:
    """Gradient and Gauss-Newton matrix of a loss, gathered over pieces of the data; `known` outputs save nothing here."""
    count, outputs = matrices[-1].shape[:2]
    size = sum(matrix[0].numel() for matrix in matrices)
    gradient, hessian = x.new_zeros(count, size), x.new_zeros(count, size, size)
    most = max(1, CHUNK // (count * size * outputs))
    for start in range(0, len(x), most):
        part = slice(start, start + most)
        here = Evaluated.of(stages, matrices, x[part])
        root, slopes = pull(here.outputs, part)
        # One sweep from the outputs to the inputs pulls back the rows of the root and, behind them, the slopes.
        adjoints = here.adjoints(torch.cat([root, slopes.unsqueeze(2)], 2).permute(0, 3, 2, 1).contiguous())
        gradient += here.gradient([adjoint[:, :, -1] for adjoint in adjoints])
        rows = here.rows([adjoint[:, :, :-1] for adjoint in adjoints]).flatten(2)
        hessian.baddbmm_(rows, rows.mT)
    return gradient, hessian


@dataclass(frozen=True)
class Evaluated:
    """S networks at N points, with the features and slopes of every layer, and the cofactors where it has products."""

    stages: list[Stage]
    matrices: list[Float[Tensor, "S _ _"]]
    outputs: Float[Tensor, "S N K"]
    features: list[Float[Tensor, "S _ N"]]
    slopes: list[Float[Tensor, "S _ _ N"] | None]
    cofactors: list[Float[Tensor, "S N _"] | None]

    @classmethod
    def of(
        cls, stages: list[Stage], matrices: list[Float[Tensor, "S _ _"]], x: Float[Tensor, "N inputs"]
    ) -> "Evaluated":
        """Values, and what derivatives are made of."""
        value, features, slopes, cofactors = x.expand(len(matrices[0]), -1, -1), [], [], []
        for layer, (stage, matrix) in enumerate(zip(stages, matrices, strict=True)):
            made, slope = stage.features(value, slopes=layer > 0)
            sums = torch.bmm(matrix, made).mT
            value = stage.products(sums)
            features.append(made)
            slopes.append(slope)
            cofactors.append(None if stage.products.plain else stage.products.cofactors(sums))
        return cls(stages, matrices, value, features, slopes, cofactors)

    def adjoints(self, top: Float[Tensor, "S K R N"]) -> list[Float[Tensor, "S _ R N"]]:
        """R combinations of the outputs' derivatives, by the sums of every layer instead."""
        made = [self._by_factor(len(self.stages) - 1, top)]
        for layer in range(len(self.stages) - 1, 0, -1):
            slope = self.slopes[layer]
            assert slope is not None
            pulled = self.stages[layer].pulled_back(made[-1], self.matrices[layer], slope)
            made.append(self._by_factor(layer - 1, pulled))
        return made[::-1]

    def _by_factor(self, layer: int, adjoint: Float[Tensor, "S O R N"]) -> Float[Tensor, "S F R N"]:
        """Derivatives by the sums of a layer from those by its nodes: each factor has the product of the others."""
        cofactors = self.cofactors[layer]
        if cofactors is None:
            return adjoint
        return adjoint[:, self.stages[layer].products.nodes] * cofactors.mT.unsqueeze(2)

    def rows(self, adjoints: list[Float[Tensor, "S _ R N"]]) -> Float[Tensor, "S P R N"]:
        """Derivatives by all parameters, one row for each combination and point."""
        sizes = [matrix[0].numel() for matrix in self.matrices]
        made = self.outputs.new_empty(len(self.outputs), sum(sizes), *adjoints[-1].shape[2:])
        for part, adjoint, features in zip(made.split(sizes, 1), adjoints, self.features, strict=True):
            shape = adjoint.shape[1], features.shape[1]
            torch.mul(adjoint.unsqueeze(2), features[:, None, :, None], out=part.unflatten(1, shape))
        return made

    def gradient(self, adjoints: list[Float[Tensor, "S _ N"]]) -> Float[Tensor, "S P"]:
        """Derivatives by all parameters of one combination, summed over the points."""
        blocks = [torch.bmm(a, f.mT).flatten(1) for a, f in zip(adjoints, self.features, strict=True)]
        return torch.cat(blocks, 1)
