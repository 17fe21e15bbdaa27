"""The B-spline layer by compiled kernels for the CPU."""

from torch import Tensor


def obstacle(
    x: Tensor, coef: Tensor, knots: Tensor, degree: int, extrapolation: str, weight: Tensor | None
) -> str | None:
    """Why this implementation cannot take these arguments, or None if it can."""
    return "it is not written yet"


def bspline_linear(
    x: Tensor, coef: Tensor, knots: Tensor, degree: int, extrapolation: str, weight: Tensor | None
) -> Tensor:
    """As the reference's."""
    raise NotImplementedError
