"""Formulas of the kind T^-1(f_1(x_1) + ... + f_n(x_n)): one layer of a Kolmogorov-Arnold network behind a known function.

The curves f_i are found by least squares, for every T, and then get symbols.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.polynomial import chebyshev

from superpose.symbolic.expression import Constant, Expression, apply, plus
from superpose.symbolic.functions import Function, power
from superpose.symbolic.match import Match, matches
from superpose.symbolic.view import TRANSFORMS, Transform, View, transformed

Array = np.ndarray

DEGREES = (2, 4, 7, 11, 16, 24)
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
    degree: int
    coef: Array
    error: float

    @property
    def order(self) -> int:
        """Place of its change of the target among all, the simplest first."""
        return TRANSFORMS.index(self.transform)

    def curve(self, column: int) -> tuple[Array, Array, Array]:
        """Points of one of the curves, as dense as the data, and how much each counts."""
        order = np.argsort(self.view.X[:, column], kind="stable")
        x = self.view.X[order, column]
        part = slice(1 + column * self.degree, 1 + (column + 1) * self.degree)
        return x, _features(x, x, self.degree) @ self.coef[part], self.view.scale[order] ** 2


def additives(view: View) -> list[Additive]:
    """The view as a sum of curves, for every change of its target, the best first; none if the rows are too few."""
    if not _enough(view, DEGREES[0]):
        return []
    found = [_fitted(changed, transform) for transform, changed in transformed(view)]
    return sorted(found, key=lambda each: each.error)


def additive_formulas(found: Additive, functions: tuple[Function, ...], near: float) -> Iterator[Expression]:
    """Formulas with a symbol for every curve, the closest first; symbols need to be no closer than `near`."""
    view, options = found.view, []
    for column, root in enumerate(view.roots):
        x, f, weight = found.curve(column)
        close = [(match, root) for match in matches(x, f, functions, weight=weight) if match.error < 0.3]
        if x[0] > 0:
            inverse = apply(power(-1), root)
            close += [(match, inverse) for match in matches(1 / x, f, functions, weight=weight) if match.error < 0.3]
            if x[-1] > 4 * x[0] and view.inputs == 1:
                logarithm = apply("log", root)
                close += [
                    (match, logarithm) for match in matches(np.log(x), f, functions, weight=weight) if match.error < 0.3
                ]
        # Below what the curve itself is known to, only simplicity counts.
        mean, share = np.average(f, weights=weight), found.degree / len(x)
        floor = near * np.sqrt(share) / max(float(np.sqrt(np.mean(weight * (f - mean) ** 2))), 1e-300)
        close.sort(key=lambda pair: _cost(pair[0], floor))
        options.append(close[:CANDIDATES])
    if not all(options):
        return
    for symbols in _cheapest(options):
        yield view.whole(plus(*(match.of(root) for match, root in symbols), Constant(float(found.coef[0]))))


def _cheapest(options: list[list[tuple[Match, Expression]]]) -> list[tuple[tuple[Match, Expression], ...]]:
    """The best choices of one symbol for every curve; all of them would be too many to look at."""
    kept: list[tuple[float, tuple[tuple[Match, Expression], ...]]] = [(0.0, ())]
    for symbols in options:
        longer = [(cost + _cost(pair[0], 1e-9), (*before, pair)) for cost, before in kept for pair in symbols]
        kept = sorted(longer, key=lambda each: each[0])[:COMBINATIONS]
    return [chosen for _, chosen in kept]


def _cost(match: Match, floor: float) -> float:
    """What decides between symbols: a digit is worth two functions."""
    return 2 * float(np.log10(max(match.error, floor, 1e-9))) + match.complexity


def _features(x: Array, data: Array, degree: int) -> Array:
    """Chebyshev polynomials on the range of the data, on a logarithmic scale where it is wide and positive."""
    low, high = float(data.min()), float(data.max())
    if low > 0 and high > 4 * low:
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
    best: tuple[float, int, Array] | None = None
    for degree in DEGREES:
        if not _enough(view, degree):
            break
        columns = [_features(x, x, degree) for x in view.X.T]
        design = np.column_stack([np.ones(rows), *columns]) * weight[:, None]
        coef = np.linalg.lstsq(design[rest], (view.t * weight)[rest], rcond=1e-12)[0]
        error = float(np.sqrt(np.mean((design[held] @ coef - (view.t * weight)[held]) ** 2)))
        if best is None or error < 0.98 * best[0]:
            best = error, degree, coef
    assert best is not None
    return Additive(view, transform, best[1], best[2], best[0])
