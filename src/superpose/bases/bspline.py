"""B-splines on uniform or data-driven knots."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from superpose.bases.basis import Basis, Extrapolation, check_increasing, check_size
from superpose.ops.bspline import bspline_linear, bspline_values, insertion_matrix


class BSpline(Basis):
    r"""B-splines $B_m$ of one degree: piecewise polynomials, smooth to order `degree - 1`, non-zero on `degree + 1` intervals.

    They are non-negative, sum to one inside the domain, and change only locally with a coefficient. `num` is
    `intervals + degree`. Knots beyond the domain continue with the width of the last interval (de Boor, A Practical
    Guide to Splines, chapter IX). Choose it when in doubt: it refines exactly and adapts to the data.

    Args:
        intervals: Number of polynomial pieces on the domain.
        degree: Polynomial degree from 0 to 5; cubic is 3.
        extrapolation: What happens outside the domain, see `Basis`.

    Raises:
        ValueError: If a number is out of its range.

    Example:
        >>> basis = BSpline(intervals=4, degree=3)
        >>> values = basis(torch.tensor([[-1.0], [0.2], [1.0]]))
        >>> values.shape
        torch.Size([3, 1, 7])
        >>> bool(torch.allclose(values.sum(-1), torch.ones(3, 1)))
        True
    """

    knots: Tensor

    def __init__(self, intervals: int = 5, degree: int = 3, extrapolation: Extrapolation = "linear") -> None:
        super().__init__(extrapolation)
        self.intervals = check_size("intervals", intervals, 1)
        self.degree = check_size("degree", degree, 0, 5)
        self.register_buffer("knots", _extended(torch.linspace(-1, 1, self.intervals + 1).unsqueeze(0), self.degree))

    @property
    def num(self) -> int:
        return self.intervals + self.degree

    @property
    def size(self) -> int:
        return self.intervals

    @property
    def breakpoints(self) -> Float[Tensor, "inputs points"]:  # type: ignore[override]
        return self.knots[:, self.degree : self.knots.shape[-1] - self.degree]

    def config(self) -> dict[str, Any]:
        return {"intervals": self.intervals, "degree": self.degree, "extrapolation": self.extrapolation}

    def at(self, breakpoints: Float[Tensor, "inputs points"]) -> "BSpline":
        """The splines over other inner knots, which must increase strictly along each row."""
        if breakpoints.ndim != 2 or breakpoints.shape[-1] < 2:
            raise ValueError(f"breakpoints must have shape (inputs, intervals + 1), got {tuple(breakpoints.shape)}.")
        check_increasing(breakpoints)
        placed = BSpline(breakpoints.shape[-1] - 1, self.degree, self.extrapolation)
        placed.knots = _extended(breakpoints, self.degree)
        return placed

    def refined(self, size: int) -> tuple["BSpline", Float[Tensor, "inputs fine coarse"] | None]:
        intervals = check_size("intervals", size, 1)
        old = self.breakpoints
        position = torch.linspace(0, self.intervals, intervals + 1, dtype=torch.float64, device=old.device)
        left = position.floor().long().clamp(max=self.intervals - 1)
        share = (position - left).to(old.dtype)
        finer = self.at(old[:, left] * (1 - share) + old[:, left + 1] * share)
        if intervals % self.intervals:
            return finer, None
        return finer, insertion_matrix(self.knots.double(), finer.knots.double(), self.degree)

    def inside(self, x: Float[Tensor, "*batch inputs"], order: int = 0) -> Float[Tensor, "*batch inputs num"]:
        return bspline_values(x, self.knots, self.degree, order)

    def linear(
        self, x: Float[Tensor, "*batch inputs"], coef: Float[Tensor, "inputs num outputs"]
    ) -> Float[Tensor, "*batch outputs"]:
        return bspline_linear(x, coef, self.knots, self.degree, self.extrapolation)

    def edges(
        self,
        x: Float[Tensor, "*batch inputs"],
        coef: Float[Tensor, "inputs num outputs"],
        base: nn.Module,
        weight: Float[Tensor, "outputs inputs"],
    ) -> Float[Tensor, "*batch outputs"]:
        if type(base) is nn.SiLU:
            return bspline_linear(x, coef, self.knots, self.degree, self.extrapolation, weight)
        return super().edges(x, coef, base, weight)


def _extended(inner: Tensor, degree: int) -> Tensor:
    """Inner knots with `degree` more on either side, at the width of the interval next to them."""
    steps = torch.arange(1, degree + 1, dtype=inner.dtype, device=inner.device)
    first, last = inner[:, 1:2] - inner[:, :1], inner[:, -1:] - inner[:, -2:-1]
    return torch.cat([inner[:, :1] - steps.flip(0) * first, inner, inner[:, -1:] + steps * last], -1)
