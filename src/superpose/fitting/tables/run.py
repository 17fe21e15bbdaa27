"""Fits noisy tables: an additive model first, then a network that starts from it, each as wiggly as the data allow.

Small tables take Gauss-Newton with penalties chosen by the evidence, which needs no held-out rows and tells whether the
network is worth having beyond the additive model. Larger ones take Adam and a held-out part.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from superpose.bases import BSpline
from superpose.fitting.losses import CrossEntropy, Loss, MeanSquaredError
from superpose.fitting.tables.averaged_adam import table_adam
from superpose.fitting.tables.gauss_newton import Priors, evidence_fit
from superpose.fitting.tables.natural import Natural
from superpose.fitting.tables.network import HiddenFunctions, Rows, TableNetwork, mean_loss
from superpose.fitting.tables.options import Journal, TableOptions
from superpose.models import KAN

MOST_WORK = 3e9
"""Multiplications in one Gauss-Newton matrix up to which the evidence is worth its time."""

MOST_PARAMETERS = 700
HIDDEN_FUNCTIONS = 5

MARGIN = 0.1
"""Width of the interval for each tail, as a share of the width of the bulk."""

MOST_STEPS = 40
"""Steps of second order after which a fit ends in any case."""

FEW_ROWS = 1000
"""Rows below which nothing is held out by itself: a tenth of so few would judge badly."""


@dataclass(frozen=True)
class Units:
    """Means and spreads of inputs and targets."""

    x_mean: Float[Tensor, " inputs"]
    x_scale: Float[Tensor, " inputs"]
    y_mean: Float[Tensor, " outputs"]
    y_scale: Float[Tensor, " outputs"]


@dataclass(frozen=True)
class TableFit:
    """What a fit gives: the network in both forms, and how it went."""

    model: KAN
    network: TableNetwork
    units: Units
    solver: str
    losses: list[float]
    validation_losses: list[float]
    stopped: str
    seconds: float

    def __repr__(self) -> str:
        return (
            f"Fit of {self.model!r}: loss {self.losses[-1]:.3e} after {len(self.losses)} steps of {self.solver} "
            f"in {self.seconds:.1f} s ({self.stopped})"
        )


class Logistic(Loss):
    """Negative log-likelihood of two classes, from the logit of the second."""

    noise_known = True

    def values(self, outputs: Float[Tensor, "*S N K"], targets: Tensor) -> Float[Tensor, "*S N"]:
        logit = outputs.squeeze(-1)
        return nn.functional.softplus(logit) - targets * logit

    def slopes(self, outputs: Float[Tensor, "S N K"], targets: Tensor) -> Float[Tensor, "S N K"]:
        return outputs.sigmoid() - targets.unsqueeze(-1)

    def rooted(
        self, jacobian: Float[Tensor, "S N K P"], outputs: Float[Tensor, "S N K"], targets: Tensor
    ) -> Float[Tensor, "S N K P"]:
        share = outputs.sigmoid()
        return jacobian * (share * (1 - share)).sqrt().unsqueeze(-1)


def fit_table(
    x: Float[Tensor, "N inputs"],
    y: Tensor,
    weight: Float[Tensor, " N"],
    classes: int,
    options: TableOptions,
    *,
    earlier: TableFit | None = None,
    show: Callable[[str], None] = lambda line: None,
) -> TableFit:
    """Fit a table of finite float64 numbers.

    Args:
        x: Inputs.
        y: Targets, one column per output, or class numbers.
        weight: Repetitions of the rows.
        classes: Number of classes, 0 for regression.
        options: How to fit.
        earlier: A fit to go on from, with its units and grids, where the data still have such units.
        show: Called with a line of text after each step.
    """
    journal = Journal(options.max_time, show)
    generator = torch.Generator().manual_seed(options.seed)
    kept = weight > 0
    x, y, weight = x[kept], y[kept], weight[kept]
    # Weights below one on average are not repetitions; they are taken as relative.
    count = max(float(weight.sum()), float(len(weight)))
    weight = weight / weight.sum()
    units = _units(x, y, weight, classes)
    if earlier is not None and _alike(units, earlier.units):
        units = earlier.units
    else:
        earlier = None
    scaled = (x - units.x_mean) / units.x_scale
    inputs = _natural_inputs(scaled, weight, count, options) if earlier is None else earlier.network.inputs
    targets = (
        (y - units.y_mean) / units.y_scale if classes == 0 else y.to(torch.float64 if classes == 2 else torch.long)
    )
    rows = Rows(inputs(scaled), targets, weight, count)
    loss: Loss = MeanSquaredError() if classes == 0 else Logistic() if classes == 2 else CrossEntropy()
    outputs = len(units.y_mean) if classes != 2 else 1
    with torch.no_grad():
        network, solver = _fitted(rows, loss, outputs, inputs, options, earlier, generator, journal)
    if journal.late:
        journal.stopped = "time"
    return TableFit(
        _as_model(network, units, classes), network, units, solver,
        journal.losses, journal.validation_losses, journal.stopped, journal.seconds,
    )  # fmt: skip


def _fitted(
    rows: Rows,
    loss: Loss,
    outputs: int,
    inputs: Natural,
    options: TableOptions,
    earlier: TableFit | None,
    generator: torch.Generator,
    journal: Journal,
) -> tuple[TableNetwork, str]:
    """The network and the name of the solver that made it."""
    hidden = HiddenFunctions.of(options.intervals, options.degree, HIDDEN_FUNCTIONS)
    widths, solver = _plan(rows, outputs, options)
    stopping = options.early_stopping if options.early_stopping is not None else solver == "adam"
    held_out = None
    if stopping:
        rows, held_out = _split(rows, options.validation_fraction, generator)
    best = None
    if earlier is not None:
        network = earlier.network
    else:
        additive = TableNetwork(inputs, hidden, [_constants(rows, loss, outputs)])
        if additive.flat().numel() <= MOST_PARAMETERS:
            best = _run_evidence(additive, rows, held_out, loss, replace(options, max_iter=8), 1, journal)
            additive = best.network
        if not widths:
            return additive, solver
        network = TableNetwork.start(inputs, hidden, widths, additive.matrices[0], generator)
    if solver == "adam":
        return table_adam(network, rows, held_out, loss, options, generator, journal), solver
    found = _run_evidence(network, rows, held_out, loss, options, 5, journal)
    if best is not None and not found.score < best.score:
        return TableNetwork.start(inputs, hidden, (), best.network.matrices[0], generator), solver
    return found.network, solver


def _run_evidence(
    network: TableNetwork,
    rows: Rows,
    held_out: Rows | None,
    loss: Loss,
    options: TableOptions,
    wait: int,
    journal: Journal,
) -> "Scored":
    """The best of the steps: by the held-out loss, or by the evidence once the precisions have settled."""
    outputs = network.matrices[-1].shape[0]
    priors = Priors.of(network, outputs, 2.0 * len(network.inputs.maps), options.alpha)
    best, since = Scored(network, float("inf")), 0
    for step, estimate in enumerate(
        islice(evidence_fit(network, rows, loss, priors, wait), min(MOST_STEPS, options.max_iter))
    ):
        validation = None if held_out is None else mean_loss(estimate.network, held_out, loss)
        journal.note("lm", estimate.loss, validation)
        score = (estimate.surprise + len(priors.precision)) / rows.count if validation is None else validation
        # Before the precisions have settled, the evidence says little: the latest step counts as the best.
        settling = validation is None and step < 2 * wait + 1
        since = 0 if settling or score < best.score - options.tol else since + 1
        if settling or score < best.score:
            best = Scored(estimate.network, score)
        if journal.late or since >= max(2, options.patience // 3):
            break
    return best


@dataclass(frozen=True)
class Scored:
    """A network and how bad it is."""

    network: TableNetwork
    score: float


def _plan(rows: Rows, outputs: int, options: TableOptions) -> tuple[tuple[int, ...], str]:
    """Widths and solver: second order as long as it is cheap, and no more parameters than a small table bears."""

    def size(hidden: tuple[int, ...]) -> int:
        nodes = [*(width + outputs for width in hidden), outputs]
        functions = [rows.features.shape[1], *(width * HIDDEN_FUNCTIONS for width in nodes[:-1])]
        return sum((number + 1) * width for number, width in zip(functions, nodes, strict=True))

    def cheap(hidden: tuple[int, ...]) -> bool:
        return size(hidden) <= MOST_PARAMETERS and len(rows) * outputs * size(hidden) ** 2 <= MOST_WORK

    if options.hidden is not None:
        solver = "lm" if cheap(options.hidden) else "adam"
        return options.hidden, solver if options.solver == "auto" else options.solver
    small = len(rows) < FEW_ROWS
    if options.solver == "adam" or (options.solver == "auto" and not small and not cheap((4,))):
        return (32,), "adam"
    fitting = [width for width in (8, 4, 2) if cheap((width,)) and size((width,)) <= 2 * rows.count * outputs]
    return ((fitting[0],) if fitting else ()), "lm"


def _constants(rows: Rows, loss: Loss, outputs: int) -> Tensor:
    """An additive model that knows only how frequent the classes are."""
    start = torch.zeros(outputs, rows.features.shape[1] + 1, dtype=torch.float64)
    if isinstance(loss, CrossEntropy):
        share = torch.bincount(rows.targets, rows.weight, outputs).clamp_min(1e-4)
        start[:, -1] = share.log() - share.log().mean()
    elif isinstance(loss, Logistic):
        start[:, -1] = (rows.weight * rows.targets).sum().clamp(1e-4, 1 - 1e-4).logit()
    return start


def _split(rows: Rows, share: float, generator: torch.Generator) -> tuple[Rows, Rows]:
    """Rows to fit and rows to judge by; classes keep their shares as far as chance allows."""
    held = min(max(1, round(share * len(rows))), len(rows) - 1)
    order = torch.randperm(len(rows), generator=generator)
    return rows.part(order[held:]), rows.part(order[:held])


def _units(x: Tensor, y: Tensor, weight: Tensor, classes: int) -> Units:
    x_mean, x_scale = _mean_and_spread(x, weight)
    if classes:
        return Units(x_mean, x_scale, x.new_zeros(classes), x.new_ones(classes))
    return Units(x_mean, x_scale, *_mean_and_spread(y, weight))


def _alike(units: Units, earlier: Units) -> bool:
    """Whether units are within a factor of ten."""
    ratios = torch.cat([units.x_scale / earlier.x_scale, units.y_scale / earlier.y_scale])
    return bool(((ratios > 0.1) & (ratios < 10)).all())


def _mean_and_spread(values: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    mean = weight @ values
    spread = (weight @ (values - mean).square()).sqrt()
    return mean, torch.where(spread > 1e-12 * mean.abs().clamp_min(1e-280), spread, torch.ones_like(spread))


def _natural_inputs(x: Tensor, weight: Tensor, count: float, options: TableOptions) -> Natural:
    """Natural functions on knots between even spacing and quantiles.

    An interval more on either side holds the tails, where smoothness makes them straight lines; what lies beyond counts
    as its end, so that a value far off the others neither takes knots away from them nor carries a prediction with it.
    """
    share = np.linspace(0.002, 0.998, options.intervals + 1)
    rows = []
    for column in x.T.numpy():
        points, inverse = np.unique(column, return_inverse=True)
        counts = count * np.bincount(inverse, weight.numpy(), len(points))
        low, high = _fences(points, counts)
        # The root keeps a value that fills half of a column from taking half of its knots.
        mass = np.sqrt(counts)
        knots = np.interp(share, (np.cumsum(mass) - mass / 2) / mass.sum(), points.clip(low, high))
        knots = 0.7 * knots + 0.3 * np.linspace(knots[0], knots[-1], len(knots))
        width = knots[-1] - knots[0] if knots[-1] - knots[0] > 1e-6 else 1.0
        gaps = np.maximum(np.diff(knots), 0.02 * width / options.intervals)
        room = MARGIN * gaps.sum()
        rows.append(knots[0] - room + np.cumsum([0.0, room, *gaps, room]))
    basis = BSpline(options.intervals + 2, options.degree, "clamp").at(torch.from_numpy(np.array(rows)))
    return Natural.of(basis, x, weight)


def _fences(points: np.ndarray, counts: np.ndarray) -> tuple[float, float]:
    """Where values begin that are far off: three times the spread of 96 % of the rows, or of all but two, beyond these.

    A value that fills much of a column, such as zero, belongs to these, and the rows are those of the other values.
    """
    common = counts.argmax() if counts.max() > 0.1 * counts.sum() else None
    rest = counts if common is None else np.where(np.arange(len(counts)) == common, 0, counts)
    passed = rest.cumsum()
    trim = max(1, 0.02 * passed[-1])
    within = [min(np.searchsorted(passed, trim, "right"), len(points) - 1), np.searchsorted(passed, passed[-1] - trim)]
    ends = points[within if common is None else [*within, common]]
    reach = 3 * np.ptp(ends) if np.ptp(ends) > 0 else np.inf
    return ends.min() - reach, ends.max() + reach


def _as_model(network: TableNetwork, units: Units, classes: int) -> KAN:
    """The network with its units, and one output for each class."""
    if classes == 2:
        last = network.matrices[-1]
        network = replace(network, matrices=[*network.matrices[:-1], torch.cat([-last / 2, last / 2])])
    model = network.as_kan()
    model.input_scaling.scale.copy_(1 / units.x_scale)
    model.input_scaling.shift.copy_(-units.x_mean / units.x_scale)
    model.output_scaling.scale.copy_(units.y_scale)
    model.output_scaling.shift.copy_(units.y_mean)
    return model
