"""B-spline operations: check the arguments, choose an implementation, call it."""

from jaxtyping import Float
from torch import Tensor

from superpose.ops.bspline import reference


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
