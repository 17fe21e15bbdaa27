"""A penalty on rough edge functions, which makes more intervals than samples harmless.

The roughness of an edge phi is the integral of its squared derivative of order q over the domain, with the domain's
length taken as 2 and the variance of the node it feeds as 1: it depends neither on units nor on the number of
intervals. For B-splines q is one above the degree, where the derivative lives in the jumps at the knots (P-splines,
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
    return rows.transpose(1, 2) @ (rows * weights.unsqueeze(-1))


def penalty_blocks(bundle: Bundle, x: Float[Tensor, "N inputs"]) -> list[Float[Tensor, "S _ _ _ _"] | None]:
    """The penalty of every edge, as a quadratic form in its base weight and coefficients; None for a perceptron."""
    values = bundle.hidden(x)
    blocks: list[Tensor | None] = []
    for stage, output in zip(bundle.stages, values[1:], strict=True):
        if not isinstance(stage, KANStage):
            blocks.append(None)
            continue
        form = roughness(stage.basis).view(bundle.count, 1, stage.inputs, stage.basis.num, stage.basis.num)
        spread = output.var(1, correction=0).clamp_min(1e-12)[:, :, None, None, None]
        blocks.append(torch.nn.functional.pad(form / spread, (1, 0, 1, 0)))
    return blocks


def assembled(bundle: Bundle, blocks: list[Tensor | None]) -> Float[Tensor, "S P P"]:
    """The whole penalty as one quadratic form in all parameters."""
    size = sum(matrix[0].numel() for matrix in bundle.matrices)
    whole = bundle.matrices[0].new_zeros(bundle.count, size, size)
    start = 0
    for matrix, stage, block in zip(bundle.matrices, bundle.stages, blocks, strict=True):
        if block is not None:
            for edge in range(matrix[0].numel() // stage.per_input):
                part = slice(start + edge * stage.per_input, start + (edge + 1) * stage.per_input)
                whole[:, part, part] = block[:, edge // stage.inputs, edge % stage.inputs]
        start += matrix[0].numel()
    return whole


def rank(bundle: Bundle, frozen: Bool[Tensor, "S P"]) -> Float[Tensor, " S"]:
    """Number of directions of each network's free parameters that the penalty sees."""
    parts = frozen.split([matrix[0].numel() for matrix in bundle.matrices], dim=1)
    seen = torch.zeros(bundle.count, dtype=torch.float64)
    for stage, part in zip(bundle.stages, parts, strict=True):
        if isinstance(stage, KANStage):
            edges = (~part).view(bundle.count, -1, stage.per_input).any(2).sum(1)
            seen += edges * (stage.per_input - _unseen(stage.basis))
    return seen


@dataclass(frozen=True)
class Observations:
    """How many values were observed, by weight, and whether their noise is known, as for a negative log-likelihood."""

    number: float
    noise_known: bool

    @classmethod
    def of(cls, data: Data, loss: Loss) -> "Observations":
        """What a table tells about itself; each row holds one class or several target values."""
        return cls(data.total * (1 if loss.noise_known else data.y.shape[1]), loss.noise_known)


def evidence(
    strength: Float[Tensor, " S"],
    penalty: Float[Tensor, "S P P"],
    hessian: Float[Tensor, "S P P"],
    bundle: Bundle,
    losses: Float[Tensor, " S"],
    frozen: Bool[Tensor, "S P"],
    observed: Observations,
) -> Float[Tensor, " S"]:
    """The strength that maximises the evidence of the data, one step of the fixed-point iteration.

    MacKay 1992 (Bayesian interpolation, eqs. 4.8 to 4.11) with the Gauss-Newton matrix for the Hessian (Foresee and
    Hagan 1997): the strength is the noise variance times the number of penalised directions the data determine, over
    the roughness. Without noise it goes to zero by itself; with more parameters than data it stays where the data allow.

    Args:
        strength: Present strength of each network.
        penalty: Roughness as a quadratic form in the parameters.
        hessian: Gauss-Newton matrix of the mean loss, penalty not included.
        bundle: The networks.
        losses: Present mean losses.
        frozen: Parameters that take no part.
        observed: Number and kind of the observations.
    """
    directions = rank(bundle, frozen)
    parameters = bundle.flat()
    roughness = (parameters * torch.bmm(penalty, parameters.unsqueeze(-1)).squeeze(-1)).sum(1)
    whole = hessian + 2 * strength[:, None, None] * penalty
    diagonal = whole.diagonal(dim1=1, dim2=2)
    whole = whole + torch.diag_embed(1e-12 * diagonal.amax(1, keepdim=True).expand_as(diagonal))
    factor, failed = torch.linalg.cholesky_ex(whole)
    inverse = torch.cholesky_inverse(factor)
    penalised = directions - 2 * strength * (inverse * penalty).sum((1, 2))
    used = (inverse * hessian).sum((1, 2))
    number = observed.number
    noise = losses * number / (number - used).clamp_min(0.05 * number)
    scale = torch.full_like(noise, 0.5) if observed.noise_known else noise
    better = scale * penalised.clamp_min(1e-3) / (number * roughness.clamp_min(1e-300))
    better = torch.minimum(torch.maximum(better, strength / 100), strength * 100).clamp(1e-18, 1e6)
    return torch.where((failed == 0) & torch.isfinite(better) & (directions > 0), better, strength)


def _unseen(basis: Basis) -> int:
    """Directions of an edge without roughness: the base function and the polynomials below the penalised derivative."""
    return 1 + (basis.degree + 1 if isinstance(basis, BSpline) else 3)
