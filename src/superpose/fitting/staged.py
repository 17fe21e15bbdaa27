"""Levenberg-Marquardt on finer and finer grids."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice, pairwise
from typing import Literal

from superpose.bases import BSpline, Wavelet
from superpose.fitting.bundle import Bundle, Data
from superpose.fitting.levenberg_marquardt import Regrid, Smoothing, levenberg_marquardt
from superpose.fitting.losses import Loss
from superpose.fitting.narrow import narrowed
from superpose.fitting.problem import reach
from superpose.fitting.sparsity import Sparsity
from superpose.fitting.stages import KANStage
from superpose.fitting.starts import shown
from superpose.fitting.thin import thinned
from superpose.fitting.watch import Record, Watch
from superpose.models import KAN, Network

GAIN = 0.95
"""Share of the held-out loss that must be left, at most, for still finer grids to be worth trying."""

NEAR = 1e-3
"""Loss of standardised targets below which a network has found its data, and may turn out wider than it needs to be."""

SPARSE = 3
"""Steps of the stage with a penalty on scores for each step of another: edges go slowly."""

Grids = Callable[[int, int, Data], Regrid]
"""How grids behave, given the number of the stage, its steps and the data."""


@dataclass(frozen=True)
class Stages:
    """The way a fit goes.

    Attributes:
        sizes: Sizes of the grids to go through.
        steps: Steps on each.
        smoothing: The penalty to start with.
        grids: How the grids behave.
        narrow: Whether nodes that are not needed may go.
        sparsity: Strength of the penalty on the scores of edges in a first stage of its own, 0 for none.
    """

    sizes: list[int]
    steps: int
    smoothing: Smoothing
    grids: Grids
    narrow: bool
    sparsity: float = 0.0


def run_stages(model: Network, bundle: Bundle, train: Data, loss: Loss, stages: Stages, watch: Watch) -> None:
    """Fit stage after stage, showing `watch` every step, until the held-out loss no longer gains."""
    smoothing = stages.smoothing
    if stages.sparsity:
        bundle, smoothing = _sparse(model, bundle, train, loss, stages, watch)
    for number, size in enumerate(stages.sizes):
        before = watch.best_loss
        if size != bundle.intervals:
            bundle = bundle.refined(size)
        bundle, smoothing = _steps(model, bundle, train, loss, stages, number, smoothing, watch)
        reached = watch.history[-1].train_loss
        if stages.narrow and reached < NEAR and not watch.done:
            order = _order(bundle, watch.history, size)
            slim = narrowed(bundle, reached, train, loss, smoothing, watch, order)
            if slim is not bundle:
                watch.accept(shown(model, slim, float(slim.losses(train, loss)[0]), loss))
                bundle, smoothing = _steps(model, slim, train, loss, stages, number + 1, smoothing, watch)
        if watch.done or (number and watch.held_out is not None and watch.best_loss > GAIN * before):
            return


def _order(bundle: Bundle, history: list[Record], size: int) -> float:
    """Power of the number of parameters by which the squared error falls, if the last refinement showed half of it.

    Splines of degree k approximate to the order k + 1 (de Boor, A Practical Guide to Splines, chapter XII). Noise ends it.
    """
    coarser = [record for record in history if 0 < record.intervals < size]
    if not coarser or not isinstance(bundle.stages[0], KANStage) or not isinstance(bundle.stages[0].basis, BSpline):
        return 0.0
    order = 2.0 * (bundle.stages[0].basis.degree + 1)
    finer = size / coarser[-1].intervals
    return order if coarser[-1].train_loss > history[-1].train_loss * finer ** (order / 2) else 0.0


def _sparse(
    model: Network, bundle: Bundle, train: Data, loss: Loss, stages: Stages, watch: Watch
) -> tuple[Bundle, Smoothing]:
    """The stage with the penalty on scores, and the edges that are left of it."""
    sparsity = Sparsity.of(stages.sparsity, model, train)
    longer = replace(stages, steps=SPARSE * stages.steps)
    penalised = replace(stages.smoothing, sparsity=sparsity)
    bundle, smoothing = _steps(model, bundle, train, loss, longer, 0, penalised, watch)
    smoothing = replace(smoothing, sparsity=None)
    bundle = thinned(bundle, train, loss, smoothing, sparsity, watch)
    # What was seen before had edges that are gone now, and may have done a little better by them.
    watch.accept(shown(model, bundle, float(bundle.losses(train, loss)[0]), loss))
    return bundle, smoothing


def _steps(
    model: Network,
    bundle: Bundle,
    train: Data,
    loss: Loss,
    stages: Stages,
    number: int,
    smoothing: Smoothing,
    watch: Watch,
) -> tuple[Bundle, Smoothing]:
    """The steps of one stage, and where they lead."""
    regrid = stages.grids(number, stages.steps, train)
    damping = 1e-2 if number == 0 else 1e-4
    # A new grid starts worse than the old one ended; until it has caught up the old one is the best.
    reached = watch.best_loss
    states = levenberg_marquardt(bundle, train, loss, smoothing, regrid, damping)
    for done, state in enumerate(islice(states, stages.steps), start=1):
        bundle = state.bundle
        smoothing = replace(smoothing, strength=float(state.strength[0]))
        loss_now = float(state.losses[0])
        watch.see(
            shown(model, bundle, loss_now, loss), newest=number == 0 or done == stages.steps or loss_now <= reached
        )
        if watch.done:
            break
    return bundle, smoothing


def sizes(model: Network, intervals: Sequence[int] | Literal["auto"] | None) -> list[int]:
    """Sizes of the grids a fit goes through; 0 for a perceptron, which has none."""
    if not isinstance(model, KAN):
        if intervals is not None:
            raise ValueError(f"intervals are those of a KAN; a {type(model).__name__} has none.")
        return [0]
    own = model.layers[0].basis.size
    if intervals is None:
        return [own]
    if isinstance(intervals, str) and intervals == "auto":
        wavelets = isinstance(model.layers[0].basis, Wavelet)  # another level doubles them
        return list(range(own, 11)) if wavelets else [max(own, 1) * 2**power for power in range(6)]
    if isinstance(intervals, str) or not isinstance(intervals, Iterable):
        raise ValueError(f"intervals must be 'auto' or a row of sizes such as (5, 10, 20), got {intervals!r}.")
    wanted = [int(size) for size in intervals]
    rising = all(coarse < fine for coarse, fine in pairwise(wanted))
    if wanted != list(intervals) or not wanted or wanted[0] < 1 or not rising:
        raise ValueError(f"intervals must be positive integers that increase such as (5, 10, 20), got {intervals!r}.")
    return wanted


def stay(number: int, steps: int, train: Data) -> Regrid:
    """Grids stay where they are."""
    return lambda step, bundle: None


def follow(number: int, steps: int, train: Data) -> Regrid:
    """While a fit finds its shape, hidden grids go where their data are: every second step of the first half."""

    def regrid(step: int, bundle: Bundle) -> Bundle | None:
        moving = step % 2 == 0 and step < steps // 2
        return bundle.moved(train, uniform=0.5, margin=reach(train.total)) if moving else None

    return regrid


def adapt(number: int, steps: int, train: Data) -> Regrid:
    """When its shape is found, knots go where the functions need them, and grids keep to the range of their data."""
    margin = reach(train.total)

    def regrid(step: int, bundle: Bundle) -> Bundle | None:
        if step in (0, 2):
            return bundle.stretched(train, margin=margin)
        return bundle.refined(bundle.intervals).stretched(train, margin=margin) if step == 4 else None

    return regrid


def follow_then_adapt(number: int, steps: int, train: Data) -> Regrid:
    """Follow the data on the first grid and adapt to the functions on the finer ones."""
    return (adapt if number else follow)(number, steps, train)
