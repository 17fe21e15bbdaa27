"""B-splines in plain PyTorch: the definition that every faster implementation is tested against.

Piegl and Tiller, The NURBS Book, algorithms A2.2 and A2.3, written for a whole batch at once. Only the `degree + 1`
functions that do not vanish at a point are computed; everything is a rational function of `x`, so autograd,
`torch.func` and `torch.compile` see all derivatives.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def interval_index(
    x: Float[Tensor, "*batch inputs"], knots: Float[Tensor, "#inputs knots"], degree: int
) -> Int[Tensor, "*batch inputs"]:
    """Index `l` of the interval `knots[l] <= x < knots[l + 1]`; the last interval also holds its right end."""
    first, last = degree, knots.shape[-1] - degree - 2
    inner = knots[:, first + 1 : last + 1]
    return first + (x.unsqueeze(-1) >= inner).sum(-1)


def local_bspline(
    x: Float[Tensor, "*batch inputs"], knots: Float[Tensor, "#inputs knots"], degree: int, order: int = 0
) -> tuple[Float[Tensor, "*batch inputs local"], Int[Tensor, "*batch inputs local"]]:
    """Derivatives of the `degree + 1` B-splines that live at each `x`, and their indices.

    Args:
        x: Points between the first and the last inner knot of their input.
        knots: Non-decreasing knots of each input, `degree` of them beyond either end of the domain.
        degree: Polynomial degree.
        order: Order of the derivative; 0 gives the values.
    """
    index = interval_index(x, knots, degree)
    table = knots.expand(*x.shape, knots.shape[-1])
    span = torch.arange(1 - degree, degree + 1, device=x.device)
    near = torch.gather(table, -1, index.unsqueeze(-1) + span)
    left = [x - near[..., degree - j] for j in range(1, degree + 1)]
    right = [near[..., degree + j - 1] - x for j in range(1, degree + 1)]

    values = [x * 0 + 1]  # and not ones, so that NaN stays NaN and degree 0 has a gradient
    for level in range(1, degree + 1):
        scaled = [values[r] / (near[..., degree + r] - near[..., degree + r - level]) for r in range(level)]
        if level > degree - order:
            lifted = [level * term for term in scaled]
            values = [-lifted[0], *(a - b for a, b in zip(lifted[:-1], lifted[1:], strict=True)), lifted[-1]]
        else:
            rising = [left[level - 1 - r] * scaled[r] for r in range(level)]
            falling = [right[r] * scaled[r] for r in range(level)]
            values = [falling[0], *(a + b for a, b in zip(rising[:-1], falling[1:], strict=True)), rising[-1]]
    if order > degree:
        values = [x * 0] * (degree + 1)
    return torch.stack(values, -1), index.unsqueeze(-1) + torch.arange(-degree, 1, device=x.device)


def bspline_values(
    x: Float[Tensor, "*batch inputs"], knots: Float[Tensor, "#inputs knots"], degree: int, order: int = 0
) -> Float[Tensor, "*batch inputs basis"]:
    """All B-splines (or their derivatives) at points inside the domain; zero where a function does not reach."""
    local, index = local_bspline(x, knots, degree, order)
    dense = local.new_zeros(*x.shape, knots.shape[-1] - degree - 1)
    return dense.scatter(-1, index, local)


def obstacle(*args: object) -> None:
    """None: the reference takes everything."""


def bspline_linear(
    x: Float[Tensor, "*batch inputs"],
    coef: Float[Tensor, "inputs num outputs"],
    knots: Float[Tensor, "#inputs knots"],
    degree: int,
    extrapolation: str,
    weight: Float[Tensor, "outputs inputs"] | None,
) -> Float[Tensor, "*batch outputs"]:
    """Sums of one spline per edge, and of `weight * silu(x)` where there is a weight."""
    low, high = knots[:, degree], knots[:, -degree - 1]
    # Unlike clamp, this passes the whole gradient at the ends themselves.
    clamped = torch.where(x < low, low, torch.where(x > high, high, x))
    values = bspline_values(clamped, knots, degree)
    if extrapolation == "linear":
        values = values + (x - clamped).unsqueeze(-1) * bspline_values(clamped, knots, degree, 1)
    elif extrapolation == "zero":
        values = torch.where((x == clamped).unsqueeze(-1), values, values * 0)
    sums = values.flatten(-2) @ coef.flatten(0, 1)
    return sums if weight is None else sums + torch.nn.functional.linear(torch.nn.functional.silu(x), weight)


def insertion_matrix(
    old: Float[Tensor, "inputs old_knots"], new: Float[Tensor, "inputs new_knots"], degree: int
) -> Float[Tensor, "inputs new_basis old_basis"]:
    """Matrix that writes the splines over `old` in the B-splines over `new`, exactly.

    The knots increase strictly and every inner knot of `old` is one of `new`. A coefficient is the blossom (polar form)
    of a polynomial piece at the `degree` knots that follow the first knot of its B-spline (Ramshaw 1989, Blossoms are
    polar forms); the piece may be any in the support, so exterior knots may differ.
    """
    bases, old_bases = new.shape[-1] - degree - 1, old.shape[-1] - degree - 1
    column = torch.arange(bases, device=new.device)
    piece = interval_index((new[:, column] + new[:, column + 1]).T / 2, old, degree).T
    rows = piece.unsqueeze(-1) + torch.arange(-degree, 1, device=old.device)
    net = torch.eye(old_bases, dtype=old.dtype, device=old.device)[rows]
    for level in range(1, degree + 1):
        low = old.gather(1, rows[..., level:].flatten(1)).view_as(rows[..., level:])
        high = old.gather(1, rows[..., level:].flatten(1) + degree + 1 - level).view_as(low)
        share = ((new[:, column + level].unsqueeze(-1) - low) / (high - low)).unsqueeze(-1)
        net = (1 - share) * net[..., :-1, :] + share * net[..., 1:, :]
    return net.squeeze(-2)
