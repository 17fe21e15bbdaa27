"""The one verb: fit a network to a table."""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from numbers import Integral, Real
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from superpose.fitting.adam import adam
from superpose.fitting.bundle import Data
from superpose.fitting.lbfgs import lbfgs
from superpose.fitting.levenberg_marquardt import Smoothing
from superpose.fitting.losses import Loss
from superpose.fitting.problem import as_data, chosen_loss, is_fresh, scaled, set_scaling_
from superpose.fitting.sparsity import Release
from superpose.fitting.staged import Stages, adapt, follow_then_adapt, run_stages, sizes, stay
from superpose.fitting.starts import best_start
from superpose.fitting.watch import Record, Watch
from superpose.models import KAN, Network

Solver = Literal["auto", "lm", "lbfgs", "adam"]

MOST_WORK = 2e10
"""Multiplications in one Gauss-Newton matrix up to which `solver="auto"` takes Levenberg-Marquardt: about a second."""


@dataclass(frozen=True)
class Fit:
    """What `fit` gives back.

    Attributes:
        model: The best network seen: by the validation loss where there is one, else by the training loss.
        history: One record per step.
        solver: The solver that ran.
        stopped: Why it ended: "finished", "time" or "interrupted".
        seconds: How long it took.
        loss: The loss by which the model was judged, of standardised targets: 1 is as good as the mean.
    """

    model: Network
    history: list[Record]
    solver: str
    stopped: str
    seconds: float
    loss: float

    def __repr__(self) -> str:
        return (
            f"Fit of {self.model!r}: loss {self.loss:.3e} after {len(self.history)} steps of {self.solver} "
            f"in {self.seconds:.1f} s ({self.stopped})"
        )


