"""A penalty on rough edge functions, which makes more intervals than samples harmless.

The roughness of an edge phi is the integral of its squared derivative of order q over the domain, with the domain's
length taken as 2 and the variance of the node it feeds as 1: it depends neither on units nor on the number of
intervals. An edge of a factor counts times the mean square of the product of the other factors, which is how far it
moves the node: it does not depend on which factor a constant belongs to either. For B-splines q is one above the degree, where the derivative lives in the jumps at the knots (P-splines,
Eilers and Marx 1996): a single polynomial over the whole domain costs nothing, and where there are no data the
neighbouring piece goes on. Smooth bases take q = 3.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from superpose.bases import Basis, BSpline
from superpose.fitting.bundle import Bundle, Data
from superpose.fitting.losses import Loss
from superpose.fitting.stages import KANStage
from superpose.grids import gauss_points


def roughness(basis: Basis) -> Float[Tensor, "inputs num num"]:
    """Quadratic form of the roughness of a function in its coefficients, for every input."""
    rows = roughness_rows(basis)
    return rows.transpose(1, 2) @ rows


def roughness_rows(basis: Basis) -> Float[Tensor, "inputs rows num"]:
    """Rows whose squared products with the coefficients of a function add up to its roughness.

    The quadratic form itself has entries so large that they cancel to nothing useful for smooth functions on fine grids.
    """
    low, high = basis.domain.unbind(-1)
    half = ((high - low) / 2).unsqueeze(-1)
    if isinstance(basis, BSpline):
        points = basis.breakpoints
        widths = points.diff(dim=1)
        top = basis(((points[:, :-1] + points[:, 1:]) / 2).T, order=basis.degree).transpose(0, 1)
        rows = top.diff(dim=1)
        weights = half ** (2 * basis.degree + 1) / ((widths[:, 1:] + widths[:, :-1]) / 2)
    else:
        nodes, weights = gauss_points(basis.breakpoints, 2 * basis.num)
        rows = basis(nodes.T, order=3).transpose(0, 1)
        weights = weights * half**5
    return rows * weights.sqrt().unsqueeze(-1)


def penalty_root(bundle: Bundle, x: Float[Tensor, "N inputs"]) -> Float[Tensor, "S R P"]:
    """Rows whose squared products with all parameters add up to the roughness of every edge of a network.

    An edge counts relative to the variance of the hidden node it moves; the outputs' is 1 by the scaling of targets.
    """
    values = bundle.hidden(x)
    parts = [matrix.new_zeros(bundle.count, 0, matrix[0].numel()) for matrix in bundle.matrices]
    for layer, stage in enumerate(bundle.stages):
        if isinstance(stage, KANStage):
            outputs = bundle.matrices[layer].shape[1]
            spread = values[layer + 1].var(1, correction=0).clamp_min(1e-12)
            if layer == len(bundle.stages) - 1:
                spread = torch.ones_like(spread)
            if not stage.products.plain:
                sums = torch.bmm(bundle.matrices[layer], stage.features(values[layer], slopes=False)[0]).mT
                moved = stage.products.cofactors(sums).square().mean(1).clamp_min(1e-12)
                spread = stage.products.by_factor(spread) / moved
            rows = torch.nn.functional.pad(roughness_rows(stage.basis), (1, 0)).view(
                bundle.count, stage.inputs, -1, stage.per_input
            )
            edges = (rows.unsqueeze(1) / spread.sqrt()[:, :, None, None, None]).flatten(1, 2)
            parts[layer] = _diagonal(edges, outputs * stage.inputs)
    return _diagonal_of(parts)


def _diagonal(blocks: Float[Tensor, "S E r J"], edges: int) -> Float[Tensor, "S R P"]:
    """Blocks along the diagonal, one for every edge."""
    whole = blocks.new_zeros(len(blocks), edges, blocks.shape[2], edges, blocks.shape[3])
    index = torch.arange(edges)
    whole[:, index, :, index] = blocks.transpose(0, 1)
    return whole.flatten(3, 4).flatten(1, 2)


def _diagonal_of(parts: list[Float[Tensor, "S _ _"]]) -> Float[Tensor, "S R P"]:
    """Matrices of different shapes along the diagonal, one for every layer."""
    before = 0
    size = sum(part.shape[2] for part in parts)
    rows = []
    for part in parts:
        rows.append(torch.nn.functional.pad(part, (before, size - before - part.shape[2])))
        before += part.shape[2]
    return torch.cat(rows, 1)


def rank(bundle: Bundle, frozen: Bool[Tensor, "S P"]) -> Float[Tensor, " S"]:
    """Number of directions of each network's free parameters that the penalty sees."""
    parts = frozen.split([matrix[0].numel() for matrix in bundle.matrices], dim=1)
    seen = torch.zeros(bundle.count, dtype=torch.float64)
    for stage, part in zip(bundle.stages, parts, strict=True):
        if isinstance(stage, KANStage):
            edges = (~part).view(bundle.count, -1, stage.per_input).any(2).sum(1)
            seen += edges * (stage.per_input - _unseen(stage.basis))
    return seen


