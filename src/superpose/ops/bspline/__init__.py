"""B-spline operations: check the arguments, choose an implementation, call it."""

from typing import Literal

from jaxtyping import Float
from torch import Tensor

from superpose._select import Obstacle, choose
from superpose.ops.bspline import native, plain, reference, traced  # noqa: F401 - traced enters its operations

CANDIDATES: dict[str, Obstacle] = {"native": native.obstacle, "plain": plain.obstacle, "reference": reference.obstacle}
CALLS = {"native": native.bspline_linear, "plain": plain.bspline_linear, "reference": reference.bspline_linear}


def bspline_values(
    x: Float[Tensor, "*batch inputs"], knots: Float[Tensor, "#inputs knots"], degree: int, order: int = 0
) -> Float[Tensor, "*batch inputs basis"]:
    """All B-splines of each input, or their derivatives of the given order, at points inside the domain.

    Args:
        x: Points. The domain of an input runs from its knot number `degree` to its knot number `-degree - 1`.
        knots: Knots of each input, strictly increasing inside the domain; one row serves all inputs.
        degree: Polynomial degree, 0 or more; cubic is 3.
        order: Order of the derivative; 0 gives the values.

    Raises:
        ValueError: If the inputs of `x` and `knots` disagree, or there are too few knots for the degree.
    """
    _check(x, knots, degree)
    return reference.bspline_values(x, knots, degree, order)


def bspline_linear(
    x: Float[Tensor, "*batch inputs"],
    coef: Float[Tensor, "inputs num outputs"],
    knots: Float[Tensor, "#inputs knots"],
    degree: int,
    extrapolation: Literal["linear", "clamp", "zero"] = "linear",
    weight: Float[Tensor, "outputs inputs"] | None = None,
) -> Float[Tensor, "*batch outputs"]:
    r"""Sums over the inputs of one spline per edge, $y_o = \sum_i \sum_m c_{imo} B_m(x_i) + w_{oi} \operatorname{silu}(x_i)$.

    Args:
        x: Points anywhere; NaN gives NaN.
        coef: Coefficients of the edges.
        knots: Knots of each input, as for `bspline_values`.
        degree: Polynomial degree.
        extrapolation: What the splines do outside the domain: go on as straight lines, stay, or drop to zero.
        weight: Factors of the residual base function silu; None leaves it out.

    Raises:
        ValueError: If the shapes disagree, there are too few knots for the degree, or there is no such extrapolation.
    """
    _check(x, knots, degree)
    if coef.ndim != 3 or coef.shape[0] != x.shape[-1] or coef.shape[1] != knots.shape[-1] - degree - 1:
        wanted = (x.shape[-1], knots.shape[-1] - degree - 1, "outputs")
        raise ValueError(f"coef must have shape {wanted} for this x and these knots, got {tuple(coef.shape)}.")
    if weight is not None and weight.shape != (coef.shape[2], coef.shape[0]):
        raise ValueError(f"weight must have shape {(coef.shape[2], coef.shape[0])}, got {tuple(weight.shape)}.")
    if extrapolation not in native.EXTRAPOLATIONS:
        raise ValueError(f"extrapolation is {extrapolation!r}; choose one of {', '.join(native.EXTRAPOLATIONS)}.")
    args = x, coef, knots, degree, extrapolation, weight
    return CALLS[choose("bspline_linear", CANDIDATES, *args)](*args)


def insertion_matrix(
    old: Float[Tensor, "inputs old_knots"], new: Float[Tensor, "inputs new_knots"], degree: int
) -> Float[Tensor, "inputs new_basis old_basis"]:
    """Matrix that turns coefficients over `old` knots into those of the same splines over `new` knots."""
    return reference.insertion_matrix(old, new, degree)


def _check(x: Tensor, knots: Tensor, degree: int) -> None:
    if knots.shape[0] not in (1, x.shape[-1]):
        raise ValueError(f"x has {x.shape[-1]} inputs but the knots were made for {knots.shape[0]}.")
    if knots.shape[-1] < 2 * degree + 2:
        raise ValueError(f"degree {degree} needs at least {2 * degree + 2} knots, got {knots.shape[-1]}.")
