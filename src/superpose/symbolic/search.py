"""Searches formulas for a table: simpler variables first, then known kinds of formulas in them, then networks."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
from threadpoolctl import threadpool_limits

from superpose.symbolic.additive import additive_formulas, additives
from superpose.symbolic.dictionary import product_formulas, sparse_formulas
from superpose.symbolic.expression import Apply, Constant, Expression, Variable, apply, complexity, walk
from superpose.symbolic.front import Front
from superpose.symbolic.functions import Function, power
from superpose.symbolic.networks import network_formulas
from superpose.symbolic.normal import normal
from superpose.symbolic.program import Program
from superpose.symbolic.refit import mean_square, refit
from superpose.symbolic.snap import snapped
from superpose.symbolic.symmetry import Seen, reductions
from superpose.symbolic.tidy import tidied
from superpose.symbolic.view import View
from superpose.symbolic.waves import wave_formulas

Array = np.ndarray

MOST_ROWS = 4000
"""Rows that a search looks at."""
MOST_FITTED = 20_000
"""Rows that the constants of the best are fitted to."""
ROWS = 400
"""Rows on which candidates are refitted first."""
STEPS = 40
"""Steps of these first fits."""
EXACT = 1e-9
"""Error, as a share of the target's spread, that only the true formula has."""
NEARLY = 1e-4
"""Error, as a share of the target's spread, from which a candidate is fitted to the end."""
STALE = 15
"""Near candidates in a row without a simpler formula after which no more are made nice."""
PATIENCE = 3.0
"""Seconds for nice constants after Ctrl-C."""
WILD = 10.0
"""How far beyond the targets, in units of their range, a formula that is not exact may go among the data."""
NEAR = 1.03
"""Mean square, relative to the lowest, up to which a candidate may be the true one."""
SNAPPED = 40
"""Candidates whose constants are made nice."""
SHARE = 0.85
"""Share of the time for finding formulas; the rest makes their constants nice."""
SIMPLE = ("t", "log", "x^-1")
"""Changes of the target that are tried with powers taken out."""
LARGEST = 120
"""Complexity above which nobody wants a formula."""


@dataclass
class Pool:
    """The candidates so far, with their mean squares on all rows, and when to stop.

    Attributes:
        noise: Root mean square error of the best surrogate: what cannot be explained, or nearly so.
        only: Names of the functions that may stand in a formula beside powers; None for all.
    """

    X: Array
    y: Array
    deadline: float
    noise: float = np.inf
    only: frozenset[str] | None = None
    losses: dict[int, tuple[float, Expression]] = field(default_factory=dict)
    tried: int = 0

    def __post_init__(self) -> None:
        order = np.random.default_rng(2).permutation(len(self.y))[:ROWS]
        self.part = self.X[order], self.y[order]
        self.spread = float(self.y.std()) or 1.0

    def keep(self, root: Expression) -> None:
        """Keep a candidate whose constants are fitted already."""
        loss = mean_square(root, self.X, self.y)
        if np.isfinite(loss) and self.may(root):
            self.tried += 1
            self.losses[self.tried] = loss, root

    def may(self, root: Expression) -> bool:
        """Whether a formula has only functions that it may have."""
        if self.only is None:
            return True
        names = {node.function.name for node in walk(root) if isinstance(node, Apply)}
        return all(name in self.only or name == "sqrt" or name.startswith("x^") for name in names)

    @property
    def late(self) -> bool:
        """Whether the time is up."""
        return time.perf_counter() > self.deadline

    @property
    def best(self) -> float:
        """Lowest mean square so far."""
        return min((loss for loss, _ in self.losses.values()), default=np.inf)

    @property
    def solved(self) -> bool:
        """Whether a formula leaves nothing over."""
        return self.best < (EXACT * self.spread) ** 2

    @property
    def explained(self) -> bool:
        """Whether a formula explains the data as far as anything can; there may be a simpler one that does."""
        noisy = NEARLY * self.spread < self.noise < 0.3 * self.spread
        return self.solved or (noisy and self.best < (1.005 * self.noise) ** 2)

    def consider(self, root: Expression) -> float:
        """Fit the constants of a candidate and keep it if it is any good; gives its mean square."""
        if complexity(root) > LARGEST or not self.may(root):
            return np.inf
        self.tried += 1
        quick = refit(root, *self.part, steps=STEPS)
        if not quick.loss < max(25 * self.best, 0.5 * self.spread**2):
            return quick.loss
        if quick.loss < (NEARLY * self.spread) ** 2:
            quick = refit(quick.root, *self.part)
        loss = mean_square(quick.root, self.X, self.y)
        if np.isfinite(loss):
            self.losses[self.tried] = loss, quick.root
        return loss

    def near(self) -> list[Expression]:
        """Candidates that explain the data about as well as the best, the simplest first: nice constants decide."""
        bound = max(NEAR * self.best, (EXACT * self.spread) ** 2 if self.solved else 0.0)
        close = [root for loss, root in self.losses.values() if loss <= bound]
        return sorted(close, key=complexity)[:SNAPPED]

    def front(self) -> list[Expression]:
        """Candidates that no simpler one equals, the best of them."""
        kept: list[tuple[float, Expression]] = []
        lowest = np.inf
        for loss, root in sorted(self.losses.values(), key=lambda each: (complexity(each[1]), each[0])):
            if loss < lowest * 0.999:
                kept.append((loss, root))
                lowest = loss
        return [root for _, root in kept]


