"""Formulas of the kind T^-1(f_1(x_1) + ... + f_n(x_n)): one layer of a Kolmogorov-Arnold network behind a known function.

The curves f_i are found by least squares, for every T, and then get symbols.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.polynomial import chebyshev

from superpose.symbolic.expression import Constant, Expression, apply, plus
from superpose.symbolic.functions import Function, power
from superpose.symbolic.match import Match, matches
from superpose.symbolic.view import TRANSFORMS, Transform, View, transformed

Array = np.ndarray

DEGREES = (2, 4, 7, 11, 16, 24)
WIDE = 4.0
"""Ratio of the ends of a range from which its logarithm may be the better scale."""
FAR = 0.3
"""Relative error of a symbol above which it is none."""
CANDIDATES = 8
"""Symbols tried for each curve."""
COMBINATIONS = 20
"""Choices of symbols for all curves together that are passed on."""


@dataclass(frozen=True)
class Additive:
    """Curves that add up to a changed target.

    Attributes:
        error: Root mean square of what they miss on rows they were not fitted to, in the units of the data.
    """

    view: View
    transform: Transform
    logarithmic: bool
    degree: int
    coef: Array
    error: float

    @property
    def order(self) -> int:
        """Place of its change of the target among all, the simplest first."""
        return TRANSFORMS.index(self.transform)

    @property
    def unit(self) -> float:
        """The most that the target of the data changes with this one."""
        return float(np.abs(self.view.scale).max())

    def curve(self, column: int) -> tuple[Array, Array, Array]:
        """Points of one of the curves, as dense as the data, and how much each counts, the most of them one."""
        order = np.argsort(self.view.X[:, column], kind="stable")
        x = self.view.X[order, column]
        part = slice(1 + column * self.degree, 1 + (column + 1) * self.degree)
        return (
            x,
            _features(x, self.degree, logarithmic=self.logarithmic) @ self.coef[part],
            (self.view.scale[order] / self.unit) ** 2,
        )


def additives(view: View) -> list[Additive]:
    """The view as a sum of curves, for every change of its target, the best first; none if the rows are too few."""
    if not _enough(view, DEGREES[0]):
        return []
    found = [_fitted(changed, transform) for transform, changed in transformed(view)]
    return sorted(found, key=lambda each: each.error)


Option = tuple[float, Match | None, Expression]
"""A symbol for a curve, with what it costs and what it is applied to; None for a curve that is nothing but noise."""


def additive_formulas(
    found: Additive, functions: tuple[Function, ...], near: float, late: Callable[[], bool]
) -> Iterator[Expression]:
    """Formulas with a symbol for every curve, the closest first.

    Args:
        found: The curves.
        functions: What they may become.
        near: How close symbols need to be, in the units of the data.
        late: Whether the time is up.
    """
    chosen: list[tuple[float, list[Option]]] = [(0.0, [])]
    for column in range(found.view.inputs):
        options = _options(found, column, functions, near)
        if not options or late():
            return
        longer = [(cost + option[0], [*before, option]) for cost, before in chosen for option in options]
        chosen = sorted(longer, key=lambda each: each[0])[:COMBINATIONS]
    for _, symbols in chosen:
        parts = [match.of(root) for _, match, root in symbols if match is not None]
        yield found.view.whole(plus(*parts, Constant(float(found.coef[0]))))


def _options(found: Additive, column: int, functions: tuple[Function, ...], near: float) -> list[Option]:
    """Symbols for one of the curves, the best first: of the input, of its inverse, and of its logarithm."""
    root, (x, f, weight) = found.view.roots[column], found.curve(column)
    close = [(match, root) for match in matches(x, f, functions, weight=weight)]
    if x[0] > 0:
        inverse = apply(power(-1), root)
        close += [(match, inverse) for match in matches(1 / x, f, functions, weight=weight)]
    if x[0] > 0 and x[-1] > 4 * x[0] and found.view.inputs == 1:  # waves of a logarithm, and powers of it
        few = [each for each in functions if each.period or each.swallows == "scale"]
        close += [(match, apply("log", root)) for match in matches(np.log(x), f, few, weight=weight)]
    size = found.unit * float(np.sqrt(np.mean(weight * (f - np.average(f, weights=weight)) ** 2)))
    # Below what the curve itself is known to, only simplicity counts.
    floor = near * np.sqrt(found.degree / len(x)) / max(size, 1e-300)
    options: list[Option] = [(_cost(match, floor), match, root) for match, root in close if match.error < FAR]
    if size < 2 * found.error:
        options.append((2 * float(np.log10(max(floor, 1e-9))) - 1, None, root))
    return sorted(options, key=lambda option: option[0])[:CANDIDATES]


def _cost(match: Match, floor: float) -> float:
    """What decides between symbols: a digit is worth two functions."""
    return 2 * float(np.log10(max(match.error, floor, 1e-9))) + match.complexity


def _features(x: Array, degree: int, *, logarithmic: bool) -> Array:
    """Chebyshev polynomials on the range of the data, or of its logarithm where it is wide and positive."""
    low, high = float(x.min()), float(x.max())
    if logarithmic and low > 0 and high > WIDE * low:
        x, low, high = np.log(x), np.log(low), np.log(high)
    values = chebyshev.chebvander((2 * x - low - high) / max(high - low, 1e-300), degree)
    return values[:, 1:]


def _enough(view: View, degree: int) -> bool:
    """Whether there are three rows to fit for every coefficient."""
    rows = len(view.t) - len(view.t) // 4
    return view.inputs * degree + 1 <= rows // 3


def _fitted(view: View, transform: Transform) -> Additive:
    rows = len(view.t)
    order = np.random.default_rng(0).permutation(rows)
    held, rest = order[: rows // 4], order[rows // 4 :]
    weight = np.abs(view.scale)
    best: tuple[float, bool, int, Array] | None = None
    wide = bool(((view.X.min(0) > 0) & (view.X.max(0) > WIDE * view.X.min(0))).any())
    for logarithmic, degree in product((True, False) if wide else (False,), DEGREES):
        if not _enough(view, degree):
            continue
        columns = [_features(x, degree, logarithmic=logarithmic) for x in view.X.T]
        design = np.column_stack([np.ones(rows), *columns]) * weight[:, None]
        coef = np.linalg.lstsq(design[rest], (view.t * weight)[rest], rcond=1e-12)[0]
        error = float(np.sqrt(np.mean((design[held] @ coef - (view.t * weight)[held]) ** 2)))
        if best is None or error < 0.98 * best[0]:
            best = error, logarithmic, degree, coef
    assert best is not None
    error, logarithmic, degree, coef = best
    return Additive(view, transform, logarithmic, degree, coef, error)
