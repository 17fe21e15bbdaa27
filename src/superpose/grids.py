"""Move and refine the grids of a network: new placements of its bases, with coefficients carried over."""

import copy
import math
from functools import cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from superpose.bases import Basis, BSpline
from superpose.layers import KANLinear
from superpose.models import KAN

RIDGE = 1e-9
LEAST_GAP = 0.05
EVEN = 0.3
"""Weight of even spacing beside the density that an approximation error asks for."""


def refine(model: KAN, intervals: int) -> KAN:
    """A new network on finer (or coarser) grids that computes the same function, as far as the new family can.

    Args:
        model: The network; it is left as it is.
        intervals: New size of the bases: intervals of B-splines, degree of polynomials, and so on. The function stays
            the same to rounding when every new interval lies inside an old one (a multiple of the old number) or the
            family is nested by nature; otherwise its edges are fitted anew in the least-squares sense.

    Raises:
        TypeError: If the model is not a `KAN`.
        ValueError: If the size is not allowed for the family.

    Example:
        >>> from superpose import KAN, refine
        >>> refine(KAN((2, 5, 1)), 10)
        KAN 2-5-1, BSpline(intervals=10, degree=3, extrapolation='linear'), base SiLU, 210 parameters
    """
    refined = _copy(model)
    for layer in refined.layers:
        basis, matrix = layer.basis.refined(intervals)
        _replace_basis(layer, basis, matrix)
    return refined


@torch.no_grad()
def move_grid(model: KAN, x: Float[Tensor, "samples inputs"], *, uniform: float = 0.5, margin: float = 0.01) -> KAN:
    """A new network whose grids lie where the data are, with its edge functions fitted anew on them.

    Layers move from the inputs to the outputs, each to the values that the moved layers before it give.

    Args:
        model: The network; it is left as it is.
        x: Data in the units of the model's inputs.
        uniform: Share of evenly spaced knots in the mixture with quantiles of the data, from 0 to 1.
        margin: How far the grid reaches beyond the data on either side, as a share of the data's range.

    Raises:
        TypeError: If the model is not a `KAN`.
        ValueError: If `x` holds NaN or infinity, has no rows or the wrong number of columns.

    Example:
        >>> import torch
        >>> from superpose import KAN, move_grid
        >>> moved = move_grid(KAN((1, 1)), torch.linspace(0, 10, 50).unsqueeze(-1), margin=0)
        >>> moved.layers[0].basis.domain
        tensor([[ 0., 10.]])
    """
    moved = _copy(model)
    x = torch.as_tensor(x)
    if not 0 <= uniform <= 1 or not margin >= 0:
        raise ValueError(f"uniform must lie in [0, 1] and margin be at least 0, got {uniform} and {margin}.")
    if x.ndim != 2 or len(x) == 0 or x.shape[1] != model.widths[0]:
        raise ValueError(f"x must have shape (samples, {model.widths[0]}) with samples, got {tuple(x.shape)}.")
    if not bool(torch.isfinite(x).all()):
        raise ValueError("x holds NaN or infinity; drop or fill those rows first.")
    hidden = moved.input_scaling(x.to(moved.input_scaling.scale))
    for layer, products in zip(moved.layers, moved.products, strict=True):
        _replace_basis(layer, layer.basis.at(placement(layer.basis, hidden, uniform=uniform, margin=margin)))
        hidden = products(layer(hidden))
    return moved


def placement(
    basis: Basis, x: Float[Tensor, "samples inputs"], *, uniform: float, margin: float
) -> Float[Tensor, "inputs points"]:
    """Breakpoints for each column of `x`: a mixture of quantiles and even spacing with a least gap.

    A column without spread keeps its breakpoints, shifted to cover its value and widened where the arithmetic is too
    coarse for them: a dead node must not collapse its grid.
    """
    points = basis.breakpoints.expand(x.shape[1], -1)
    ordered = x.to(points).sort(dim=0).values
    low, high = ordered[0], ordered[-1]
    width = high - low
    old_low, old_width = points[:, 0], points[:, -1] - points[:, 0]
    share = torch.linspace(0, 1, points.shape[1], dtype=points.dtype, device=points.device)
    even = low.unsqueeze(-1) + width.unsqueeze(-1) * share
    mixed = uniform * even + (1 - uniform) * _quantiles(ordered, share).T
    least = LEAST_GAP * width.unsqueeze(-1) / (points.shape[1] - 1)
    gaps = torch.maximum(mixed.diff(dim=1), least)
    gaps = (
        gaps
        / gaps.sum(1, keepdim=True).clamp_min(torch.finfo(gaps.dtype).tiny)
        * (width * (1 + 2 * margin)).unsqueeze(-1)
    )
    start = (low - margin * width).unsqueeze(-1)
    moved = torch.cat([start, start + gaps.cumsum(1)], 1)
    # Below this spread the knots could no longer be told apart in the arithmetic of the model.
    resolution = 64 * (points.shape[1] - 1) / LEAST_GAP * torch.finfo(points.dtype).eps
    coarse = resolution * torch.maximum(low.abs(), high.abs()).clamp_min(torch.finfo(gaps.dtype).tiny)
    inside = (low >= old_low) & (high <= old_low + old_width)
    factor = torch.maximum(coarse, width * (1 + 2 * margin)) / old_width
    shape = (points - (old_low + old_width / 2).unsqueeze(-1)) * factor.clamp_min(1).unsqueeze(-1)
    kept = torch.where(inside.unsqueeze(-1), points, ((low + high) / 2).unsqueeze(-1) + shape)
    return torch.where((width <= coarse).unsqueeze(-1), kept, moved)