def fit(  # noqa: PLR0913 - one verb for users, who name what they change
    model: Network,
    x: Any,
    y: Any,
    *,
    sample_weight: Any = None,
    validation: float | Sequence[Any] | None = None,
    loss: str | Loss | Callable[[Tensor, Tensor], Tensor] = "mse",
    solver: Solver = "auto",
    intervals: Sequence[int] | Literal["auto"] | None = None,
    smoothing: float | Literal["auto"] = "auto",
    sparsity: float = 0.0,
    starts: int | None = None,
    move: bool = True,
    max_iter: int | None = None,
    max_time: float | None = None,
    seed: int = 0,
    verbose: int = 0,
) -> Fit:
    """Fit a network to a table held in memory and return the best one seen; `model` stays as it is.

    Inputs are scaled into [-1, 1] and targets to mean 0 (but for outputs that are products) and variance 1, and the
    scaling is kept in the new model, which takes and gives the units of the data. A model that has its units already
    keeps them, so that a fit can go on from another.

    Levenberg-Marquardt (Marquardt 1963; Madsen, Nielsen and Tingleff 2004, section 3.2) fits small networks to full
    precision, with a penalty on rough edges (Eilers and Marx 1996) whose strength the data choose (MacKay 1992).

    Args:
        model: A `KAN` or `MLP`, whose dtype and shape the result keeps.
        x: Finite numbers, a row for each sample: a tensor, array, data frame or lists.
        y: Targets of each row; class numbers from 0 for cross-entropy.
        sample_weight: How often each row counts, 0 for never; once if None. A function of your own that returns a
            scalar cannot be weighted.
        validation: Rows that choose among the steps and end the fit, but are never fitted: a share such as 0.2, or
            `(x, y)` or `(x, y, sample_weight)`. None uses all rows for the fit, since a penalty guards small tables.
        loss: "mse", "huber" (outliers), "cross_entropy" (classes; outputs are logits), or a function of predictions
            and targets in the units of the data that gives a scalar or a value for each row.
        solver: "lm", "lbfgs", "adam", or "auto": second order where a step takes about a second at most, L-BFGS for
            larger problems and Adam on minibatches for the largest. The result names what ran.
        intervals: Increasing sizes of the grids to go through with Levenberg-Marquardt, such as `(5, 10, 20)`; "auto"
            doubles them until the held-out loss no longer gains, on a fifth of the rows if `validation` is None; None
            keeps the model's own.
        smoothing: Strength of the penalty; 0 for none, "auto" lets the evidence of the data choose. For "lm" only.
        sparsity: Strength of a penalty on the scores of the edges (see `attribute`): their sum and their entropy, layer
            by layer, against a loss of standardised targets. A network that pays it needs few edges, so that `prune`
            leaves few; 0.01 is a good first try with "lm" and "lbfgs", 0.1 with "adam". It holds over the first half of
            the steps, with "lm" over a first stage of three times `max_iter`, whose small edges then are zero for the
            rest of the fit if they are not worth their penalty. Then it is released, for it would bias what is left.
        starts: Fresh starts to choose from for "lm", the model itself among them; None tries more until one is near
            its data, since minimal shapes get stuck from most starts. A model that goes on has one.
        move: Whether units and grids follow the data; False for data that come in parts.
        max_iter: Steps for each size of the grids ("lm", 12), iterations ("lbfgs", 500) or passes ("adam", 100).
        max_time: Seconds after which the best so far is returned; the step under way is finished first.
        seed: Of everything random here. The caller's random state is neither used nor changed.
        verbose: 0 prints nothing; 1 shows one line on standard error.

    Returns:
        The best model, its history, and why the fit ended. Ctrl-C ends it too once a step is done.

    Raises:
        TypeError: If the model is not a network, or the data are not numbers.
        ValueError: If shapes do not match, a value is NaN or infinite, or an option cannot be.

    Example:
        >>> import torch
        >>> from superpose import KAN, fit
        >>> x = torch.linspace(0, 6, 100).unsqueeze(1)
        >>> model = KAN((1, 1), generator=torch.Generator().manual_seed(0))
        >>> result = fit(model, x, x.sin(), starts=1)
        >>> result.solver, result.stopped
        ('lm', 'finished')
        >>> bool((result.model(x) - x.sin()).abs().max() < 0.01)
        True
    """
    _check(model, solver, smoothing, sparsity, starts, max_iter, max_time)
    stages = sizes(model, intervals)
    if isinstance(intervals, str) and validation is None:
        validation = HELD_OUT
    generator = torch.Generator().manual_seed(seed)
    model, fresh = copy.deepcopy(model), move and is_fresh(model)
    loss = chosen_loss(loss, model)
    train, held_out = _split(as_data(model, loss, x, y, sample_weight), model, loss, validation, generator)
    if move:  # otherwise units and grids stay as they are, for data that come in parts
        set_scaling_(model, train, loss)
    train = scaled(model, train, loss)
    held_out = None if held_out is None else scaled(model, held_out, loss)
    solver = _chosen_solver(model, train, loss) if solver == "auto" else solver
    if solver == "lm":
        _check_second_order(model, loss)
    elif intervals is not None:
        raise ValueError(
            f"only Levenberg-Marquardt goes through intervals, not {solver!r}; call superpose.refine first."
        )
    watch = Watch(solver, held_out, max_time, verbose)
    stopped = "finished"
    try:
        if solver == "lm":
            start = best_start(model, train, loss, starts if fresh else 1, generator, watch)
            penalty = Smoothing() if smoothing == "auto" else Smoothing(smoothing, learned=False)
            grids = stay if not move else follow_then_adapt if fresh else adapt
            way = Stages(stages, max_iter or 12, penalty, grids, narrow=move, sparsity=sparsity)
            run_stages(model, start, train, loss, way, watch)
        else:
            _run(model, train, loss, generator, sparsity, max_iter or MOST_STEPS[solver], watch)
    except KeyboardInterrupt:
        if watch.best is None:
            raise
        stopped = "interrupted"
    finally:
        watch.close()
    if watch.best is None:
        raise ValueError("the loss was not a finite number at any step; scale the data, or look into the loss.")
    stopped = "time" if watch.done and stopped == "finished" else stopped
    judged = watch.best_loss if watch.history else watch.offered_loss
    return Fit(watch.best, watch.history, solver, stopped, watch.seconds, judged)


HELD_OUT = 0.2
"""Share of the rows that judges the grids when nobody says which rows should."""

MOST_STEPS = {"lbfgs": 500, "adam": 100}
"""Iterations or passes of a first-order fit."""

