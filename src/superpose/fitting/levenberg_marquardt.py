"""Levenberg-Marquardt for several networks side by side.

Gauss-Newton steps with Marquardt's diagonal damping and Nielsen's rule for it (Madsen, Nielsen and Tingleff 2004,
Methods for non-linear least squares problems, section 3.2), for any loss with a positive curvature. Between steps the
grids of the hidden layers follow their data.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from superpose.fitting.bundle import Bundle, Data
from superpose.fitting.losses import Loss
from superpose.fitting.roughness import assembled, evidence, penalty_blocks, rank


@dataclass(frozen=True)
class Smoothing:
    """The roughness penalty, relative to a loss of order one, and a ridge that only keeps arithmetic in bounds.

    A learned strength starts at `strength` and follows the evidence of the data.
    """

    strength: float = 1e-8
    learned: bool = True
    ridge: float = 1e-16


Regrid = Callable[[int, Bundle], Bundle | None]
"""Asked before each step for the networks on other grids; None leaves them."""


@dataclass(frozen=True)
class State:
    """Where the networks stand after a step: the bundle and the loss of each network, penalties not counted."""

    bundle: Bundle
    losses: Float[Tensor, " S"]
    strength: Float[Tensor, " S"]


@torch.no_grad()
def levenberg_marquardt(
    bundle: Bundle, data: Data, loss: Loss, smoothing: Smoothing, regrid: Regrid, damping: float = 1e-2
) -> Iterator[State]:
    """Yield the state after each step, for as long as the caller asks for more.

    A network whose step fails keeps its parameters and is damped more; a non-finite trial is a failed step.
    """
    damp = torch.full((bundle.count,), damping, dtype=data.x.dtype)
    growth = torch.full_like(damp, 2.0)
    step = 0
    fresh = True
    strength = torch.full_like(damp, smoothing.strength)
    frozen = bundle.frozen()
    directions = rank(bundle, frozen)
    while True:
        moved = regrid(step, bundle)
        if moved is not None:
            bundle, fresh = moved, True
        if fresh:
            roughness = _without(assembled(bundle, penalty_blocks(bundle, data.x)), frozen)
            losses = bundle.losses(data, loss)
            fresh = False
        parameters = bundle.flat()
        gradient, hessian = bundle.normal_equations(data, loss)
        gradient, hessian = gradient.masked_fill(frozen, 0), _without(hessian, frozen)
        if smoothing.learned and step and bool((directions > 0).all()):
            strength = evidence(
                strength,
                roughness,
                hessian,
                (parameters * _times(roughness, parameters)).sum(1),
                losses,
                directions,
                data.total * bundle.matrices[-1].shape[1] ** (not loss.noise_known),
                loss.noise_known,
            )
        penalty = strength[:, None, None] * roughness
        penalty.diagonal(dim1=1, dim2=2).add_(smoothing.ridge)
        pulled = _times(penalty, parameters)
        scale = _scale(hessian)
        gradient, hessian = gradient + 2 * pulled, hessian + 2 * penalty
        hessian.diagonal(dim1=1, dim2=2).add_(frozen)
        objective = losses + (parameters * pulled).sum(1)
        for _ in range(MOST_TRIALS):
            change = _damped_step(gradient, hessian, damp.unsqueeze(1) * scale)
            trial = bundle.with_flat(parameters + change)
            trial_losses = trial.losses(data, loss)
            trial_objective = trial_losses + ((parameters + change) * _times(penalty, parameters + change)).sum(1)
            predicted = -(gradient * change).sum(1) - (change * _times(hessian, change)).sum(1) / 2
            better = trial_objective < objective
            gain = torch.where(better, (objective - trial_objective) / predicted.clamp_min(1e-300), 0.0)
            eased = (1 - (2 * gain - 1) ** 3).clamp(1 / 3, 2)
            damp = torch.where(better, damp * eased, damp * growth).clamp(1e-16, 1e10)
            growth = torch.where(better, 2.0, (2 * growth).clamp(max=64))
            if bool(better.any()):
                break
        else:  # as good as it gets, but a new strength of the penalty or new grids may change that
            damp, growth = torch.full_like(damp, damping), torch.full_like(growth, 2.0)
        bundle = bundle.with_flat(torch.where(better.unsqueeze(1), parameters + change, parameters))
        losses = torch.where(better, trial_losses, losses)
        step += 1
        yield State(bundle, losses, strength)


MOST_TRIALS = 8
"""Dampings tried before a step is given up; with several networks one success is enough to go on."""


def _times(matrix: Float[Tensor, "S P P"], vector: Float[Tensor, "S P"]) -> Float[Tensor, "S P"]:
    return torch.bmm(matrix, vector.unsqueeze(-1)).squeeze(-1)


def _without(matrix: Float[Tensor, "S P P"], frozen: Bool[Tensor, "S P"]) -> Float[Tensor, "S P P"]:
    """The matrix with the rows and columns of frozen parameters set to zero."""
    return matrix.masked_fill(frozen.unsqueeze(1) | frozen.unsqueeze(2), 0)


def _scale(hessian: Float[Tensor, "S P P"]) -> Float[Tensor, "S P"]:
    """What damping is measured by: the curvature of the loss alone, next to which that of a penalty may be immense."""
    diagonal = hessian.diagonal(dim1=1, dim2=2)
    return diagonal + 1e-6 * diagonal.amax(1, keepdim=True)


def _damped_step(
    gradient: Float[Tensor, "S P"], hessian: Float[Tensor, "S P P"], damp: Float[Tensor, "S P"]
) -> Float[Tensor, "S P"]:
    """Solve the damped equations; a network whose matrix is not positive definite gets no step."""
    factor, failed = torch.linalg.cholesky_ex(hessian + torch.diag_embed(damp))
    change = -torch.cholesky_solve(gradient.unsqueeze(-1), factor).squeeze(-1)
    usable = (failed == 0) & torch.isfinite(change).all(1)
    return torch.where(usable.unsqueeze(1), change, torch.zeros_like(change))