def stretched(basis: Basis, x: Float[Tensor, "samples inputs"], margin: float) -> Float[Tensor, "inputs points"]:
    """Breakpoints moved and scaled as a whole to cover each column of `x` and a margin on either side."""
    points = basis.breakpoints
    low, high = x.min(0).values, x.max(0).values
    width = high - low
    # A dead node keeps its grid: the new one would have no width.
    dead = width <= 1e-9 * (points[:, -1] - points[:, 0])
    start = torch.where(dead, points[:, 0], low - margin * width).unsqueeze(-1)
    span = torch.where(dead, points[:, -1] - points[:, 0], width * (1 + 2 * margin)).unsqueeze(-1)
    return start + (points - points[:, :1]) * (span / (points[:, -1:] - points[:, :1]))


def equidistributed(
    basis: BSpline, coef: Float[Tensor, "inputs num outputs"], size: int
) -> Float[Tensor, "inputs points"]:
    """Breakpoints for `size` intervals, dense where the present functions are hard to approximate.

    The error of degree k in an interval of width h is of the order of h^(k+1) times the derivative of that order, so
    intervals get equal shares of the derivative's (k+1)-th root (de Boor 1973, Good approximation by splines with
    variable knots; his NEWKNOT), which is read from the jumps at the knots. A share of even spacing bounds the rest.
    """
    points = basis.breakpoints
    even = torch.linspace(0, 1, size + 1, dtype=points.dtype, device=points.device)
    if basis.intervals == 1:  # no knot to read a jump from
        return points[:, :1] + (points[:, 1:] - points[:, :1]) * even
    widths = points.diff(dim=1)
    top = basis(((points[:, :-1] + points[:, 1:]) / 2).T, order=basis.degree).transpose(0, 1) @ coef
    jumps = top.diff(dim=1).square().sum(-1).sqrt() / ((widths[:, 1:] + widths[:, :-1]) / 2)
    at_knots = torch.cat([jumps[:, :1], jumps, jumps[:, -1:]], 1)
    density = ((at_knots[:, :-1] + at_knots[:, 1:]) / 2) ** (1 / (basis.degree + 1))
    span = points[:, -1:] - points[:, :1]
    mean = (density * widths).sum(1, keepdim=True) / span
    share = torch.where(mean > 0, density + EVEN * mean, torch.ones_like(density)) * widths
    mass = torch.nn.functional.pad(share.cumsum(1), (1, 0))
    wanted = even * mass[:, -1:]
    right = torch.searchsorted(mass, wanted.contiguous()).clamp(1, mass.shape[1] - 1)
    part = (wanted - mass.gather(1, right - 1)) / (mass.gather(1, right) - mass.gather(1, right - 1))
    moved = torch.lerp(points.gather(1, right - 1), points.gather(1, right), part)
    return torch.cat([points[:, :1], moved[:, 1:-1], points[:, -1:]], 1)


def projection(old: Basis, new: Basis) -> Float[Tensor, "inputs new_num old_num"]:
    """Matrix that carries coefficients of `old` to the nearest function of `new`, in float64.

    Least squares at Gauss points of every interval of `new`, each interval weighing the same, solved by QR with a
    small ridge: no data are needed, and the system is never singular.
    """
    old, new = _doubled(old), _doubled(new)
    points = gauss_points(new.breakpoints, math.ceil(2 * new.num / (new.breakpoints.shape[1] - 1)) + 2)[
        0
    ].T.contiguous()
    target, design = old(points).transpose(0, 1), new.inside(points).transpose(0, 1)
    ridge = RIDGE * torch.eye(new.num, dtype=design.dtype, device=design.device).expand(new.inputs, -1, -1)
    q, r = torch.linalg.qr(torch.cat([design, ridge], 1))
    return torch.linalg.solve_triangular(r, q[:, : target.shape[1]].transpose(1, 2) @ target, upper=True)


def gauss_points(
    breakpoints: Float[Tensor, "inputs points"], count: int
) -> tuple[Float[Tensor, "inputs nodes"], Float[Tensor, "inputs nodes"]]:
    """Nodes and weights of Gauss-Legendre quadrature with `count` nodes on every interval."""
    nodes, weights = (breakpoints.new_tensor(values) for values in _legendre(count))
    widths = breakpoints.diff(dim=1).unsqueeze(-1)
    return (breakpoints[:, :-1, None] + widths * (nodes + 1) / 2).flatten(1), (widths * weights / 2).flatten(1)


@cache
def _legendre(count: int) -> tuple[np.ndarray, np.ndarray]:
    return np.polynomial.legendre.leggauss(count)


def _quantiles(
    ordered: Float[Tensor, "samples inputs"], share: Float[Tensor, " points"]
) -> Float[Tensor, "points inputs"]:
    position = share * (len(ordered) - 1)
    below = position.long().clamp(max=max(len(ordered) - 2, 0))
    above = (below + 1).clamp(max=len(ordered) - 1)
    return torch.lerp(ordered[below], ordered[above], (position - below).unsqueeze(-1).to(ordered))


def _doubled(basis: Basis) -> Basis:
    return basis if basis.breakpoints.dtype == torch.float64 else copy.deepcopy(basis).double()


def _copy(model: KAN) -> KAN:
    if not isinstance(model, KAN):
        raise TypeError(f"only a KAN has grids, got {type(model).__name__}.")
    return copy.deepcopy(model)


@torch.no_grad()
def _replace_basis(layer: KANLinear, basis: Basis, matrix: Tensor | None = None) -> None:
    if matrix is None:
        matrix = projection(layer.basis, basis)
    carried = matrix @ layer.coef.double()
    layer.basis = basis
    layer.coef = nn.Parameter(carried.to(layer.coef.dtype), requires_grad=layer.coef.requires_grad)