@dataclass(frozen=True)
class Job:
    """What a search works with.

    Attributes:
        functions: What curves may become.
        networks: Whether networks are tried.
        jobs: Processes.
        seed: What all chance comes from.
        show: Called with a line of text at every step.
        most: The largest complexity.
        only: Names of the functions that formulas may hold, see `Pool`.
    """

    functions: tuple[Function, ...]
    networks: bool
    jobs: int
    seed: int
    show: Callable[[str], None]
    most: float = math.inf
    only: frozenset[str] | None = None


def search(
    X: Array, y: Array, X_held: Array, y_held: Array, names: Sequence[str], job: Job, *, max_time: float
) -> Front:
    """Formulas for a table, from simple to accurate, their constants fitted and made nice where the data allow it.

    Args:
        X: Rows to fit.
        y: Their targets.
        X_held: Rows that judge.
        y_held: Their targets.
        names: Names of the inputs.
        job: How to search.
        max_time: Seconds; what is under way is finished first. Ctrl-C ends the search with what there is.
    """
    began = time.perf_counter()
    some, more = (np.sort(np.random.default_rng(job.seed).permutation(len(y))[:n]) for n in (MOST_ROWS, MOST_FITTED))
    pool = Pool(X[some], y[some], began + SHARE * max_time, only=job.only)
    pool.keep(Constant(float(y.mean())))
    stopped, deadline = "finished", began + max_time
    # Matrices are small, and threads wait for each other. Candidates may be anything; what is not finite is refused.
    with threadpool_limits(1), np.errstate(all="ignore"):
        try:
            _explore(pool, job)
            stopped = "finished" if pool.explained or not pool.late else "time"
        except KeyboardInterrupt:
            stopped, deadline = "interrupted", time.perf_counter() + PATIENCE
        roots = pool.front()
        try:
            roots.extend(_finished(pool, X[more], y[more], deadline))
        except KeyboardInterrupt:
            stopped = "interrupted"
    if not pool.solved:
        roots = [root for root in roots if not _wild(root, X, y)]
    roots = [root for root in roots if complexity(root) <= job.most and pool.may(root)]
    return Front.of(roots, X, y, X_held, y_held, names, stopped=stopped, seconds=time.perf_counter() - began)


def _explore(pool: Pool, job: Job) -> None:
    """Go through all views and stages until the data are explained or the time is up."""
    views: list[Seen] = []
    job.show("looking for variables in which the function is simpler")
    columns = _different(pool.X)
    whole = View.of(pool.X[:, columns], pool.y, tuple(Variable(n) for n in columns))
    for seen in reductions(whole, lambda: pool.late):
        views.append(seen)
        pool.noise = min(pool.noise, seen.error)
        if pool.late:
            return
    for stages in STAGES:
        for seen in reversed(views):
            for stage in stages:
                name = stage.__name__.strip("_")
                job.show(f"{name} of {seen.view.inputs} variables, error {pool.best**0.5:.2e} so far")
                for root in stage(seen.view, pool, job):
                    pool.consider(root)
                    if pool.late:
                        return
                if pool.solved:
                    return
            if pool.explained:
                return


def _different(X: Array) -> list[int]:
    """Columns that vary and repeat none before them: what a copy would share is not for the data to divide."""
    _, first = np.unique(X, axis=1, return_index=True)
    return [int(n) for n in sorted(first) if np.ptp(X[:, n]) > 0]


