"""Levenberg-Marquardt for several networks side by side.

Gauss-Newton steps with Marquardt's diagonal damping and Nielsen's rule for it (Madsen, Nielsen and Tingleff 2004,
Methods for non-linear least squares problems, section 3.2), for any loss with a positive curvature. Between steps the
grids of the hidden layers follow their data.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import count, islice

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from superpose.fitting.bundle import Bundle, Data
from superpose.fitting.losses import Loss
from superpose.fitting.roughness import Observations, Penalty, evidence
from superpose.fitting.sparsity import Sparsity
from superpose.fitting.watch import Watch


@dataclass(frozen=True)
class Smoothing:
    """The penalties, relative to a loss of order one.

    That on roughness, whose strength, if learned, starts at `strength` and follows the evidence of the data; a ridge
    that only keeps arithmetic in bounds; and one on the scores of the edges, if any, for a single network.
    """

    strength: float = 1e-8
    learned: bool = True
    ridge: float = 1e-16
    sparsity: Sparsity | None = None


Regrid = Callable[[int, Bundle], Bundle | None]
"""Asked before each step for the networks on other grids; None leaves them."""


@dataclass(frozen=True)
class State:
    """Where the networks stand after a step: the bundle and the loss of each network, penalties not counted."""

    bundle: Bundle
    losses: Float[Tensor, " S"]
    strength: Float[Tensor, " S"]


def last(states: Iterator[State], most: int, watch: Watch) -> State:
    """Where the networks stand after so many steps, or when the time is up."""
    reached = next(states)
    for reached in islice(states, most - 1):  # noqa: B007 - the last one counts
        if watch.done:
            break
    return reached


@torch.no_grad()
def levenberg_marquardt(
    bundle: Bundle, data: Data, loss: Loss, smoothing: Smoothing, regrid: Regrid, damping: float = 1e-2
) -> Iterator[State]:
    """Yield the state after each step, for as long as the caller asks for more.

    A network whose step fails keeps its parameters and is damped more; a non-finite trial is a failed step.
    """
    damp = Damping.of(bundle.count, damping)
    strength = data.x.new_full((bundle.count,), smoothing.strength)
    frozen = bundle.frozen()
    idle = bool(frozen.any())
    observed = Observations.of(data, loss)
    outputs = bundle.hidden(data.x)[-1]
    losses = data.mean_loss(outputs, loss)
    penalty = Penalty.of(bundle, data.x, frozen)
    for step in count():
        moved = regrid(step, bundle)
        if moved is not None:
            bundle = moved
            penalty = Penalty.of(bundle, data.x, frozen)
            outputs = bundle.hidden(data.x)[-1]
            losses = data.mean_loss(outputs, loss)
        gradient, hessian = bundle.normal_equations(data, loss, outputs)
        if idle:
            gradient, hessian = gradient.masked_fill_(frozen, 0), _without_(hessian, frozen)
        parameters = bundle.flat()
        if smoothing.learned and step:
            strength = evidence(strength, penalty, hessian, parameters, losses, observed)
        here = Quadratic.of_(parameters, losses, gradient, hessian, penalty, strength, smoothing.ridge)
        here = here.with_sparsity(smoothing.sparsity, bundle, frozen)
        for _ in range(MOST_TRIALS):
            change = here.step(damp.value, frozen)
            moved_to = parameters + change
            trial = bundle.with_flat(moved_to)
            trial_outputs = trial.hidden(data.x)[-1]
            trial_losses = data.mean_loss(trial_outputs, loss)
            gained = here.objective - here.penalised(moved_to, trial_losses, smoothing.sparsity, trial)
            better = gained > 0
            damp = damp.after(better, gained / here.predicted(change))
            if bool(better.any()):
                break
        else:  # as good as it gets, but a new strength of the penalty or new grids may change that
            damp = Damping.of(bundle.count, damping)
        bundle = bundle.with_flat(torch.where(better.unsqueeze(1), moved_to, parameters))
        losses = torch.where(better, trial_losses, losses)
        outputs = torch.where(better[:, None, None], trial_outputs, outputs)
        yield State(bundle, losses, strength)


@dataclass(frozen=True)
class Damping:
    """Nielsen's rule: after a good step the damping eases by how good it was, after failures it grows faster and faster."""

    value: Float[Tensor, " S"]
    growth: Float[Tensor, " S"]

    @classmethod
    def of(cls, networks: int, value: float) -> "Damping":
        """The damping to start with."""
        return cls(
            torch.full((networks,), value, dtype=torch.float64), torch.full((networks,), 2.0, dtype=torch.float64)
        )

    def after(self, better: Bool[Tensor, " S"], gain: Float[Tensor, " S"]) -> "Damping":
        """The damping after a trial; `gain` is the ratio of what was gained to what the quadratic model foretold."""
        eased = (1 - (2 * torch.where(better, gain, 0.0) - 1) ** 3).clamp(1 / 3, 2)
        value = self.value * torch.where(better, eased, self.growth)
        return Damping(value.clamp(1e-16, 1e10), torch.where(better, 2.0, (2 * self.growth).clamp(max=64)))


