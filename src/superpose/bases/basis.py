"""What every univariate basis promises."""

from abc import ABC, abstractmethod
from typing import Any, Literal, get_args

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
    the end's value (`"clamp"`) or drop to zero (`"zero"`).
    """

    breakpoints: Tensor
    """Where the family lies, one row for every input; the first and last column are the domain's ends."""

    def __init__(self, extrapolation: Extrapolation) -> None:
        super().__init__()
        if extrapolation not in get_args(Extrapolation):
            raise ValueError(f"extrapolation is {extrapolation!r}; choose one of {', '.join(get_args(Extrapolation))}.")
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
        return self.breakpoints[:, [0, -1]]

    @property
    def inputs(self) -> int:
        """Number of inputs the family is placed for; 1 serves any number."""
        return self.breakpoints.shape[0]

    def expanded(self, inputs: int) -> "Basis":
        """A copy with a placement of its own for each of `inputs` inputs."""
        return self.at(self.breakpoints.expand(inputs, -1).clone())

    def forward(self, x: Float[Tensor, "*batch inputs"], order: int = 0) -> Float[Tensor, "*batch inputs num"]:
        """Values of all functions at `x`, or their derivatives of the given order, inside the domain and out."""
        low, high = self.domain.unbind(-1)
        clamped = x.clamp(low, high)
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
        self, x: Float[Tensor, "*batch inputs"], coef: Float[Tensor, "outputs inputs num"]
    ) -> Float[Tensor, "*batch outputs"]:
        """Sum of one series per edge over the inputs, never holding more than `batch inputs num` values."""
        return self(x).flatten(-2) @ coef.flatten(1).T

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value!r}" for name, value in self.config().items())


class DomainBasis(Basis):
    """A basis that is placed by the two ends of its domain alone, with the canonical variable t in [-1, 1]."""

    def __init__(self, extrapolation: Extrapolation) -> None:
        super().__init__(extrapolation)
        self.register_buffer("breakpoints", torch.tensor([[-1.0, 1.0]]))

    @abstractmethod
    def canonical(self, t: Float[Tensor, "*batch inputs"], order: int) -> Float[Tensor, "*batch inputs num"]:
        """Derivatives of the given order with respect to t, for t in [-1, 1]."""

    @abstractmethod
    def growth(self, size: int) -> Float[Tensor, "fine coarse"] | None:
        """The exact change of coefficients to another size of the family, in float64, or None."""

    @abstractmethod
    def resized(self, size: int) -> "DomainBasis":
        """The family of another size, on [-1, 1]."""

    def inside(self, x: Float[Tensor, "*batch inputs"], order: int = 0) -> Float[Tensor, "*batch inputs num"]:
        low, high = self.breakpoints.unbind(-1)
        scale = 2 / (high - low)
        # Clamping again keeps rounding from leaving [-1, 1], where some families grow fast.
        t = ((x - low) * scale - 1).clamp(-1, 1)
        return self.canonical(t, order) * (scale**order).unsqueeze(-1)

    def at(self, breakpoints: Float[Tensor, "inputs points"]) -> "DomainBasis":
        if breakpoints.ndim != 2 or breakpoints.shape[-1] != 2:
            raise ValueError(f"breakpoints must have shape (inputs, 2), got {tuple(breakpoints.shape)}.")
        placed = self.resized(self.size)
        placed.breakpoints = breakpoints
        return placed

    def refined(self, size: int) -> tuple["DomainBasis", Float[Tensor, "inputs fine coarse"] | None]:
        finer = self.resized(size).at(self.breakpoints.clone())
        growth = self.growth(size)
        return finer, None if growth is None else growth.to(self.breakpoints.device).expand(self.inputs, -1, -1)


def check_size(name: str, value: int, least: int, most: int | None = None) -> int:
    """The size of a family as an int, or a clear error."""
    if isinstance(value, bool) or int(value) != value or value < least or (most is not None and value > most):
        allowed = f"an integer of at least {least}" if most is None else f"an integer from {least} to {most}"
        raise ValueError(f"{name} is {value!r}; it must be {allowed}.")
    return int(value)
