"""What every univariate basis promises."""

from abc import ABC, abstractmethod
from numbers import Real
from typing import Any, ClassVar, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

Extrapolation = Literal["linear", "clamp", "zero"]


class Basis(nn.Module, ABC):
    """A finite family of `num` functions of one variable, placed on a domain of its own for every input.

    A Kolmogorov-Arnold edge is a linear combination of these functions. `size` is the number a user gives to say how
    fine the family is (intervals, degree, frequencies, ...). `breakpoints` place the family: the inner knots of a
    spline, the two ends of the domain for the others.

    Outside the domain the values continue as straight lines with the value and slope of the end (`"linear"`), stay at
    the end's value (`"clamp"`) or drop to zero (`"zero"`); the ends themselves belong to the domain. A family of
    periodic functions repeats instead.
    """

    breakpoints: Tensor
    """Where the family lies, one row for every input; the first and last column are the domain's ends."""

    extrapolations: ClassVar[tuple[str, ...]] = get_args(Extrapolation)
    """What the family can do outside its domain."""

    extrapolation: Any
    """What it does: one of `extrapolations`."""

    def __init__(self, extrapolation: str) -> None:
        super().__init__()
        if extrapolation not in self.extrapolations:
            raise ValueError(f"extrapolation is {extrapolation!r}; choose one of {', '.join(self.extrapolations)}.")
        self.extrapolation = extrapolation

    @property
    @abstractmethod
    def num(self) -> int:
        """Number of functions."""

    @property
    @abstractmethod
    def size(self) -> int:
        """The number that says how fine the family is."""

    @abstractmethod
    def config(self) -> dict[str, Any]:
        """Arguments that make this basis anew; its breakpoints are not among them."""

    @abstractmethod
    def at(self, breakpoints: Float[Tensor, "inputs points"]) -> "Basis":
        """The same family placed elsewhere."""

    @abstractmethod
    def refined(self, size: int) -> tuple["Basis", Float[Tensor, "inputs fine coarse"] | None]:
        """A family of another `size` on the same domain, and the matrix that carries coefficients over exactly.

        The matrix is None where the new family does not contain the old one.
        """

    @abstractmethod
    def inside(self, x: Float[Tensor, "*batch inputs"], order: int = 0) -> Float[Tensor, "*batch inputs num"]:
        """Values (or derivatives of the given order) at points of the domain."""

    @property
    def domain(self) -> Float[Tensor, "inputs 2"]:
        """Ends of the domain of every input."""
        return torch.stack([self.breakpoints[:, 0], self.breakpoints[:, -1]], -1)

    @property
    def inputs(self) -> int:
        """Number of inputs the family is placed for; 1 serves any number."""
        return self.breakpoints.shape[0]

    def expanded(self, inputs: int) -> "Basis":
        """A copy with a placement of its own for each of `inputs` inputs."""
        if self.inputs not in (1, inputs):
            raise ValueError(f"the basis is placed for {self.inputs} inputs; it cannot serve {inputs}.")
        return self.at(self.breakpoints.expand(inputs, -1).clone())

    def forward(self, x: Float[Tensor, "*batch inputs"], order: int = 0) -> Float[Tensor, "*batch inputs num"]:
        """Values of all functions at `x`, or their derivatives of the given order, inside the domain and out."""
        if self.inputs not in (1, x.shape[-1]):
            raise ValueError(f"the last axis of x has size {x.shape[-1]}, but the basis is placed for {self.inputs}.")
        if order < 0:
            raise ValueError(f"order is {order}; it must be 0 (values) or more (derivatives).")
        if self.extrapolation == "periodic":
            return self.inside(x, order)
        low, high = self.breakpoints[:, 0], self.breakpoints[:, -1]
        # Unlike clamp, this passes the whole gradient at the ends themselves.
        clamped = torch.where(x < low, low, torch.where(x > high, high, x))
        if self.extrapolation == "linear":
            if order > 1:
                return self.inside(clamped, order) * (x == clamped).unsqueeze(-1)
            if order == 1:
                return self.inside(clamped, 1)
            return self.inside(clamped) + (x - clamped).unsqueeze(-1) * self.inside(clamped, 1)
        values = self.inside(clamped, order)
        if self.extrapolation == "clamp" and order == 0:
            return values
        return torch.where((x == clamped).unsqueeze(-1), values, values * 0)

    def linear(
        self, x: Float[Tensor, "*batch inputs"], coef: Float[Tensor, "inputs num outputs"]
    ) -> Float[Tensor, "*batch outputs"]:
        """Sum of one series per edge over the inputs, never holding more than `batch inputs num` values."""
        return self(x).flatten(-2) @ coef.flatten(0, 1)

    def edges(
        self,
        x: Float[Tensor, "*batch inputs"],
        coef: Float[Tensor, "inputs num outputs"],
        base: nn.Module,
        weight: Float[Tensor, "outputs inputs"],
    ) -> Float[Tensor, "*batch outputs"]:
        """Sum of one series per edge and of the weighted base function over the inputs."""
        return nn.functional.linear(base(x), weight) + self.linear(x, coef)

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value!r}" for name, value in self.config().items())


