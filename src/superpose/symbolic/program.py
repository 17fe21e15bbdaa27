"""Formulas as rows of instructions: values, derivatives by the constants, and the same in PyTorch."""

from collections.abc import Sequence
from functools import reduce
from operator import mul
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from superpose.symbolic.expression import Apply, Constant, Expression, Product, Sum, Variable, free_constants, ordered

Array = np.ndarray


class Program:
    """A formula that is evaluated many times, with other free constants each time.

    Args:
        root: The formula.

    Example:
        >>> from superpose.symbolic.expression import Constant, Variable, times
        >>> program = Program(times(Constant(2.0), Variable(0), Variable(1)))
        >>> program.constants
        array([2.])
        >>> program(np.array([[1.0, 3.0]]))
        array([6.])
    """

    def __init__(self, root: Expression) -> None:
        self.nodes = ordered(root)
        self.constants = np.array([constant.value for constant in free_constants(root)])
        number = {id(constant): n for n, constant in enumerate(free_constants(root))}
        place = {id(node): n for n, node in enumerate(self.nodes)}
        self.below = [tuple(place[id(child)] for child in node.children) for node in self.nodes]
        self.slot = [number.get(id(node), -1) for node in self.nodes]
        # Only what leads to a free constant takes part in the way back.
        self.moves = [False] * len(self.nodes)
        for n, below in enumerate(self.below):
            self.moves[n] = self.slot[n] >= 0 or any(self.moves[m] for m in below)

    def __call__(self, X: Array, constants: Array | None = None) -> Array:
        """Values of the formula at the rows of `X`; NaN or infinity where it is not defined."""
        with np.errstate(all="ignore"):
            value = self._values(X, self.constants if constants is None else constants)[-1]
        return np.broadcast_to(value, len(X)).astype(float)

    def values_and_jacobian(self, X: Array, constants: Array) -> tuple[Array, Array]:
        """Values, and their derivatives by the free constants, (constants, rows)."""
        with np.errstate(all="ignore"):
            values = self._values(X, constants)
            jacobian = self._jacobian(values, len(X))
        return np.broadcast_to(values[-1], len(X)).astype(float), jacobian

    def ranges(self, X: Array) -> dict[int, tuple[float, float]]:
        """Lowest and highest argument of every function, by the `id` of its node."""
        with np.errstate(all="ignore"):
            values = self._values(X, self.constants)
        arguments = {id(n): values[b[0]] for n, b in zip(self.nodes, self.below, strict=True) if isinstance(n, Apply)}
        return {place: (float(np.min(value)), float(np.max(value))) for place, value in arguments.items()}

    def outputs(self, X: Array) -> list[tuple[float, float]]:
        """Lowest and highest value of every function."""
        with np.errstate(all="ignore"):
            values = self._values(X, self.constants)
        found = [value for node, value in zip(self.nodes, values, strict=True) if isinstance(node, Apply)]
        return [(float(np.min(value)), float(np.max(value))) for value in found]

    def _values(self, X: Array, constants: Array) -> list[Any]:
        values: list[Any] = []
        for node, below, slot in zip(self.nodes, self.below, self.slot, strict=True):
            if isinstance(node, Variable):
                values.append(X[:, node.index])
            elif isinstance(node, Constant):
                values.append(constants[slot] if slot >= 0 else node.value)
            elif isinstance(node, Sum):
                values.append(sum(values[m] for m in below[1:]) + values[below[0]])
            elif isinstance(node, Product):
                values.append(reduce(mul, [values[m] for m in below]))
            else:
                assert isinstance(node, Apply)
                values.append(node.function.value(values[below[0]]))
        return values

    def _jacobian(self, values: list[Any], rows: int) -> Array:
        adjoint: list[Any] = [0.0] * len(self.nodes)
        adjoint[-1] = np.ones(rows)
        jacobian = np.empty((len(self.constants), rows))
        for n in range(len(self.nodes) - 1, -1, -1):
            node, below = self.nodes[n], self.below[n]
            if self.slot[n] >= 0:
                jacobian[self.slot[n]] = adjoint[n]
            elif not self.moves[n]:
                continue
            elif isinstance(node, Sum):
                for m in below:
                    adjoint[m] = adjoint[m] + adjoint[n]
            elif isinstance(node, Product):
                for k, m in enumerate(below):
                    if self.moves[m]:
                        others = [values[b] for j, b in enumerate(below) if j != k]
                        adjoint[m] = adjoint[m] + reduce(mul, others, adjoint[n])
            elif isinstance(node, Apply):
                adjoint[below[0]] = adjoint[below[0]] + adjoint[n] * node.function.slope(values[below[0]])
        return jacobian


class FormulaModule(nn.Module):
    """A formula as a PyTorch module: `constants` are its parameters, rows go in, one column comes out.

    Args:
        root: The formula.
        inputs: Number of columns it takes.

    Example:
        >>> from superpose.symbolic.expression import Constant, Variable, times
        >>> FormulaModule(times(Constant(2.0), Variable(0)), 1)(torch.ones(3, 1, dtype=torch.float64)).T
        tensor([[2., 2., 2.]], dtype=torch.float64, grad_fn=<...>)
    """

    def __init__(self, root: Expression, inputs: int) -> None:
        super().__init__()
        self.program, self.inputs = Program(root), inputs
        self.constants = nn.Parameter(torch.tensor(self.program.constants, dtype=torch.float64))

    def forward(self, x: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch 1"]:
        """Values of the formula."""
        if x.shape[-1] != self.inputs:
            raise ValueError(f"the last axis of x has size {x.shape[-1]}, but the formula has {self.inputs} inputs.")
        constants = self.constants.to(x.dtype)
        values: list[Any] = []
        for node, below, slot in zip(self.program.nodes, self.program.below, self.program.slot, strict=True):
            values.append(_torch_value(node, [values[m] for m in below], x, constants, slot))
        return values[-1].expand(x.shape[:-1]).unsqueeze(-1)


def _torch_value(node: Expression, below: Sequence[Any], x: Tensor, constants: Tensor, slot: int) -> Any:
    if isinstance(node, Variable):
        return x[..., node.index]
    if isinstance(node, Constant):
        return constants[slot] if slot >= 0 else x.new_tensor(node.value)
    if isinstance(node, Sum):
        return sum(below[1:]) + below[0]
    if isinstance(node, Product):
        return reduce(mul, below)
    assert isinstance(node, Apply)
    return node.function.torch(below[0])
