"""A network in natural coordinates, in which noisy tables are fitted, and the same network as a `KAN`.

Every layer is a matrix that multiplies the natural functions of its inputs and a constant. The functions of the first
layer belong to the data and are computed once. Hidden layers share one family on a fixed grid around zero, in truncated
powers, which need no search for the interval of a point. One node per output in every hidden layer starts as a straight
wire, so that an additive model is contained in every network.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from superpose.bases import BSpline
from superpose.fitting.losses import Loss
from superpose.fitting.tables.natural import Natural
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
    """The natural functions of a standard normal variable: m of them, `table.T @ powers`.

    The powers are those of the clamped variable, truncated ones beyond every cut, and what reaches beyond the grid on
    either side, which continues the functions as straight lines.
    """

    natural: Natural
    table: Float[Tensor, "q m"]
    degree: int
    cuts: list[float]

    @classmethod
    def of(cls, intervals: int, degree: int, most: int = 32) -> "HiddenFunctions":
        """The smoothest `most` splines with equal intervals."""
        ends = torch.linspace(-REACH, REACH, intervals + 1, dtype=torch.float64)
        share = (torch.arange(801, dtype=torch.float64) + 0.5) / 801
        points = (2**0.5 * torch.erfinv(2 * share - 1)).clamp(-REACH, REACH).unsqueeze(1)
        basis = BSpline(intervals, degree).at(ends.unsqueeze(0))
        natural = Natural.of(basis, points, torch.full_like(share, 1 / 801), most)
        found = cls(natural, points.new_empty(0, 0), degree, (ends[1:-1] / REACH).tolist())
        # Both families span the same splines, so the least-squares solution is exact to rounding.
        grid = torch.linspace(-2 * REACH, 2 * REACH, 80 * intervals + 1, dtype=torch.float64).unsqueeze(1)
        powers = torch.cat([found.powers(grid).squeeze(-1), torch.ones_like(grid.T)])
        solution = torch.linalg.lstsq(powers.T, natural(grid)).solution
        # A function's own constant is dropped: every layer has constants.
        natural = replace(natural, means=natural.means + solution[-1])
        return cls(natural, solution[:-1], degree, found.cuts)

    def to(self, dtype: torch.dtype) -> "HiddenFunctions":
        """The same functions in another arithmetic."""
        return HiddenFunctions(self.natural, self.table.to(dtype), self.degree, self.cuts)

    @property
    def count(self) -> int:
        """Number of functions of a node."""
        return self.table.shape[1]

    def values(self, powers: Float[Tensor, "q N nodes"]) -> Float[Tensor, "N columns"]:
        """The functions side by side, all first functions before all second ones, from powers or their slopes."""
        made = (self.table.T @ powers.flatten(1)).unflatten(1, powers.shape[1:])
        return made.transpose(0, 1).flatten(1)

    def folded(self, matrix: Float[Tensor, "outputs columns"]) -> Float[Tensor, "q nodes outputs"]:
        """The matrix that multiplies powers from the one that multiplies functions."""
        split = matrix.unflatten(1, (self.count, -1))
        return (self.table @ split.transpose(0, 1).flatten(1)).unflatten(1, (len(matrix), -1)).transpose(1, 2)

    def unfolded(self, gradient: Float[Tensor, "q nodes outputs"]) -> Float[Tensor, "outputs columns"]:
        """The gradient by the functions' matrix from the one by the powers' matrix."""
        made = (self.table.T @ gradient.flatten(1)).unflatten(1, gradient.shape[1:])
        return made.permute(2, 0, 1).flatten(1)

    def powers(self, z: Float[Tensor, "N nodes"]) -> Float[Tensor, "q N nodes"]:
        """What the functions are linear in, the constant left out."""
        made = z.new_empty(self.degree + len(self.cuts) + 2, *z.shape)
        t = torch.clamp(z / REACH, -1, 1, out=made[0])
        for power in range(1, self.degree):
            torch.mul(made[power - 1], t, out=made[power])
        for place, cut in enumerate(self.cuts, self.degree):
            _power((t - cut).clamp_min_(0), self.degree, made[place])
        torch.clamp_min(z - REACH, 0, out=made[-2])
        torch.clamp_max(z + REACH, 0, out=made[-1])
        return made

    def slopes(self, z: Float[Tensor, "N nodes"]) -> Float[Tensor, "q N nodes"]:
        """Derivatives of the powers."""
        made = z.new_empty(self.degree + len(self.cuts) + 2, *z.shape)
        t = (z / REACH).clamp_(-1, 1)
        inside = (z.abs() <= REACH).to(z.dtype).div_(REACH)
        made[0] = inside
        for power in range(1, self.degree):
            torch.mul(made[power - 1], t, out=made[power]).mul_((power + 1) / power)
        inside = inside * self.degree
        for place, cut in enumerate(self.cuts, self.degree):
            if self.degree == 1:
                torch.gt(t, cut, out=made[place])
            else:
                _power((t - cut).clamp_min_(0), self.degree - 1, made[place])
            made[place].mul_(inside)
        torch.gt(z, REACH, out=made[-2])
        torch.lt(z, -REACH, out=made[-1])
        return made


def _power(base: Tensor, power: int, out: Tensor) -> None:
    """A small whole power without a logarithm."""
    out.copy_(base)
    for _ in range(power - 1):
        out.mul_(base)


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
        straight = 1 / float(hidden.values(hidden.slopes(additive.new_zeros(1, 1)))[0, 0])
        decay = torch.cat([(1 + inputs.rough / 20).rsqrt(), additive.new_zeros(1)])
        bends = (1 + hidden.natural.rough / 20).rsqrt()
        matrices = []
        for layer, width in enumerate(widths):
            price = decay
            if layer:
                nodes = torch.arange(widths[layer - 1] + outputs) < widths[layer - 1]
                price = torch.cat([(bends.unsqueeze(1) * nodes).flatten(), bends.new_zeros(1)])
            new = torch.randn(width, len(price), generator=generator, dtype=torch.float64) * price
            new = new / new.norm(dim=1, keepdim=True).clamp_min(1e-30)
            wires = additive if layer == 0 else _wires(outputs, widths[layer - 1], hidden.count, straight)
            matrices.append(torch.cat([new, wires]))
        if widths:
            matrices.append(_wires(outputs, widths[-1], hidden.count, straight))
        else:
            matrices.append(additive.clone())
        return cls(inputs, hidden, matrices)

    def to(self, dtype: torch.dtype) -> "TableNetwork":
        """The same network in another arithmetic."""
        return TableNetwork(self.inputs, self.hidden.to(dtype), [m.to(dtype) for m in self.matrices])

    def outputs(self, features: Float[Tensor, "N J"]) -> Float[Tensor, "N K"]:
        """Outputs for rows of natural functions."""
        first = self.matrices[0]
        value = torch.addmm(first[:, -1], features, first[:, :-1].T)
        for matrix in self.matrices[1:]:
            value = torch.bmm(self.hidden.powers(value), self.hidden.folded(matrix[:, :-1])).sum(0) + matrix[:, -1]
        return value

    def gradient(
        self, features: Float[Tensor, "N J"], pull: Callable[[Float[Tensor, "N K"]], Float[Tensor, "N K"]]
    ) -> list[Tensor]:
        """Derivatives by all matrices of a loss whose slopes `pull` makes from the outputs."""
        first = self.matrices[0]
        values = [torch.addmm(first[:, -1], features, first[:, :-1].T)]
        powers, folds = [], []
        for matrix in self.matrices[1:]:
            powers.append(self.hidden.powers(values[-1]))
            folds.append(self.hidden.folded(matrix[:, :-1]))
            values.append(torch.bmm(powers[-1], folds[-1]).sum(0) + matrix[:, -1])
        adjoint = pull(values[-1])
        gradients = []
        for layer in range(len(powers) - 1, -1, -1):
            spread = adjoint.expand(len(powers[layer]), -1, -1)
            by_fold = self.hidden.unfolded(torch.bmm(powers[layer].transpose(1, 2), spread))
            gradients.append(torch.cat([by_fold, adjoint.sum(0).unsqueeze(1)], 1))
            adjoint = torch.bmm(spread, folds[layer].transpose(1, 2)).mul_(self.hidden.slopes(values[layer])).sum(0)
        gradients.append(torch.cat([adjoint.T @ features, adjoint.sum(0).unsqueeze(1)], 1))
        return gradients[::-1]

    def outputs_and_jacobian(
        self, features: Float[Tensor, "N J"]
    ) -> tuple[Float[Tensor, "N K"], Float[Tensor, "N K P"]]:
        """Outputs and their derivatives by all parameters, the rows of the first matrix first."""
        seen, slopes, value = [], [], features
        for layer, matrix in enumerate(self.matrices):
            if layer:
                features = self.hidden.values(self.hidden.powers(value))
                slopes.append(self.hidden.slopes(value))
            seen.append(torch.cat([features, features.new_ones(len(features), 1)], 1))
            value = torch.addmm(matrix[:, -1], features, matrix[:, :-1].T)
        adjoint = torch.eye(value.shape[1], dtype=value.dtype).expand(len(value), -1, -1)
        widths = [m.numel() for m in self.matrices]
        jacobian = value.new_empty(*value.shape, sum(widths))
        for layer in range(len(self.matrices) - 1, -1, -1):
            start = sum(widths[:layer])
            block = jacobian[..., start : start + widths[layer]].unflatten(-1, self.matrices[layer].shape)
            torch.mul(adjoint.unsqueeze(-1), seen[layer][:, None, None], out=block)
            if layer:
                fold = self.hidden.folded(self.matrices[layer][:, :-1])
                adjoint = torch.einsum("nko,qho,qnh->nkh", adjoint, fold, slopes[layer - 1])
        return value, jacobian

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
                split = weights.unflatten(1, (-1, place.in_features)).transpose(1, 2)
                level = (shift - (split * one.means).sum((1, 2))) / place.in_features
                coef = split @ one.maps[0].T + level[:, None, None]
            place.coef = nn.Parameter(coef.permute(1, 2, 0).to(matrix.dtype).contiguous())
            place.weight.zero_()
        return model.double()


def mean_loss(network: TableNetwork, rows: Rows, loss: Loss) -> float:
    """Weighted mean loss, in the arithmetic of the rows."""
    outputs = network.to(rows.features.dtype).outputs(rows.features)
    return float(loss.values(outputs, rows.targets) @ rows.weight)


def _wires(outputs: int, nodes: int, functions: int, straight: float) -> Tensor:
    """A layer that passes the last `outputs` nodes on and takes nothing from the others."""
    wires = torch.zeros(outputs, functions, nodes + outputs, dtype=torch.float64)
    for k in range(outputs):
        wires[k, 0, nodes + k] = straight
    return torch.cat([wires.flatten(1), wires.new_zeros(outputs, 1)], 1)


def _nothing(layer: nn.Module, generator: torch.Generator | None = None) -> None:
    """No initialisation: the parameters are written afterwards."""
