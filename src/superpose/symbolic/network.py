"""A network as a formula whose functions are its edges, so that symbols can take their places one after the other."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import sympy
import torch
from torch import Tensor, nn

from superpose.bases import Basis
from superpose.layers import KANLinear
from superpose.models import KAN
from superpose.symbolic.expression import (
    Apply,
    Constant,
    Expression,
    Variable,
    apply,
    exactly,
    ordered,
    plus,
    rebuilt,
    times,
)
from superpose.symbolic.functions import Array, Function
from superpose.symbolic.program import Program

PIECES = 1000
"""Pieces of a table."""

Place = tuple[int, int, int]
"""Where an edge is: its layer, its output (a factor, where nodes are products) and its input, all from 0."""


@dataclass(frozen=True)
class Edge(Function):
    """A function that a network has learned, with the place of its edge."""

    place: Place = (0, 0, 0)

    def __repr__(self) -> str:
        return self.name

    def __reduce__(self) -> Any:
        raise TypeError(f"{self.name} is an edge of a network, not a symbol, and cannot be saved with a formula.")


def network_expression(model: KAN, output: int = 0) -> Expression:
    """One output of a network as a formula of its inputs, to rounding in float64; pruned edges are not there.

    Args:
        model: The network.
        output: Number of the output.

    Example:
        >>> from superpose import KAN
        >>> from superpose.symbolic.program import Program
        >>> model = KAN((2, 3, 1), generator=torch.Generator().manual_seed(0)).double()
        >>> x = torch.rand(5, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        >>> root = network_expression(model)
        >>> bool(np.allclose(Program(root)(x.numpy()), model(x)[:, 0].detach(), rtol=1e-12))
        True
        >>> edges(root)[0].function
        phi_0_0_0
    """
    model = copy.deepcopy(model).double().cpu()
    units = model.input_scaling
    nodes = [
        plus(times(_fixed(float(scale)), Variable(n)), _fixed(float(shift)))
        for n, (scale, shift) in enumerate(zip(units.scale, units.shift, strict=True))
    ]
    arities = getattr(model, "arities", None) or [(1,) * layer.out_features for layer in model.layers]
    for number, (layer, rows) in enumerate(zip(model.layers, arities, strict=True)):
        factors = iter(_sums(number, layer, nodes))
        nodes = [times(*(next(factors) for _ in range(arity))) for arity in rows]
    units = model.output_scaling
    return plus(times(_fixed(float(units.scale[output])), nodes[output]), _fixed(float(units.shift[output])))


def edges(root: Expression) -> list[Apply]:
    """Where a formula still holds edges of a network, those that depend on no other first."""
    return [node for node in ordered(root) if isinstance(node, Apply) and isinstance(node.function, Edge)]


def tabulated(root: Expression, X: Array) -> Expression:
    """The same with edges that are read from tables where the rows lie: good to some 1e-9, and many times faster."""
    program = Program(root)
    made = {}
    for node in edges(root):
        low, high = program.ranges(X)[id(node)]
        if high > low:
            made[id(node)] = _Table.of(node.function, low - (high - low) / 2, high + (high - low) / 2)
    replaced: dict[int, Expression] = {}
    for node in edges(root):
        if id(node) in made:
            table = made[id(node)]
            fast = replace(node.function, value=table, slope=table.slope)
            replaced[id(node)] = Apply(fast, rebuilt(node.argument, replaced))
    return rebuilt(root, replaced)


@dataclass(frozen=True, eq=False)
class _Table:
    """A function by cubic pieces with its values and slopes at their ends; beyond them the function itself."""

    function: Function
    low: float
    step: float
    values: Array
    slopes: Array

    @classmethod
    def of(cls, function: Function, low: float, high: float) -> "_Table":
        t = np.linspace(low, high, PIECES + 1)
        step = (high - low) / PIECES
        return cls(function, low, step, function.value(t), function.slope(t) * step)

    def __call__(self, x: Array) -> Array:
        """Its values."""
        n, u = self._place(x)
        a, b, c, d = self.values[n], self.values[n + 1], self.slopes[n], self.slopes[n + 1]
        rise = b - a
        found = a + u * (c + u * (3 * rise - 2 * c - d + u * (c + d - 2 * rise)))
        return self._beyond(x, u, found, self.function.value)

    def slope(self, x: Array) -> Array:
        """Its derivatives."""
        n, u = self._place(x)
        a, b, c, d = self.values[n], self.values[n + 1], self.slopes[n], self.slopes[n + 1]
        rise = b - a
        found = (c + u * (2 * (3 * rise - 2 * c - d) + 3 * u * (c + d - 2 * rise))) / self.step
        return self._beyond(x, u, found, self.function.slope)

    def _place(self, x: Array) -> tuple[Array, Array]:
        place = np.nan_to_num((np.asarray(x) - self.low) / self.step, nan=-1.0, posinf=-1.0, neginf=-1.0)
        n = np.clip(place, 0, PIECES - 1).astype(int)
        return n, place - n

    def _beyond(self, x: Array, u: Array, found: Array, exact: Callable[[Array], Array]) -> Array:
        outside = (u < 0) | (u > 1)
        return np.where(outside, exact(x), found) if outside.any() else found


def _sums(number: int, layer: KANLinear, nodes: list[Expression]) -> list[Expression]:
    alive = layer.matrix().view(layer.out_features, layer.in_features, -1).ne(0).any(-1)
    sums = []
    for o in range(layer.out_features):
        terms = [_term(_edge(layer, (number, o, i)), nodes[i]) for i in range(layer.in_features) if alive[o, i]]
        sums.append(plus(*terms))
    return sums


def _term(edge: Edge, node: Expression) -> Expression:
    """The edge at its node; a node that is a constant makes it one."""
    if isinstance(node, Constant):
        return _fixed(float(edge.value(np.array([node.value]))[0]))
    return apply(edge, node)


def _edge(layer: KANLinear, place: Place) -> Edge:
    _, o, i = place
    weight = (layer.weight if layer.mask is None else layer.weight * layer.mask)[o, i].detach()
    curve = _Curve(
        layer.basis.at(layer.basis.breakpoints[[i]]).double(), layer.base, layer.coef[i, :, o].detach(), weight
    )
    name = "phi_" + "_".join(map(str, place))
    return Edge(
        name,
        _of_arrays(curve),
        _of_arrays(curve.slope),
        sympy.Function(name),
        curve,
        complexity=1 + layer.basis.num,
        place=place,
    )


@dataclass(frozen=True, eq=False)
class _Curve:
    """The function of one edge."""

    basis: Basis
    base: nn.Module
    coef: Tensor
    weight: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Values at points of any shape."""
        series = self.basis.to(x)(x.reshape(-1, 1)).squeeze(1) @ self.coef.to(x)
        return self.base(x) * self.weight.to(x) + series.view(x.shape)

    def slope(self, x: Tensor) -> Tensor:
        """The derivative there."""
        series = self.basis(x.reshape(-1, 1), 1).squeeze(1) @ self.coef
        with torch.enable_grad():
            point = x.detach().requires_grad_()
            base = self.base(point)
            (slope,) = torch.autograd.grad(base.sum(), point) if base.requires_grad else (torch.zeros_like(x),)
        return slope * self.weight + series.view(x.shape)


def _of_arrays(function: Callable[[Tensor], Tensor]) -> Callable[[Array], Array]:
    """The same for NumPy arrays; what is not finite has no value."""

    def of_array(x: Array) -> Array:
        x = np.asarray(x, dtype=float)
        finite = np.isfinite(x)
        with torch.no_grad():
            values = function(torch.from_numpy(np.where(finite, x, 0.0))).numpy()
        return np.where(finite, values, np.nan)

    return of_array


def _fixed(value: float) -> Constant:
    """A number that no refit changes."""
    return exactly(int(value)) if value.is_integer() else Constant(value, sympy.Float(value, 17))