@dataclass(frozen=True)
class Quadratic:
    """The penalised loss around the present parameters, as a quadratic function of a change."""

    parameters: Float[Tensor, "S P"]
    penalty: Penalty
    strength: Float[Tensor, " S"]
    ridge: float
    objective: Float[Tensor, " S"]
    gradient: Float[Tensor, "S P"]
    hessian: Float[Tensor, "S P P"]
    scale: Float[Tensor, "S P"]

    @classmethod
    def of_(
        cls,
        parameters: Float[Tensor, "S P"],
        losses: Float[Tensor, " S"],
        gradient: Float[Tensor, "S P"],
        hessian: Float[Tensor, "S P P"],
        penalty: Penalty,
        strength: Float[Tensor, " S"],
        ridge: float,
    ) -> "Quadratic":
        """Add the penalty to a loss, in place in its matrix.

        Damping is measured by the loss alone: a penalty's curvature may be immense.
        """
        diagonal = hessian.diagonal(dim1=1, dim2=2)
        scale = diagonal + 1e-6 * diagonal.amax(1, keepdim=True)
        rough = _times(penalty.root, parameters)
        whole = hessian.addcmul_(penalty.form, (2 * strength)[:, None, None])
        whole.diagonal(dim1=1, dim2=2).add_(2 * ridge)
        slope = gradient + 2 * (strength.unsqueeze(1) * _times(penalty.root.mT, rough) + ridge * parameters)
        objective = losses + strength * rough.square().sum(1) + ridge * parameters.square().sum(1)
        return cls(parameters, penalty, strength, ridge, objective, slope, whole, scale)

    def with_sparsity(self, sparsity: Sparsity | None, bundle: Bundle, frozen: Bool[Tensor, "S P"]) -> "Quadratic":
        """With the penalty on scores, if there is one; damping stays measured by the loss alone."""
        if sparsity is None:
            return self
        other = sparsity.expansion(bundle)
        return replace(
            self,
            objective=self.objective + other.value,
            gradient=self.gradient + other.gradient.masked_fill(frozen, 0),
            hessian=self.hessian + _without_(other.curvature, frozen),
        )

    def penalised(
        self, parameters: Float[Tensor, "S P"], losses: Float[Tensor, " S"], sparsity: Sparsity | None, bundle: Bundle
    ) -> Float[Tensor, " S"]:
        """Losses with the penalties of other parameters, which are those of the bundle."""
        rough = self.penalty.roughness(parameters)
        scores = 0.0 if sparsity is None else sparsity.value(bundle)
        return losses + self.strength * rough + self.ridge * parameters.square().sum(1) + scores

    def step(self, damp: Float[Tensor, " S"], frozen: Bool[Tensor, "S P"]) -> Float[Tensor, "S P"]:
        """Solve the damped equations; a network whose matrix is not positive definite gets no step."""
        damped = self.hessian.clone()
        damped.diagonal(dim1=1, dim2=2).add_(damp.unsqueeze(1) * self.scale + frozen)
        factor, failed = torch.linalg.cholesky_ex(damped)
        change = -torch.cholesky_solve(self.gradient.unsqueeze(-1), factor).squeeze(-1)
        usable = (failed == 0) & torch.isfinite(change).all(1)
        return torch.where(usable.unsqueeze(1), change, torch.zeros_like(change))

    def predicted(self, change: Float[Tensor, "S P"]) -> Float[Tensor, " S"]:
        """What the quadratic model says a change gains."""
        gain = -(self.gradient * change).sum(1) - (change * _times(self.hessian, change)).sum(1) / 2
        return gain.clamp_min(1e-300)


MOST_TRIALS = 8
"""Dampings tried before a step is given up; with several networks one success is enough to go on."""


def _times(matrix: Float[Tensor, "S R P"], vector: Float[Tensor, "S P"]) -> Float[Tensor, "S R"]:
    return torch.bmm(matrix, vector.unsqueeze(-1)).squeeze(-1)


def _without_(matrix: Float[Tensor, "S P P"], frozen: Bool[Tensor, "S P"]) -> Float[Tensor, "S P P"]:
    """The matrix with the rows and columns of frozen parameters set to zero."""
    return matrix.masked_fill_(frozen.unsqueeze(1) | frozen.unsqueeze(2), 0)
