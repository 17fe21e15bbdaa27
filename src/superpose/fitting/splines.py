"""B-splines with their slopes in one pass, samples last, as the second-order solver reads them.

The same triangle as in `superpose.ops.bspline.reference` (Piegl and Tiller, The NURBS Book, algorithms A2.2 and A2.3),
whose last step gives the slopes too. Nothing here is differentiable: the solver has its derivatives by hand.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from superpose.bases import BSpline


def local_splines(
    x: Float[Tensor, "inputs N"], knots: Float[Tensor, "inputs knots"], degree: int
) -> tuple[Float[Tensor, "inputs local N"], Float[Tensor, "inputs local N"], Int[Tensor, "inputs N"]]:
    """Values and slopes of the `degree + 1` splines that live at points of the domain, and the index of the first."""
    last = knots.shape[1] - degree - 1
    first = torch.searchsorted(knots[:, degree + 1 : last].contiguous(), x, right=True)
    span = torch.arange(1, 2 * degree + 1).unsqueeze(1)
    near = knots.gather(1, (first.unsqueeze(1) + span).flatten(1)).view(len(x), 2 * degree, x.shape[1])
    ahead = near - x.unsqueeze(1)
    values = (x * 0 + 1).unsqueeze(1)  # and not ones, so that NaN stays NaN
    slopes = values * 0
    for level in range(1, degree + 1):
        below, above = slice(degree - level, degree), slice(degree, degree + level)
        scaled = values / (near[:, above] - near[:, below])
        if level == degree:
            slopes = scaled.new_zeros(len(x), degree + 1, x.shape[1])
            torch.mul(scaled, -degree, out=slopes[:, :-1])
            slopes[:, 1:].add_(scaled, alpha=degree)
        values = scaled.new_zeros(len(x), level + 1, x.shape[1])
        torch.mul(ahead[:, above], scaled, out=values[:, :-1])
        values[:, 1:].addcmul_(ahead[:, below], scaled, value=-1)
    return values, slopes, first


def splines(
    basis: BSpline, x: Float[Tensor, "inputs N"], before: Float[Tensor, "inputs N"], before_slope: Tensor | None
) -> tuple[Float[Tensor, "inputs J N"], Float[Tensor, "inputs J N"] | None]:
    """A function and all splines of every input, anywhere; with their slopes if that of the function is given."""
    low, high = basis.breakpoints[:, :1], basis.breakpoints[:, -1:]
    inside = torch.minimum(torch.maximum(x, low), high)
    values, slopes, first = local_splines(inside, basis.knots, basis.degree)
    beyond = (x - inside).unsqueeze(1)
    if basis.extrapolation == "linear":
        values.addcmul_(beyond, slopes)
    else:
        within = (beyond == 0).to(x.dtype)
        slopes *= within
        if basis.extrapolation == "zero":
            values *= within
    place = first.unsqueeze(1) + torch.arange(1, basis.degree + 2).unsqueeze(1)

    def spread(function: Tensor, local: Tensor) -> Tensor:
        dense = local.new_zeros(len(x), 1 + basis.num, x.shape[1])
        dense[:, 0] = function
        return dense.scatter_(1, place, local)

    return spread(before, values), None if before_slope is None else spread(before_slope, slopes)