class DomainBasis(Basis):
    """A basis that is placed by the two ends of its domain alone, with the canonical variable t in [-1, 1]."""

    def __init__(self, extrapolation: str) -> None:
        super().__init__(extrapolation)
        self.register_buffer("breakpoints", torch.tensor([[-1.0, 1.0]]))

    @abstractmethod
    def canonical(self, t: Float[Tensor, "*batch inputs"], order: int) -> Float[Tensor, "*batch inputs num"]:
        """Derivatives of the given order with respect to t, for t in [-1, 1] and a rounding error beyond."""

    @abstractmethod
    def growth(self, size: int) -> Float[Tensor, "fine coarse"] | None:
        """The exact change of coefficients to another size of the family, in float64, or None."""

    @abstractmethod
    def resized(self, size: int) -> "DomainBasis":
        """The family of another size, on [-1, 1]."""

    def inside(self, x: Float[Tensor, "*batch inputs"], order: int = 0) -> Float[Tensor, "*batch inputs num"]:
        low, high = self.breakpoints.unbind(-1)
        scale = 2 / (high - low)
        # Rounding may leave [-1, 1]. Clamping t would lose the gradient at the ends, so families are finite beyond.
        return self.canonical((x - low) * scale - 1, order) * (scale**order).unsqueeze(-1)

    def at(self, breakpoints: Float[Tensor, "inputs points"]) -> "DomainBasis":
        if breakpoints.ndim != 2 or breakpoints.shape[-1] != 2:
            raise ValueError(f"breakpoints must have shape (inputs, 2), got {tuple(breakpoints.shape)}.")
        check_increasing(breakpoints)
        placed = self.resized(self.size)
        placed.breakpoints = breakpoints
        return placed

    def refined(self, size: int) -> tuple["DomainBasis", Float[Tensor, "inputs fine coarse"] | None]:
        finer = self.resized(size).at(self.breakpoints.clone())
        growth = self.growth(size)
        return finer, None if growth is None else growth.to(self.breakpoints.device).expand(self.inputs, -1, -1)


def check_size(name: str, value: int, least: int, most: int | None = None) -> int:
    """The size of a family as an int, or a clear error."""
    whole = isinstance(value, Real) and not isinstance(value, bool) and value % 1 == 0
    if not whole or value < least or (most is not None and value > most):
        allowed = f"an integer of at least {least}" if most is None else f"an integer from {least} to {most}"
        raise ValueError(f"{name} is {value!r}; it must be {allowed}.")
    return int(value)


def check_increasing(breakpoints: Float[Tensor, "inputs points"]) -> None:
    """Raise unless every row is finite and increases strictly; tensors without data pass."""
    if breakpoints.is_meta:
        return
    if not bool((breakpoints.diff(dim=-1) > 0).all() & breakpoints.isfinite().all()):
        raise ValueError("breakpoints must increase strictly along each row and be finite.")
