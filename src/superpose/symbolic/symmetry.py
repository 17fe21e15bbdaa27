"""Finds variables in which an unknown function is simpler, from how it changes with the ones it has.

Scaling: if sum_i t_i x_i df/dx_i = c f everywhere, then f is a monomial times a function of one variable fewer: this is
Buckingham's theorem, with the dimensions read off the data. Pairs: if the derivatives by two inputs always stand in the
ratio that a sum of their p-th powers would give them (their difference for p = 1, their distance for p = 2), f knows
the two through that sum alone. Derivatives come from a surrogate and are not exact, so that they only propose; what is
proposed counts if a surrogate of fewer variables predicts held-out rows as well.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from superpose.symbolic.expression import Constant, Expression, apply, exactly, plus, times
from superpose.symbolic.functions import power
from superpose.symbolic.surrogate import Surrogate, parted
from superpose.symbolic.view import View, monomial, monomial_values, transformed

Array = np.ndarray

LARGEST = 4
"""Largest exponent of a monomial."""
OFF = 0.2
"""How far from a fraction an exponent may be found."""
POOR = 0.5
"""Error of a surrogate, as a share of the target's spread, above which it is not asked."""
KEPT = 1.02
"""Growth of the surrogate's error that a true symmetry may show by chance."""
IDLE = 0.05
"""Slope of an input, relative to the largest, below which the function may not know it."""
INPUT = 0.03
"""Share of the error that an input more must save."""
POWERS = (Fraction(1), Fraction(2), Fraction(-1), Fraction(3), Fraction(-2))


@dataclass(frozen=True)
class Seen:
    """A view, and the surrogate that predicts its target best, of the target itself or of a function of it."""

    view: View
    surrogate: Surrogate | None
    transform: str
    value: Array
    """The target times the slope of that function: what stands beside the slopes of the surrogate in Euler's relation."""

    @classmethod
    def of(cls, view: View, names: tuple[str, ...] | None = None) -> "Seen":
        """Look at a view, through the changes of its target with these names or through all."""
        if view.inputs == 0 or np.ptp(view.t) == 0:  # a constant needs no inputs
            return cls(view.of_inputs(view.X[:, :0], ()), None, "t", view.t)
        best: Seen | None = None
        for transform, changed in transformed(view, names):
            found = Surrogate.of(changed.X, changed.t, np.abs(changed.scale))
            if best is None or found.error < 0.9 * best.error:
                best = cls(view, found, transform.name, view.t * transform.slope(view.t))
            if best.error < 1e-9 * float(np.abs(view.scale * view.t).max()):
                break
        assert best is not None
        return best

    @property
    def error(self) -> float:
        """Root mean square error of what is known, in the units of the data."""
        if self.surrogate is not None:
            return self.surrogate.error
        (held, rest), t, square = parted(len(self.view.t)), self.view.t, self.view.scale**2
        return float(np.sqrt(np.mean((square * (t - (square[rest] @ t[rest]) / square[rest].sum()) ** 2)[held])))

    def rank(self, spread: float) -> float:
        """What decides between views: the error, and an input for every few per cent of it."""
        return float(np.log(self.error + 1e-9 * spread)) + INPUT * self.view.inputs

    def slopes(self) -> tuple[Array, Array]:
        """Derivatives of the target by its inputs and the target, up to a common factor at each row."""
        assert self.surrogate is not None
        return self.surrogate.gradient(self.view.X), self.value


def reductions(view: View, late: Callable[[], bool] = lambda: False) -> Iterator[Seen]:
    """Simpler and simpler views, the given one first, until there is none or it is late."""
    seen, spread = Seen.of(view), float((view.scale * (view.t - view.t.mean())).std())
    yield seen
    while seen.view.inputs and seen.error < POOR * spread:
        simpler = _reduced(seen, spread, late)
        if simpler is None:
            return
        seen = simpler
        yield seen


