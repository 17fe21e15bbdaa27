"""Searches formulas for a table: simpler variables first, then known kinds of formulas in them, then networks."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import product

import numpy as np

from superpose.symbolic.additive import additive_formulas, additives
from superpose.symbolic.dictionary import product_formulas, sparse_formulas
from superpose.symbolic.expression import Constant, Expression, Variable, apply, complexity
from superpose.symbolic.functions import STANDARD, Function, power
from superpose.symbolic.refit import mean_square, refit
from superpose.symbolic.snap import snapped
from superpose.symbolic.symmetry import Seen, reductions
from superpose.symbolic.view import View
from superpose.symbolic.waves import wave_formulas

Array = np.ndarray

ROWS = 400
"""Rows on which candidates are refitted first."""
STEPS = 40
"""Steps of these first fits."""
EXACT = 1e-7
"""Error, as a share of the target's spread, that only the true formula has."""
SNAPPED = 12
"""Candidates whose constants are made nice."""
LARGEST = 60
"""Complexity above which nobody wants a formula."""


@dataclass
class Pool:
    """The candidates so far, with their mean squares on all rows, and when to stop.

    Attributes:
        noise: Root mean square error of the best surrogate: what cannot be explained, or nearly so.
    """

    X: Array
    y: Array
    deadline: float
    noise: float = np.inf
    losses: dict[int, tuple[float, Expression]] = field(default_factory=dict)
    tried: int = 0

    def __post_init__(self) -> None:
        order = np.random.default_rng(2).permutation(len(self.y))[:ROWS]
        self.part = self.X[order], self.y[order]
        self.spread = float(self.y.std()) or 1.0

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
        """Whether a formula explains the data as far as anything can."""
        exact = self.best < (EXACT * self.spread) ** 2
        return exact or (self.noise < 0.3 * self.spread and self.best < (1.005 * self.noise) ** 2)

    def consider(self, root: Expression) -> float:
        """Fit the constants of a candidate and keep it if it is any good; gives its mean square."""
        if complexity(root) > LARGEST:
            return np.inf
        self.tried += 1
        quick = refit(root, *self.part, steps=STEPS)
        if not quick.loss < max(25 * self.best, 0.5 * self.spread**2):
            return quick.loss
        loss = mean_square(quick.root, self.X, self.y)
        if np.isfinite(loss):
            self.losses[self.tried] = loss, quick.root
        return loss

    def front(self) -> list[Expression]:
        """Candidates that no simpler one equals, the best of them."""
        kept: list[tuple[float, Expression]] = []
        lowest = np.inf
        for loss, root in sorted(self.losses.values(), key=lambda each: (complexity(each[1]), each[0])):
            if loss < lowest * 0.999:
                kept.append((loss, root))
                lowest = loss
        return [root for _, root in kept]


def search(X: Array, y: Array, *, max_time: float, functions: tuple[Function, ...] = STANDARD) -> list[Expression]:
    """Formulas for a table, from simple to good, their constants fitted and made nice where the data allow it."""
    pool = Pool(X, y, time.perf_counter() + max_time)
    pool.consider(Constant(float(y.mean())))
    views: list[Seen] = []
    for seen in reductions(View.of(X, y, tuple(Variable(n) for n in range(X.shape[1])))):
        views.append(seen)
        pool.noise = min(pool.noise, seen.error)
    for stages in ((_linear, _curves, _dictionaries), (_waves,), (_multiplied,)):
        for seen, stage in product(reversed(views), stages):
            for root in stage(seen.view, pool, functions):
                pool.consider(root)
                if pool.late:
                    return _finished(pool)
            if pool.solved:
                return _finished(pool)
    return _finished(pool)


def _finished(pool: Pool) -> list[Expression]:
    front = pool.front()
    good = sorted(front, key=lambda root: mean_square(root, pool.X, pool.y))[:SNAPPED]
    return [*front, *(snapped(root, pool.X, pool.y).root for root in good)]


Stage = Callable[[View, Pool, tuple[Function, ...]], Iterator[Expression]]


def _linear(view: View, pool: Pool, functions: tuple[Function, ...]) -> Iterator[Expression]:
    """The view's target as a constant."""
    yield view.whole(Constant(float(np.average(view.t, weights=view.scale**2 + 1e-300))))


def _curves(view: View, pool: Pool, functions: tuple[Function, ...]) -> Iterator[Expression]:
    """Sums of curves behind a change of the target."""
    if view.inputs == 0:
        return
    found = additives(view)
    limit = max(3 * found[0].error, 1.05 * pool.noise)
    for additive in [each for each in found if each.error <= limit][:6]:
        yield from additive_formulas(additive, functions, min(additive.error, pool.noise))
        if pool.solved:
            return


def _dictionaries(view: View, pool: Pool, functions: tuple[Function, ...]) -> Iterator[Expression]:
    """Few terms of a dictionary, added up or multiplied."""
    if not 0 < view.inputs <= 4:
        return
    goal = max(1e-9 * pool.spread, 1.01 * pool.noise if pool.noise < 0.3 * pool.spread else 0.0)
    found = [*sparse_formulas(view, goal=goal)[:30], *product_formulas(view, goal=goal)[:30]]
    yield from (root for _, root in sorted(found, key=lambda pair: pair[0]))


def _waves(view: View, pool: Pool, functions: tuple[Function, ...]) -> Iterator[Expression]:
    """Waves too fast for a surrogate."""
    yield from wave_formulas(view)


def _multiplied(view: View, pool: Pool, functions: tuple[Function, ...]) -> Iterator[Expression]:
    """Curves of one variable after a power of it has been taken out."""
    if view.inputs != 1 or not (view.X != 0).all():
        return
    for exponent in (1, -1, 2, -2, 3, -3):
        function = power(Fraction(exponent))
        rest = view.over(function.value(view.X[:, 0]), apply(function, view.roots[0]))
        yield from _curves(rest, pool, functions)
        if pool.solved:
            return
