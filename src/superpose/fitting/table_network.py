"""A network in natural coordinates, in which noisy tables are fitted, and the same network as a `KAN`.

Every layer is a matrix that multiplies the natural functions of its inputs and a constant. The functions of the first
layer belong to the data and are computed once. Hidden layers share one family on a fixed grid around zero, in truncated
powers, which need no search for the interval of a point. One node per output in every hidden layer starts as a straight
wire, so that an additive model is contained in every network.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from superpose.bases import BSpline
from superpose.fitting.natural import Natural
from superpose.layers import KANLinear
from superpose.models import KAN

REACH = 3.0
"""Half the width of the grid of hidden nodes, whose values are of order one."""


@dataclass(frozen=True)
class Rows:
    """A table for the solvers of natural coordinates.

    Attributes:
        features: Natural functions of the inputs.
        targets: Standardised targets, or class numbers.
        weight: Weights that sum to one.
        count: How many rows the table counts for.
    """

    features: Float[Tensor, "N J"]
    targets: Tensor
    weight: Float[Tensor, " N"]
    count: float

    def __len__(self) -> int:
        return len(self.features)

    def to(self, dtype: torch.dtype) -> "Rows":
        """The same table in another arithmetic; class numbers stay whole."""
        targets = self.targets if self.targets.dtype == torch.long else self.targets.to(dtype)
        return Rows(self.features.to(dtype), targets, self.weight.to(dtype), self.count)

    def part(self, index: Tensor) -> "Rows":
        """Some of the rows, their weights summing to one again."""
        weight = self.weight[index]
        share = weight.sum()
        return Rows(self.features[index], self.targets[index], weight / share, self.count * float(share))


@dataclass(frozen=True)
class HiddenFunctions:
    """The natural functions of a standard normal variable: m of them, `powers @ table` inside the grid."""

    natural: Natural
    table: Float[Tensor, "powers m"]
    degree: int
    cuts: Float[Tensor, " cuts"]

    @classmethod
    def of(cls, intervals: int, degree: int, most: int = 32) -> "HiddenFunctions":
        """The smoothest `most` splines with equal intervals."""
        ends = torch.linspace(-REACH, REACH, intervals + 1, dtype=torch.float64)
        share = (torch.arange(801, dtype=torch.float64) + 0.5) / 801
        points = (2**0.5 * torch.erfinv(2 * share - 1)).clamp(-REACH, REACH).unsqueeze(1)
        basis = BSpline(intervals, degree).at(ends.unsqueeze(0))
        natural = Natural.of(basis, points, torch.full_like(share, 1 / 801), most)
        found = cls(natural, points.new_empty(0, 0), degree, ends[1:-1] / REACH)
        # Both families span the same splines, so the least-squares solution is exact to rounding.
        grid = torch.linspace(-REACH, REACH, 40 * intervals + 1, dtype=torch.float64)
        table = torch.linalg.lstsq(found._powers(grid / REACH), natural(grid.unsqueeze(1))).solution
        return cls(natural, table, degree, found.cuts)

    def to(self, dtype: torch.dtype) -> "HiddenFunctions":
        """The same functions in another arithmetic."""
        return HiddenFunctions(self.natural, self.table.to(dtype), self.degree, self.cuts.to(dtype))

    @property
    def count(self) -> int:
        """Number of functions of a node."""
        return self.table.shape[1]

    def __call__(
        self, z: Float[Tensor, "N nodes"], slopes: bool = False
    ) -> tuple[Float[Tensor, "N nodes m"], Float[Tensor, "N nodes m"]]:
        """Values, and slopes if asked for (else the values again)."""
        t = (z / REACH).clamp(-1, 1)
        slope = self._powers(t, order=1) @ self.table / REACH
        values = self._powers(t) @ self.table + (z - t * REACH).unsqueeze(-1) * slope
        return values, slope if slopes else values

    def _powers(self, t: Tensor, order: int = 0) -> Tensor:
        """The constant, the powers of t and the truncated powers beyond every cut, or their derivatives."""
        d = self.degree
        low = [torch.ones_like(t)]
        for _ in range(d):
            low.append(low[-1] * t)
        beyond = (t.unsqueeze(-1) - self.cuts).clamp_min(0)
        if order:
            low = [torch.zeros_like(t), *(power * value for power, value in enumerate(low[:-1], 1))]
            tail = d * beyond ** (d - 1) if d > 1 else (beyond > 0).to(t.dtype)
        else:
            tail = beyond**d
        return torch.cat([torch.stack(low, -1), tail], -1)


@dataclass(frozen=True)
class TableNetwork:
    """The matrices of all layers, the last column of each being the constants."""

    inputs: Natural
    hidden: HiddenFunctions
    matrices: list[Tensor]

    @classmethod
    def start(
        cls,
        inputs: Natural,
        hidden: HiddenFunctions,
        widths: tuple[int, ...],
        additive: Float[Tensor, "K functions"],
        generator: torch.Generator,
    ) -> "TableNetwork":
        """The additive model on its wires, and random nodes that do not reach the outputs yet.

        Args:
            inputs: Functions of the inputs.
            hidden: Functions of the hidden nodes.
            widths: Random nodes of every hidden layer.
            additive: The additive model, the constants in its last column.
            generator: Source of the random directions.
        """
        outputs = len(additive)
        straight = 1 / float(hidden(torch.tensor([[1.0]], dtype=torch.float64), slopes=True)[1][0, 0, 0])
        level = -straight * float(hidden(torch.zeros(1, 1, dtype=torch.float64))[0][0, 0, 0])
        decay = torch.cat([(1 + inputs.rough / 20).rsqrt(), additive.new_zeros(1)])
        bends = torch.cat([(1 + hidden.natural.rough / 20).rsqrt()])
        matrices = []
        for layer, width in enumerate(widths):
            price = decay if layer == 0 else torch.cat([bends.repeat(widths[layer - 1] + outputs), bends.new_zeros(1)])
            if layer:
                price[-1 - outputs * hidden.count :] = 0
            new = torch.randn(width, len(price), generator=generator, dtype=torch.float64) * price
            new = new / new.norm(dim=1, keepdim=True).clamp_min(1e-30)
            wires = additive if layer == 0 else _wires(outputs, widths[layer - 1], hidden.count, straight, level)
            matrices.append(torch.cat([new, wires]))
        if widths:
            matrices.append(_wires(outputs, widths[-1], hidden.count, straight, level))
        else:
            matrices.append(additive.clone())
        return cls(inputs, hidden, matrices)

    def to(self, dtype: torch.dtype) -> "TableNetwork":
        """The same network in another arithmetic."""
        return TableNetwork(self.inputs, self.hidden.to(dtype), [m.to(dtype) for m in self.matrices])

    def outputs(self, features: Float[Tensor, "N J"]) -> Float[Tensor, "N K"]:
        """Outputs for rows of natural functions."""
        value = features
        for layer, matrix in enumerate(self.matrices):
            if layer:
                features = self.hidden(value)[0].flatten(1)
            value = torch.addmm(matrix[:, -1], features, matrix[:, :-1].T)
        return value

    def outputs_and_jacobian(
        self, features: Float[Tensor, "N J"]
    ) -> tuple[Float[Tensor, "N K"], Float[Tensor, "N K P"]]:
        """Outputs and their derivatives by all parameters, the rows of the first matrix first."""
        seen, slopes, value = [], [], features
        for layer, matrix in enumerate(self.matrices):
            if layer:
                values, slope = self.hidden(value, slopes=True)
                features = values.flatten(1)
                slopes.append(slope)
            seen.append(torch.cat([features, features.new_ones(len(features), 1)], 1))
            value = torch.addmm(matrix[:, -1], features, matrix[:, :-1].T)
        adjoint = torch.eye(value.shape[1], dtype=value.dtype).expand(len(value), -1, -1)
        blocks = []
        for layer in range(len(self.matrices) - 1, -1, -1):
            blocks.append((adjoint.unsqueeze(-1) * seen[layer][:, None, None]).flatten(2))
            if layer:
                split = (adjoint @ self.matrices[layer][:, :-1]).unflatten(-1, slopes[layer - 1].shape[1:])
                adjoint = (split * slopes[layer - 1].unsqueeze(1)).sum(-1)
        return value, torch.cat(blocks[::-1], -1)

    def with_matrices(self, matrices: list[Tensor]) -> "TableNetwork":
        """The same network with other parameters."""
        return TableNetwork(self.inputs, self.hidden, matrices)

    def flat(self) -> Float[Tensor, " P"]:
        """All parameters in a row."""
        return torch.cat([m.flatten() for m in self.matrices])

    def with_flat(self, parameters: Float[Tensor, " P"]) -> "TableNetwork":
        """The same network with other parameters."""
        parts = parameters.split([m.numel() for m in self.matrices])
        return self.with_matrices([p.view_as(m) for p, m in zip(parts, self.matrices, strict=True)])

    @torch.no_grad()
    def as_kan(self) -> KAN:
        """The same function as a `KAN` with straight residual edges of weight zero, in float64 and its own units."""
        widths = (len(self.inputs.maps), *(len(m) for m in self.matrices))
        spline = self.inputs.basis
        model = KAN(widths, BSpline(spline.intervals, spline.degree), base=nn.Identity(), init=_nothing).double()
        for layer, matrix in enumerate(self.matrices):
            weights, shift = matrix[:, :-1], matrix[:, -1]
            place = model.layers[layer]
            assert isinstance(place, KANLinear)
            if layer == 0:
                place.basis, coef = spline, self.inputs.coefficients(weights, shift)
            else:
                one = self.hidden.natural
                place.basis = one.basis.expanded(place.in_features)
                split = weights.unflatten(1, (place.in_features, -1))
                level = (shift - (split * one.means).sum((1, 2))) / place.in_features
                coef = split @ one.maps[0].T + level[:, None, None]
            place.coef = nn.Parameter(coef.to(matrix.dtype).contiguous())
            place.weight.zero_()
        return model.double()


def _wires(outputs: int, nodes: int, functions: int, straight: float, level: float) -> Tensor:
    """A layer that passes the last `outputs` nodes on and takes nothing from the others."""
    wires = torch.zeros(outputs, nodes + outputs, functions, dtype=torch.float64)
    for k in range(outputs):
        wires[k, nodes + k, 0] = straight
    return torch.cat([wires.flatten(1), wires.new_full((outputs, 1), level)], 1)


def _nothing(layer: nn.Module, generator: torch.Generator | None = None) -> None:
    """No initialisation: the parameters are written afterwards."""