def _reduced(seen: Seen, spread: float, late: Callable[[], bool]) -> Seen | None:
    """A view of fewer inputs that predicts as well."""
    # Where polynomials, not noise, set the error, other variables may be harder for them; simple ones are believed.
    lenient = max(KEPT * seen.error, min(20 * seen.error, 3e-4 * spread)) + 1e-7 * spread
    strict = KEPT * seen.error + 1e-7 * spread
    proposals = [(view, lenient) for view in _fewer(seen)]
    proposals += [(view, lenient) for view in sorted(_scalings(seen), key=lambda view: view.inputs)]
    proposals += [(view, lenient if simple else strict) for view, simple in _pairs(seen)]
    best: Seen | None = None
    for view, bound in proposals:
        if late():
            break
        if best is not None and view.inputs > best.view.inputs and best.error < 0.3 * seen.error:
            continue
        if not (np.isfinite(view.X).all() and np.isfinite(view.t).all()):
            continue
        trial = Seen.of(view, ("t", "log", seen.transform))
        if trial.error <= bound and (best is None or trial.rank(spread) < best.rank(spread)):
            best = trial
    return best


def _fewer(seen: Seen) -> Iterator[View]:
    """Views without the inputs that hardly matter: without all of them, and without each."""
    view = seen.view
    sizes = np.sqrt(np.mean((seen.slopes()[0] * view.X.std(0)) ** 2, axis=0))
    idle = np.flatnonzero(sizes < IDLE * sizes.max())
    for gone in [idle.tolist(), *([n] for n in idle.tolist() if len(idle) > 1)]:
        rest = [n for n in range(view.inputs) if n not in gone]
        if len(rest) < view.inputs:
            yield view.of_inputs(view.X[:, rest], tuple(view.roots[n] for n in rest))


def _scalings(seen: Seen) -> Iterator[View]:
    """Views without the inputs that a change of units can set to one."""
    view = seen.view
    free = np.flatnonzero((view.X > 0).all(0))
    if len(free) == 0:
        return
    slopes, value = seen.slopes()
    table = np.column_stack([slopes[:, free] * view.X[:, free], value])
    table = table / np.sqrt(np.mean(table**2)) if np.isfinite(table).all() else table
    if not np.isfinite(table).all():
        return
    _, sizes, axes = np.linalg.svd(table, full_matrices=False)
    for number in range(len(free), 0, -1):
        if number > len(axes) or sizes[len(axes) - number] > 0.3 * sizes[0]:
            continue
        for pivots in (True, False):
            relations = _rational(axes[len(axes) - number :], len(free), from_front=pivots)
            if relations is not None:
                yield _without_units(view, free, relations)


def _rational(axes: Array, variables: int, *, from_front: bool) -> list[tuple[int, list[Fraction]]] | None:
    """The space of relations by rows that have a one in a column of their own, all else simple fractions, or None."""
    rows = axes.copy()
    pivots: list[int] = []
    for n in range(len(rows)):
        sizes = np.abs(rows[n:, :variables]).copy()
        sizes[:, np.array(pivots, dtype=int)] = 0
        # The largest entry is the safest; a preference for earlier or later columns gives another choice of units.
        tilt = 1 + 0.5 * np.arange(variables) / variables
        row, column = np.unravel_index(int((sizes * (1 / tilt if from_front else tilt)).argmax()), sizes.shape)
        if sizes[row, column] < 1e-6:
            return None
        rows[[n, n + int(row)]] = rows[[n + int(row), n]]
        rows[n] /= rows[n, column]
        for m in range(len(rows)):
            if m != n:
                rows[m] -= rows[m, column] * rows[n]
        pivots.append(int(column))
    found = []
    for pivot, row in zip(pivots, rows, strict=True):
        nice = [_fraction(float(value)) for value in row]
        if any(abs(float(f) - v) > OFF for f, v in zip(nice, row, strict=True)) or np.abs(row).max() > 2 * LARGEST:
            return None
        found.append((pivot, nice))
    return found


def _fraction(value: float) -> Fraction:
    whole, half = Fraction(round(value)), Fraction(round(2 * value), 2)
    return whole if abs(value - float(whole)) < 0.15 else half