PATIENCE = 10
"""Steps without a better validation loss after which a first-order fit ends."""


def _run(
    model: Network, train: Data, loss: Loss, generator: torch.Generator, sparsity: float, most: int, watch: Watch
) -> None:
    """Steps of the first-order solver that the watch is for; it loses no patience while there is a penalty on scores."""
    held, since = Release(sparsity, most // 2), 0
    steps = adam(model, train, loss, generator, held) if watch.solver == "adam" else lbfgs(model, train, loss, held)
    for step, candidate in enumerate(islice(steps, most)):
        since = 0 if watch.see(candidate) or held.strength(step) else since + 1
        if watch.done or (watch.held_out is not None and since >= PATIENCE):
            break


def _check(
    model: Network,
    solver: str,
    smoothing: float | str,
    sparsity: float,
    starts: int | None,
    max_iter: int | None,
    max_time: float | None,
) -> None:
    """Raise for options that cannot be."""
    if not isinstance(model, Network):
        raise TypeError(f"model must be a superpose.KAN or superpose.MLP, got {type(model).__name__}.")
    if solver not in get_args(Solver):
        raise ValueError(f"solver is {solver!r}; choose one of {', '.join(get_args(Solver))}.")
    if smoothing != "auto" and not (isinstance(smoothing, Real) and 0 <= smoothing < math.inf):
        raise ValueError(f"smoothing is {smoothing!r}; it must be 'auto' or a number of at least 0.")
    if isinstance(sparsity, bool) or not (isinstance(sparsity, Real) and 0 <= sparsity < math.inf):
        raise ValueError(f"sparsity is {sparsity!r}; it must be a number of at least 0.")
    if sparsity and not isinstance(model, KAN):
        raise ValueError(f"sparsity is {sparsity!r}, but a {type(model).__name__} has no edges; take 0.")
    for name, value in (("starts", starts), ("max_iter", max_iter)):
        if value is not None and not (isinstance(value, Integral) and value >= 1):
            raise ValueError(f"{name} is {value!r}; it must be an integer of at least 1.")
    if max_time is not None and not (isinstance(max_time, Real) and max_time > 0):
        raise ValueError(f"max_time is {max_time!r}; it must be a positive number of seconds.")


def _check_second_order(model: Network, loss: Loss) -> None:
    """Raise where Levenberg-Marquardt cannot go."""
    if not loss.second_order:
        raise ValueError("Levenberg-Marquardt needs a named loss; for a function of your own choose 'lbfgs' or 'adam'.")
    if not _all_trainable(model):
        raise ValueError("Levenberg-Marquardt moves all parameters; with frozen ones choose 'lbfgs' or 'adam'.")


def _all_trainable(model: Network) -> bool:
    return all(parameter.requires_grad for parameter in model.parameters())


def _chosen_solver(model: Network, train: Data, loss: Loss) -> Solver:
    """Second order where a Gauss-Newton matrix is cheap, quasi-Newton for mid-size tables, Adam for large ones."""
    work = len(train) * model.widths[-1] * model.num_parameters**2
    if loss.second_order and work <= MOST_WORK and _all_trainable(model):
        return "lm"
    return "lbfgs" if len(train) * model.num_parameters <= MOST_WORK**0.5 * 100 else "adam"


def _split(
    data: Data, model: Network, loss: Loss, validation: float | Sequence[Any] | None, generator: torch.Generator
) -> tuple[Data, Data | None]:
    """Training and held-out rows."""
    if validation is None:
        return data, None
    if not isinstance(validation, (int, float)):
        if len(validation) not in (2, 3):
            raise ValueError("validation must be a share such as 0.2, (x, y) or (x, y, sample_weight).")
        return data, as_data(model, loss, *validation)
    if not 0 < validation < 1:
        raise ValueError(f"validation is {validation}; a share must lie between 0 and 1.")
    held = round(validation * len(data))
    if held < 1 or held >= len(data):
        raise ValueError(
            f"validation={validation} of {len(data)} rows leaves no rows to {'judge by' if held < 1 else 'fit'}."
        )
    order = torch.randperm(len(data), generator=generator)
    return data.rows(order[held:]), data.rows(order[:held])
