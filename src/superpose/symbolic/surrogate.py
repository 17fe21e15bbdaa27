"""A smooth stand-in for the unknown function that knows its derivatives: polynomials in the inputs or their logarithms.

It is fitted by linear least squares, without starts that could fail, and answers how the target changes with each input.
A formula is never read off it: it only proposes what is then checked on the data.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import ceil

import numpy as np
from numpy.polynomial import chebyshev

Array = np.ndarray

BAD = 0.02
FEW = 3
"""Relative error from which, and inputs up to which, the plain scale is tried, too."""
MOST_TERMS = 700
ROWS_PER_TERM = 3
HELD = 0.25
"""Share of the rows by which the degree is chosen."""
RIDGE = 1e-10
WIDE = 50.0
"""Ratio of the ends of a range from which its logarithm may or may not be the better scale."""


@dataclass(frozen=True)
class Surrogate:
    """Polynomial of a total degree in scaled inputs, or in the logarithms of those that are positive throughout.

    Attributes:
        error: Root mean square of its weighted errors on rows it was not fitted to.
        degree: Its total degree.
    """

    low: Array
    high: Array
    logarithmic: Array
    exponents: Array
    coef: Array
    error: float
    degree: int

    @classmethod
    def of(cls, X: Array, y: Array, weight: Array, *, seed: int = 0) -> "Surrogate":
        """The polynomial that predicts held-out rows best, of all degrees and of both ways to see a wide range.

        Errors count by `weight`, row by row.
        """
        positive = (X > 0).all(0) & (X.max(0) > 1.5 * X.min(0))
        narrow = positive & (X.max(0) < WIDE * X.min(0))
        found = [cls._in(X, y, weight, narrow, seed)]
        if (positive != narrow).any():
            found.append(cls._in(X, y, weight, positive, seed))
        bad = found[0].error > BAD * np.sqrt(np.mean((weight * y) ** 2))
        if (bad or X.shape[1] <= FEW) and narrow.any():
            found.append(cls._in(X, y, weight, np.zeros_like(narrow), seed))
        return min(found, key=lambda surrogate: surrogate.error)

    @classmethod
    def _in(cls, X: Array, y: Array, weight: Array, logarithmic: Array, seed: int) -> "Surrogate":
        Z = np.where(logarithmic, np.log(np.where(logarithmic, X, 1.0)), X)
        low, high = Z.min(0), Z.max(0)
        held, rest = parted(len(y), seed)
        values = chebyshev_values(Z, low, high, 24)
        weight, y = weight[:, None], y * weight
        best: tuple[float, int, Array] | None = None
        worse, most = 0, min(MOST_TERMS, len(rest) // ROWS_PER_TERM)
        # A table with too few rows for a plane gets the mean.
        for degree in range(1 if X.shape[1] + 1 <= most else 0, 24):
            exponents = total_degree(X.shape[1], degree)
            if degree > 0 and len(exponents) > most:
                break
            design = _design(values, exponents) * weight
            coef = _solved(design[rest], y[rest])
            error = float(np.sqrt(np.mean((design[held] @ coef - y[held]) ** 2)))
            if best is None or error < 0.97 * best[0]:
                best, worse = (error, degree, exponents), 0
            else:
                worse += 1
            if worse >= 3 or error < 1e-9 * np.sqrt(np.mean(y**2)):
                break
        assert best is not None
        error, degree, exponents = best
        coef = _solved(_design(values, exponents) * weight, y)
        return cls(low, high, logarithmic, exponents, coef, error, degree)

    @cached_property
    def _scale(self) -> Array:
        return 2 / np.where(self.high > self.low, self.high - self.low, 1.0)

    def gradient(self, X: Array) -> Array:
        """Derivatives by the inputs at the rows of `X`, (rows, inputs)."""
        Z = np.where(self.logarithmic, np.log(np.where(self.logarithmic, X, 1.0)), X)
        most = int(self.exponents.max(initial=0))
        values = chebyshev_values(Z, self.low, self.high, most)
        slopes = chebyshev_slopes(Z, self.low, self.high, most)
        columns = []
        for i in range(X.shape[1]):
            mixed = [slopes[i] if j == i else values[j] for j in range(X.shape[1])]
            slope = _design(mixed, self.exponents) @ self.coef * self._scale[i]
            columns.append(slope / X[:, i] if self.logarithmic[i] else slope)
        return np.column_stack(columns)


def shortage(rows: int, inputs: int) -> str | None:
    """Why a surrogate of a table would be no more than a constant, or None if it is more."""
    needed = ceil(ROWS_PER_TERM * (inputs + 1) / (1 - HELD))
    if inputs >= MOST_TERMS:
        return f"{inputs} columns are too many: simpler variables are looked for among fewer than {MOST_TERMS}"
    if rows < needed:
        return (
            f"{rows} rows to fit are few for {inputs} columns: simpler variables are looked for with {needed} or more"
        )
    return None


def parted(rows: int, seed: int = 0) -> tuple[Array, Array]:
    """Rows that judge, and rows to fit; the same for every surrogate of a table, so that their errors compare."""
    order = np.random.default_rng(seed).permutation(rows)
    return order[: int(HELD * rows)], order[int(HELD * rows) :]


def _scaled(Z: Array, low: Array, high: Array) -> Array:
    return (2 * Z - low - high) / np.where(high > low, high - low, 1.0)


def chebyshev_values(Z: Array, low: Array, high: Array, most: int) -> list[Array]:
    """Chebyshev polynomials up to a degree of every column, each (rows, degrees)."""
    return [chebyshev.chebvander(column, most) for column in _scaled(Z, low, high).T]


def chebyshev_slopes(Z: Array, low: Array, high: Array, most: int) -> list[Array]:
    """Derivatives of these polynomials by the scaled inputs."""
    derivative = np.zeros((most + 1, most + 1))
    for n in range(1, most + 1):
        unit = np.zeros(n + 1)
        unit[n] = 1.0
        derivative[:n, n] = chebyshev.chebder(unit)
    return [values @ derivative for values in chebyshev_values(Z, low, high, most)]


def total_degree(inputs: int, degree: int) -> Array:
    """Exponents of all monomials up to a total degree, (terms, inputs)."""
    return np.array(list(_exponents(inputs, degree)), dtype=int)


def _exponents(inputs: int, degree: int) -> Iterator[tuple[int, ...]]:
    if inputs == 1:
        yield from ((n,) for n in range(degree + 1))
        return
    for first in range(degree + 1):
        for rest in _exponents(inputs - 1, degree - first):
            yield (first, *rest)


def _design(values: list[Array], exponents: Array) -> Array:
    design = values[0][:, exponents[:, 0]]
    for column, powers in zip(values[1:], exponents.T[1:], strict=True):
        design = design * column[:, powers]
    return design


def _solved(design: Array, y: Array) -> Array:
    gram = design.T @ design
    gram[np.diag_indices_from(gram)] += RIDGE * np.trace(gram) / len(gram)
    return np.linalg.solve(gram, design.T @ y)