LEAST = 1e-14
"""Share of a loss of order one that the penalty keeps at least, so that it decides where there are no data."""


@dataclass(frozen=True)
class Observations:
    """How many values were observed, by weight, and whether their noise is known, as for a negative log-likelihood."""

    number: float
    noise_known: bool

    @classmethod
    def of(cls, data: Data, loss: Loss) -> "Observations":
        """What a table tells about itself; each row holds one class or several target values."""
        return cls(data.total * (1 if loss.noise_known else data.y.shape[1]), loss.noise_known)


@dataclass(frozen=True)
class Penalty:
    """The roughness of networks on given grids, for their free parameters.

    Attributes:
        root: Rows whose squared products with the parameters add up to the roughness.
        form: The same as a quadratic form, for what does not cancel.
        directions: Number of directions of the free parameters that it sees.
    """

    root: Float[Tensor, "S R P"]
    form: Float[Tensor, "S P P"]
    directions: Float[Tensor, " S"]

    @classmethod
    def of(cls, bundle: Bundle, x: Float[Tensor, "N inputs"], frozen: Bool[Tensor, "S P"]) -> "Penalty":
        """The penalty of a bundle whose frozen parameters take no part."""
        root = penalty_root(bundle, x).masked_fill_(frozen.unsqueeze(1), 0)
        return cls(root, root.mT @ root, rank(bundle, frozen))

    def roughness(self, parameters: Float[Tensor, "S P"]) -> Float[Tensor, " S"]:
        """Roughness of every network."""
        return torch.bmm(self.root, parameters.unsqueeze(-1)).square().sum((1, 2))


def evidence(
    strength: Float[Tensor, " S"],
    penalty: Penalty,
    hessian: Float[Tensor, "S P P"],
    parameters: Float[Tensor, "S P"],
    losses: Float[Tensor, " S"],
    observed: Observations,
) -> Float[Tensor, " S"]:
    """The strength that maximises the evidence of the data, one step of the fixed-point iteration.

    MacKay 1992 (Bayesian interpolation, eqs. 4.8 to 4.11) with the Gauss-Newton matrix for the Hessian (Foresee and
    Hagan 1997): the strength is the noise variance times the number of penalised directions the data determine, over
    the roughness. Without noise it goes to zero by itself; with more parameters than data it stays where the data allow.

    Args:
        strength: Present strength of each network.
        penalty: The roughness.
        hessian: Gauss-Newton matrix of the mean loss, penalty not included.
        parameters: Present parameters.
        losses: Present mean losses.
        observed: Number and kind of the observations.
    """
    roughness = penalty.roughness(parameters)
    whole = torch.addcmul(hessian, penalty.form, (2 * strength)[:, None, None])
    diagonal = whole.diagonal(dim1=1, dim2=2)
    diagonal += 1e-12 * diagonal.amax(1, keepdim=True).clamp_min(1e-100)  # zero if no parameter is free
    factor, failed = torch.linalg.cholesky_ex(whole)
    inverse = torch.cholesky_inverse(factor)
    penalised = penalty.directions - 2 * strength * (inverse * penalty.form).sum((1, 2))
    used = inverse.mul_(hessian).sum((1, 2))
    number = observed.number
    noise = losses * number / (number - used).clamp_min(0.05 * number)
    scale = torch.full_like(noise, 0.5) if observed.noise_known else noise
    better = scale * penalised.clamp_min(1e-3) / (number * roughness.clamp_min(1e-300))
    floor = (LEAST / roughness.clamp_min(1e-300)).clamp(max=1e-12)
    better = torch.minimum(torch.maximum(better, strength / 100), strength * 100)
    better = torch.maximum(better, floor).clamp(max=1e6)
    return torch.where((failed == 0) & torch.isfinite(better) & (penalty.directions > 0), better, strength)


def _unseen(basis: Basis) -> int:
    """Directions of an edge without roughness: the base function and the polynomials below the penalised derivative."""
    return 1 + (basis.degree + 1 if isinstance(basis, BSpline) else 3)
