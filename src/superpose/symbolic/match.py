"""Finds the symbols that look like a curve: f(t) = c g(a t + b) + d for every function g of a library.

The two outer constants follow from the inner ones by linear least squares (variable projection, Golub and Pereyra 1973),
so a coarse search over a and b alone finds where to start, and a few Gauss-Newton steps do the rest.
"""

import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.optimize import leastsq

from superpose.symbolic.expression import Constant, Expression, apply, plus, times
from superpose.symbolic.functions import STANDARD, Function

Array = np.ndarray

MARGIN = 1e-3
"""Share of the range of the data by which a symbol must be defined beyond it."""
POINTS = 200
"""Points of a curve that are looked at."""
POLISHED = 2
"""Starts of every function that are refined."""
HOPELESS = 0.6
"""Error of a start from which none is refined."""
SHORT = 0.02
"""Length of the interval of arguments below which every function is a parabola in disguise."""
LARGEST = 100.0
"""How much larger than the curve the parts of a symbol may be: a long sine can pass for a parabola, by cancellation."""


@dataclass(frozen=True)
class Match:
    """A symbol for a curve.

    Attributes:
        function: The function, None for a straight line.
        inner: a and b.
        outer: c and d.
        error: Root mean square of what it misses, as a share of the curve's spread.
    """

    function: Function | None
    inner: tuple[float, float]
    outer: tuple[float, float]
    error: float

    @property
    def complexity(self) -> int:
        """What it adds to a formula, constants not counted."""
        return 0 if self.function is None else self.function.complexity

    def __call__(self, t: Array) -> Array:
        """Values of the symbol."""
        inside = self.inner[0] * t + self.inner[1]
        return self.outer[0] * (inside if self.function is None else self.function.value(inside)) + self.outer[1]

    def of(self, argument: Expression) -> Expression:
        """The symbol as a formula, its constants free but for those that others stand for."""
        (a, b), (c, d) = self.inner, self.outer
        if self.function is None:
            return plus(times(Constant(c), argument), Constant(d))
        inside = argument
        if self.function.swallows == "scale":
            inside = argument if a == 1 else times(Constant(a, _sign(a)), argument)
        else:
            inside = times(Constant(a), argument)
        if b != 0 and self.function.swallows != "shift":
            inside = plus(inside, Constant(b))
        return plus(times(Constant(c), apply(self.function, inside)), Constant(d))


def _sign(a: float) -> int | None:
    return int(a) if abs(a) == 1 else None


def matches(
    t: Array, f: Array, functions: Sequence[Function] = STANDARD, *, weight: Array | None = None
) -> list[Match]:
    """The best match of every function, a straight line among them, the nearest first.

    Args:
        t: Where the curve is known.
        f: Its values there.
        functions: What may be tried; a function that is not defined on the range of `t` with a margin is left out.
        weight: How much each point counts.
    """
    order = np.argsort(t, kind="stable")
    if len(order) > POINTS:
        order = order[np.linspace(0, len(order) - 1, POINTS).round().astype(int)]
    t, f = t[order].astype(float), f[order].astype(float)
    root = np.ones_like(t) if weight is None else np.sqrt(weight[order] / weight[order].mean())
    curve = _Curve(t, f, root)
    found = [curve.line()]
    for function in functions:
        found.extend(_best(curve, function))
    return sorted(found, key=lambda match: match.error)


@dataclass(frozen=True)
class _Curve:
    t: Array
    f: Array
    root: Array

    @cached_property
    def weight(self) -> Array:
        """Weights of the points, adding up to one."""
        return self.root**2 / (self.root @ self.root)

    @cached_property
    def mean(self) -> float:
        return float(self.weight @ self.f)

    @cached_property
    def spread(self) -> float:
        return float(np.sqrt(self.weight @ (self.f - self.mean) ** 2)) or 1.0

    def projected(self, g: Array) -> tuple[Array, Array, Array]:
        """Outer constants and the relative error for rows of values of a function."""
        mean = g @ self.weight
        above, rest = g - mean[:, None], self.f - self.mean
        square = above**2 @ self.weight
        scale = np.where(square > 1e-300, (above * rest) @ self.weight / np.maximum(square, 1e-300), 0.0)
        error = np.sqrt((rest - scale[:, None] * above) ** 2 @ self.weight) / self.spread
        return scale, self.mean - scale * mean, np.where(np.isfinite(error), error, np.inf)

    def line(self) -> Match:
        scale, shift, error = self.projected(self.t[None])
        return Match(None, (1.0, 0.0), (float(scale[0]), float(shift[0])), float(error[0]))


def _best(curve: _Curve, function: Function) -> list[Match]:
    low, high = float(curve.t[0]), float(curve.t[-1])
    if high <= low:
        return []
    starts = np.array([s for s in _starts(function, low, high) if _allowed(function, *s, low, high)])
    if len(starts) == 0:
        return []
    with np.errstate(all="ignore"):
        values = function.value(starts[:, :1] * curve.t + starts[:, 1:])
        _, _, errors = curve.projected(values)
        best = np.argsort(errors, kind="stable")[:POLISHED]
        found: Match | None = None
        for n in best:
            if errors[n] < HOPELESS and (found is None or found.error > 1e-6):
                match = _polished(curve, function, *map(float, starts[n]))
                found = match if found is None or (match is not None and match.error < found.error) else found
    return [] if found is None else [found]