def _wild(root: Expression, X: Array, y: Array) -> bool:
    """Whether a formula leaves all reason where every input is as in some row, but not all of them in the same."""
    rng = np.random.default_rng(4)
    mixed = np.column_stack([rng.permutation(column) for column in X.T])
    values = Program(root)(mixed)
    reach = WILD * float(np.ptp(y))
    return not bool((np.isfinite(values) & (values > y.min() - reach) & (values < y.max() + reach)).all())


def _finished(pool: Pool, X: Array, y: Array, deadline: float) -> Iterator[Expression]:
    """The best candidates with nice constants, written in a short way."""
    near, simplest, since = pool.near(), LARGEST, 0
    for number, root in enumerate([*near, *reversed(pool.front())]):
        if number < len(near) and since >= STALE:  # the others are as good, and longer
            continue
        if time.perf_counter() > deadline:
            return
        outside = normal(root)
        # With constants outside there are fewer, but a sum may show them more than once.
        for way in [outside, root] if complexity(root) < complexity(outside) else [outside]:
            neat = snapped(way, X, y).root
            yield neat
            short = tidied(neat, X)
            if short is not neat:
                short = snapped(short, X, y).root
                yield short
            since = 0 if complexity(short) < simplest else since + 1
            simplest = min(simplest, complexity(short))


Stage = Callable[[View, Pool, Job], Iterator[Expression]]


def _linear(view: View, pool: Pool, job: Job) -> Iterator[Expression]:
    """The view's target as a constant."""
    yield view.whole(Constant(float(np.average(view.t, weights=view.scale**2 + 1e-300))))


def _curves(view: View, pool: Pool, job: Job) -> Iterator[Expression]:
    """Sums of curves behind a change of the target."""
    if view.inputs == 0:
        return
    found = additives(view)
    if not found:
        return
    # Every curve of one variable can be drawn behind any change of the target, so that the error says nothing.
    limit = max(3 * found[0].error, 1.05 * pool.noise, 1e-3 * pool.spread if view.inputs == 1 else 0.0)
    near = [each for each in found if each.error <= limit]
    for additive in sorted(near, key=lambda each: each.order)[:8] if view.inputs == 1 else near[:6]:
        yield from additive_formulas(additive, job.functions, min(additive.error, pool.noise), lambda: pool.late)
        if pool.solved and view.inputs > 1:  # the curve of one variable may be simpler behind another change
            return


def _dictionaries(view: View, pool: Pool, job: Job) -> Iterator[Expression]:
    """Few terms of a dictionary, added up or multiplied."""
    if not 0 < view.inputs <= 4:
        return
    goal = max(1e-9 * pool.spread, 1.01 * pool.noise if pool.noise < 0.3 * pool.spread else 0.0)
    sums = sparse_formulas(view, goal=goal, late=lambda: pool.late)
    found = [*sums[:30], *product_formulas(view, goal=goal)[:30]]
    yield from (root for _, root in sorted(found, key=lambda pair: pair[0]))


def _waves(view: View, pool: Pool, job: Job) -> Iterator[Expression]:
    """Waves too fast for a surrogate."""
    yield from wave_formulas(view)


def _multiplied(view: View, pool: Pool, job: Job) -> Iterator[Expression]:
    """Curves of one variable after a power of it has been taken out."""
    if view.inputs != 1 or not (view.X != 0).all():
        return
    for exponent in (1, -1, 2, -2, 3, -3):
        function = power(Fraction(exponent))
        rest = view.over(function.value(view.X[:, 0]), apply(function, view.roots[0]))
        for additive in additives(rest):
            if additive.transform.name in SIMPLE:
                yield from additive_formulas(
                    additive, job.functions, min(additive.error, pool.noise), lambda: pool.late
                )
        if pool.solved:
            return


def _networks(view: View, pool: Pool, job: Job) -> Iterator[Expression]:
    """Kolmogorov-Arnold networks of several shapes, read as symbols."""
    if job.networks and view.inputs:
        for roots in network_formulas(view, pool.deadline, functions=job.functions, jobs=job.jobs, seed=job.seed):
            yield from roots
            if pool.solved:
                return


STAGES: tuple[tuple[Stage, ...], ...] = ((_linear, _curves, _dictionaries), (_waves,), (_multiplied,), (_networks,))
"""What is tried of every view, the one of fewest variables first, before the next row is."""
