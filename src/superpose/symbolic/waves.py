"""Formulas of the kind a + b sin(c m + d) with a monomial m: fast waves, for which no polynomial can stand in."""

from collections.abc import Iterator
from fractions import Fraction
from itertools import product

import numpy as np

from superpose.symbolic.expression import Constant, Expression, apply, plus, times
from superpose.symbolic.view import View, monomial, monomial_values

Array = np.ndarray

EXPONENTS = (Fraction(0), Fraction(1), Fraction(-1), Fraction(2), Fraction(-2))
MOST_INPUTS = 4
MOST_MONOMIALS = 200
TURNS = 240
"""Frequencies that are tried for every monomial, one radian over its range apart."""
ROWS = 400
KEPT = 6
EXPLAINED = 0.5
"""Share of the variance that a wave must explain to be passed on."""


def wave_formulas(view: View) -> Iterator[Expression]:
    """Waves of monomials that explain the target, found in periodograms, the best first."""
    if not 0 < view.inputs <= MOST_INPUTS:
        return
    rows = np.random.default_rng(3).permutation(len(view.t))[:ROWS]
    part = view.rows(rows)
    found: list[tuple[float, list[Fraction], Array]] = []
    for exponents in _monomials(view):
        m = monomial_values(part.X, exponents)
        gain, coef, frequency = _best_wave(m, part.t)
        if gain > EXPLAINED:
            found.append((gain, exponents, np.array([*coef, frequency])))
    for _, exponents, (shift, cosine, sine, frequency) in sorted(found, key=lambda each: -each[0])[:KEPT]:
        argument = plus(times(Constant(frequency), monomial(view.roots, exponents)), Constant(np.arctan2(cosine, sine)))
        wave = times(Constant(float(np.hypot(cosine, sine))), apply("sin", argument))
        yield view.whole(plus(wave, Constant(float(shift))))


def _monomials(view: View) -> Iterator[list[Fraction]]:
    """Products of small powers of the inputs; those that are not positive come in whole, positive powers."""
    choices = [EXPONENTS if (x > 0).all() else (Fraction(0), Fraction(1), Fraction(2)) for x in view.X.T]
    simple = sorted(product(*choices), key=lambda each: sum(map(abs, each)))
    # A monomial and its inverse are different waves; one without any input is none.
    yield from (list(each) for each in simple[1 : MOST_MONOMIALS + 1])


def _best_wave(m: Array, t: Array) -> tuple[float, Array, float]:
    """Share of the variance that the best frequency explains, its coefficients (1, cos, sin), and the frequency."""
    reach = float(np.ptp(m))
    if not np.isfinite(m).all() or reach == 0:
        return 0.0, np.zeros(3), 0.0
    frequencies = np.arange(1, TURNS + 1) / reach
    phase = np.outer(frequencies, m)
    cosine, sine = np.cos(phase), np.sin(phase)
    cosine -= cosine.mean(1, keepdims=True)
    sine -= sine.mean(1, keepdims=True)
    rest = t - t.mean()
    cc, ss, cs = (cosine**2).sum(1), (sine**2).sum(1), (cosine * sine).sum(1)
    cy, sy = cosine @ rest, sine @ rest
    determinant = cc * ss - cs**2
    with np.errstate(all="ignore"):
        gain = (ss * cy**2 - 2 * cs * cy * sy + cc * sy**2) / determinant
    gain[~(determinant > 1e-6 * cc * ss)] = 0.0
    best = int(gain.argmax())
    design = np.column_stack([np.ones_like(m), np.cos(phase[best]), np.sin(phase[best])])
    coef = np.linalg.lstsq(design, t, rcond=None)[0]
    return float(gain[best] / max(rest @ rest, 1e-300)), coef, float(frequencies[best])
