"""Turns fitted constants into integers, fractions and multiples of powers of pi where the data do not notice."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import sympy

from superpose.symbolic.expression import ZERO, Constant, Expression, free_constants, rebuilt
from superpose.symbolic.refit import Refit, refit

Array = np.ndarray

COINCIDENCE = 0.05
"""Chance of a match at random up to which a constant is taken for a nice number."""
NOTICED = 8.0
"""Growth of the loss, in units of a row's share, that the data notice."""
ROUNDING = 1e-11
"""Error as a share of the target's root mean square that counts as none."""
LARGEST = 100
"""Largest denominator of a fraction."""
MOST = 1_000_000
"""Largest numerator."""
POWERS = (0.0, 1.0, -1.0, 2.0, -2.0)
"""Powers of pi."""


@dataclass(frozen=True)
class Nice:
    """A number that people write: sign * (p / q) * pi ** k, or the root of one; `cost` is how many are as simple."""

    value: float
    exact: Any
    cost: float


def nice_numbers(value: float, width: float) -> list[tuple[float, Nice]]:
    """Nice numbers near a value, with the chance that one as simple lies within `width` or this near by accident.

    Around p / q the fractions that are as simple lie a share of about 1 / (p q) apart, so the chance is the relative
    distance times p q.

    Example:
        >>> nice_numbers(0.0795774715, 1e-9)[0][1].exact
        1/(4*pi)
    """
    found: list[tuple[float, Nice]] = []
    if value == 0 or not math.isfinite(value) or not math.isfinite(width):
        return found
    size = abs(value)
    for power in POWERS:
        for root in (False, True):
            target = size / math.pi**power if not root else size * size / math.pi**power
            q = np.arange(1, LARGEST + 1)
            p = np.rint(min(target, 2.0 * MOST) * q)
            p = np.where(p <= MOST, p, 0)
            near = (p / q) * math.pi**power
            near = np.sqrt(near) if root else near
            cost = p * q * (1 if power == 0 else 4 if abs(power) == 1 else 12) * (12 if root else 1)
            good = (p >= 1) & (np.gcd(p.astype(int), q) == 1)
            chance = np.maximum(np.abs(near - size), width) / size * cost
            for n in np.flatnonzero(good & (chance < COINCIDENCE)):
                exact = _written(int(p[n]), int(q[n]), power, root)
                found.append(
                    (float(chance[n]), Nice(math.copysign(near[n], value), -exact if value < 0 else exact, cost[n]))
                )
    return sorted(found, key=lambda pair: (pair[1].cost, pair[0]))


@cache
def _written(p: int, q: int, power: float, root: bool) -> Any:
    number = sympy.Rational(p, q) * sympy.pi ** sympy.Rational(power)
    return sympy.sqrt(number) if root else number


def snapped(root: Expression, X: Array, y: Array) -> Refit:
    """The formula, refitted, with as many of its constants as possible nice, one after the other.

    After each the others are fitted again. A constant may go to zero where the data allow it.
    """
    best = refit(root, X, y)
    refused: set[tuple[int, str]] = set()
    while True:
        for place, candidate in _candidates(best):
            if (place, str(candidate.exact)) in refused:
                continue
            trial = _with(best.root, place, candidate)
            after = refit(trial, X, y)
            if _unnoticed(after.loss, best.loss, y):
                best, refused = after, set()
                break
            refused.add((place, str(candidate.exact)))
        else:
            return best


def _unnoticed(loss: float, before: float, y: Array) -> bool:
    floor = ROUNDING**2 * float(np.mean(y**2))
    return loss <= max(before * (1 + NOTICED / len(y)), floor)


def _candidates(fitted: Refit) -> list[tuple[int, Nice]]:
    """Constants and what they may become, the surest first; the data must have something to say about a constant."""
    found: list[tuple[float, int, Nice]] = []
    for place, (constant, width) in enumerate(zip(free_constants(fitted.root), fitted.deviations, strict=True)):
        if not math.isfinite(width):
            found.extend((1.0, place, number) for number in _simplest(constant.value))
            continue
        if abs(constant.value) <= max(4 * width, 1e-9):
            found.append((0.5, place, Nice(0.0, sympy.Integer(0), 1)))
        width = max(width, 1e-12 * abs(constant.value))
        reach = 4 * width + 1e-9 * abs(constant.value)
        near = [pair for pair in nice_numbers(constant.value, width) if abs(pair[1].value - constant.value) <= reach]
        found.extend((chance * number.cost, place, number) for chance, number in near[:2])
    return [(place, number) for _, place, number in sorted(found, key=lambda each: each[0])]


def _simplest(value: float) -> Iterator[Nice]:
    """For constants that do not matter, or that others stand for."""
    yield Nice(math.copysign(1.0, value), sympy.Integer(1 if value > 0 else -1), 1)
    yield Nice(0.0, sympy.Integer(0), 1)


def _with(root: Expression, place: int, number: Nice) -> Expression:
    constant = free_constants(root)[place]
    exact = ZERO if number.value == 0 else Constant(number.value, number.exact)
    return rebuilt(root, {id(constant): exact})