def _without_units(view: View, free: Array, relations: list[tuple[int, list[Fraction]]]) -> View:
    """Use f = x_p^c F(x_j x_p^-r, ...) for the relations x_p df/dx_p + sum_j r_j x_j df/dx_j = c f."""
    pivots = [pivot for pivot, _ in relations]
    factor = [Fraction(0)] * view.inputs
    for pivot, row in relations:
        factor[free[pivot]] = -row[-1]
    values, roots = monomial_values(view.X, factor), monomial(view.roots, factor)
    columns, inputs = [], []
    for column in range(view.inputs):
        place = np.flatnonzero(free == column)
        if len(place) and int(place[0]) in pivots:
            continue
        exponents = [Fraction(0)] * view.inputs
        exponents[column] = Fraction(1)
        if len(place):
            for pivot, row in relations:
                exponents[free[pivot]] = -row[int(place[0])]
        if any(e.denominator > 1 for e in exponents) and bool((view.X[:, column] > 0).all()):
            exponents = [2 * e for e in exponents]
        columns.append(monomial_values(view.X, exponents))
        inputs.append(monomial(view.roots, exponents))
    X = np.column_stack(columns) if columns else np.empty((len(view.t), 0))
    return view.over(values, roots).of_inputs(X, tuple(inputs))


def _pairs(seen: Seen) -> list[tuple[View, bool]]:
    """Views that know two inputs through a sum of their powers, the most likely first, and whether it is a plain sum."""
    view = seen.view
    slopes, _ = seen.slopes()
    found: list[tuple[float, View, bool]] = []
    for i in range(view.inputs):
        for j in range(i + 1, view.inputs):
            for exponent in POWERS:
                if exponent.denominator > 1 and not (view.X[:, [i, j]] > 0).all():
                    continue
                if exponent < 0 and not (view.X[:, [i, j]] != 0).all():
                    continue
                ratio, off = _ratio(slopes[:, i], slopes[:, j], view.X[:, i], view.X[:, j], float(exponent))
                if off < 0.3:
                    found.append((off, _joined(view, i, j, exponent, ratio), abs(abs(ratio) - 1) < OFF))
    return [(proposal, simple) for _, proposal, simple in sorted(found, key=lambda each: each[0])[:8]]


def _ratio(a: Array, b: Array, x: Array, z: Array, exponent: float) -> tuple[float, float]:
    """The c of x^p + c z^p that two derivatives speak for, and the share of them that it leaves unexplained."""
    with np.errstate(all="ignore"):
        # df/dx / x^(p-1) = F' and df/dz / z^(p-1) = c F': cross-multiplied, so that zeros do no harm.
        left, right = b * x ** (exponent - 1), a * z ** (exponent - 1)
    if not (np.isfinite(left).all() and np.isfinite(right).all()):
        return 0.0, np.inf
    weight = 1 / (np.abs(x) ** (exponent - 1) + np.abs(z) ** (exponent - 1) + 1e-300)
    left, right = left * weight, right * weight
    square = float(right @ right)
    if square == 0:
        return 0.0, np.inf
    ratio = float(left @ right) / square
    total = float(left @ left)
    off = float(np.sqrt(np.mean((left - ratio * right) ** 2) / max(total / len(left), 1e-300)))
    return ratio, off if 1e-3 < abs(ratio) < 1e3 else np.inf


def _joined(view: View, i: int, j: int, exponent: Fraction, ratio: float) -> View:
    x, z = view.X[:, i], view.X[:, j]
    sign = np.sign(ratio) if abs(abs(ratio) - 1) < OFF else 0.0
    ratio = float(sign) if sign else ratio
    function = power(exponent)
    raised = [c if exponent == 1 else function.value(c) for c in (x, z)]
    roots = [r if exponent == 1 else apply(function, r) for r in (view.roots[i], view.roots[j])]
    constant = exactly(int(ratio)) if sign else Constant(ratio)
    root: Expression = plus(roots[0], times(constant, roots[1]))
    rest = [n for n in range(view.inputs) if n not in (i, j)]
    X = np.column_stack([raised[0] + ratio * raised[1], *(view.X[:, n] for n in rest)])
    return view.of_inputs(X, (root, *(view.roots[n] for n in rest)))