def _allowed(function: Function, a: float, b: float, low: float, high: float) -> bool:
    ends = a * low + b, a * high + b
    if function.swallows != "scale" and abs(a) * (high - low) < SHORT:
        return False
    return function.holds(min(ends), max(ends), MARGIN)


def _starts(function: Function, low: float, high: float) -> Iterator[tuple[float, float]]:
    """Inner constants to start from."""
    if function.swallows == "scale":
        return _zeros(low, high)
    if function.swallows == "shift":
        return ((sign * speed / (high - low), 0.0) for speed in (0.2, 0.6, 2, 6, 20, 60) for sign in (1, -1))
    if math.isfinite(function.domain[0]) and math.isfinite(function.domain[1]):
        return _fitting_in(function.domain, low, high)
    return _waves(function.period, low, high) if function.period else _bends(low, high)


def _zeros(low: float, high: float) -> Iterator[tuple[float, float]]:
    """Zero of the argument where the data have it, before and behind them, and among them."""
    yield from ((1.0, 0.0), (-1.0, 0.0))
    for share in (1e-2, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0):
        yield 1.0, -low + share * (high - low)
        yield -1.0, high + share * (high - low)
    for place in np.linspace(low, high, 21):
        yield 1.0, -float(place)


def _fitting_in(domain: tuple[float, float], low: float, high: float) -> Iterator[tuple[float, float]]:
    """Arguments that stay within a bounded domain."""
    reach, centre = (domain[1] - domain[0]) / 2, (domain[1] + domain[0]) / 2
    half, middle = (high - low) / 2, (high + low) / 2
    for share in (0.05, 0.2, 0.5, 0.8, 0.95, 0.99):
        yield share * reach / max(abs(low), abs(high)), centre
        speed = share * reach / half
        for offset in (-0.99, -0.5, 0.0, 0.5, 0.99):
            yield speed, centre + offset * (1 - share) * reach - speed * middle


def _waves(period: float, low: float, high: float) -> Iterator[tuple[float, float]]:
    half, middle = (high - low) / 2, (high + low) / 2
    for speed in (0.15, 0.4, 0.8, *np.arange(1.2, 12, 0.6), *np.arange(12, 40, 1.2)):
        yield speed / half, 0.0
        for phase in np.arange(4) * period / 8:  # the other half are the same, turned around
            yield speed / half, float(phase) - speed / half * middle


def _bends(low: float, high: float) -> Iterator[tuple[float, float]]:
    half, middle = (high - low) / 2, (high + low) / 2
    for speed in (0.15, 0.5, 1.0, 2.0, 4.0, 8.0, 20.0):
        yield speed / half, 0.0
        for place in (-2.0, -1.0, -0.6, -0.3, 0.0, 0.3, 0.6, 1.0, 2.0):
            yield speed / half, -(middle + place * half) * speed / half


def _polished(curve: _Curve, function: Function, a: float, b: float) -> Match | None:
    """Gauss-Newton on the inner constants, the outer ones projected out (Kaufman's approximation)."""
    moving = [n for n, fixed in enumerate((function.swallows == "scale", function.swallows == "shift")) if not fixed]
    if function.swallows == "scale" and b == 0:
        moving = []
    low, high = float(curve.t[0]), float(curve.t[-1])

    def placed(values: Array) -> tuple[float, float]:
        inner = [a, b]
        for n, value in zip(moving, values, strict=True):
            inner[n] = float(value)
        return inner[0], inner[1]

    def residuals(values: Array) -> Array:
        inner = placed(values)
        if not _allowed(function, *inner, low, high):
            return np.full_like(curve.f, 1e6 * curve.spread)
        g = function.value(inner[0] * curve.t + inner[1])
        scale, shift, _ = curve.projected(g[None])
        missed = curve.root * (scale[0] * g + shift[0] - curve.f)
        return missed if np.isfinite(missed).all() else np.full_like(curve.f, 1e6 * curve.spread)

    inner = float(a), float(b)
    if moving:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # one that is not there after so many steps is judged as it is
            inner = placed(
                leastsq(residuals, np.array([inner[n] for n in moving]), maxfev=60, xtol=1e-9, ftol=1e-12)[0]
            )
    if not all(map(math.isfinite, inner)) or not _allowed(function, *inner, low, high):
        return None
    g = function.value(inner[0] * curve.t + inner[1])
    scale, shift, error = curve.projected(g[None])
    if abs(scale[0]) * np.abs(g).max() > LARGEST * (np.abs(curve.f).max() + curve.spread):
        return None
    return _canonical(function, inner, (float(scale[0]), float(shift[0])), float(error[0]))


def _canonical(function: Function, inner: tuple[float, float], outer: tuple[float, float], error: float) -> Match:
    """One of the many ways to write the same symbol: positive scales, phases within half a period about zero."""
    (a, b), (c, d) = inner, outer
    if function.period:
        b = (b + function.period / 2) % function.period - function.period / 2
    if a < 0 and function.symmetry is not None and function.swallows != "scale":
        a, b, c = -a, -b, c if function.symmetry == "even" else -c
    return Match(function, (a, b), (c, d), error)
