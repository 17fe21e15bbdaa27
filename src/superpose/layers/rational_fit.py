r"""Rational functions that come as close as they can to a given function of one variable.

For a fixed level $t$ the condition $|f(x) Q(x) - P(x)| \le t\, Q(x)$ is linear in the coefficients of $P$ and $Q$ wherever
$Q$ is, and a denominator $1 + \sum_j |b_j| |x|^j$ is linear in $c_j = |b_j| \ge 0$. So the smallest possible maximum of
$|f - P/Q|$ is found by a few linear programmes, without a start to guess and without local minima: the differential
correction algorithm (Cheney and Loeb 1961; Barrodale, Powell and Roberts 1972), on points that are added where the error is
still above the level (Remez's exchange).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache, partial
from math import isfinite

import numpy as np
import torch
from jaxtyping import Float
from numpy.polynomial import Chebyshev, Polynomial, chebyshev
from torch import Tensor
from torch.nn import functional

from superpose.ops.rational import FORMS, rational

Function = Callable[[Tensor], Tensor]

ACTIVATIONS: dict[str, Function] = {
    "identity": torch.clone,
    "silu": functional.silu,
    "swish": functional.silu,
    "gelu": functional.gelu,
    "gelu_tanh": partial(functional.gelu, approximate="tanh"),
    "relu": functional.relu,
    "leaky_relu": functional.leaky_relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "mish": functional.mish,
}
"""The activations that have a name."""

INTERVAL = (-8.0, 8.0)
"""Where an activation is fitted: what the hidden units of trained transformers see, with a few outliers beyond."""

FLOOR = 1e-4
"""Q at zero, where the largest term of Q at the end of the interval is 1: lets a quotient bend within 1 % of its interval."""


@dataclass(frozen=True)
class RationalFit:
    """A rational function of one variable, and how far it is from the function that it stands for.

    Attributes:
        numerator: Coefficients of 1, x, ... x^m.
        denominator: Coefficients of x, ... x^n (or of their absolute values; the constant is 1).
        form: Which denominator, see `superpose.ops.rational.rational`.
        interval: Where it was fitted, and where the errors hold.
        max_error: Largest absolute error on 20,001 evenly spaced points.
        rms_error: Root mean squared error on the same points.
        name: What was fitted.
    """

    numerator: tuple[float, ...]
    denominator: tuple[float, ...]
    form: str = "sum_abs"
    interval: tuple[float, float] = INTERVAL
    max_error: float = 0.0
    rms_error: float = 0.0
    name: str = "function"

    @property
    def degrees(self) -> tuple[int, int]:
        """Degrees of the numerator and of the denominator."""
        return len(self.numerator) - 1, len(self.denominator)

    def __call__(self, x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """The values at these points, in the precision of x."""
        numerator, denominator = (x.new_tensor([each]) for each in (self.numerator, self.denominator))
        return rational(x.reshape(-1), numerator, denominator, self.form).reshape(x.shape)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.name} within {self.max_error:.1e} on [{low:g}, {high:g}]"


def fit_rational(
    function: str | Function,
    interval: tuple[float, float] = INTERVAL,
    degrees: tuple[int, int] = (5, 4),
    form: str = "sum_abs",
) -> RationalFit:
    r"""The rational function whose largest error on an interval is the smallest possible.

    For the form `"sum_abs"` that is the global optimum, up to one part in a thousand, on intervals that are not far from zero:
    the coefficients are of powers of x, which far from zero are nearly the same. For `"abs_sum"` it is the best
    among denominators $1 + |q(x)|$ whose $q$ changes its sign at zero or nowhere in the interval.

    **Tails.** Outside the interval nothing is promised. With `"sum_abs"` and degrees $(n + 1, n)$ a quotient goes to
    infinity with the slope $a_{n+1} / |b_n|$ on the right and, if n is even, with the same slope on the left, so it can
    follow SiLU or GELU, which end flat on the left, on a bounded interval only. A wider interval costs accuracy inside
    it. With degrees (5, 4) the largest error on ±3, ±6, ±8 and ±10 is 5e-7, 9e-5, 5e-4 and 2e-3 for SiLU, and 1.3e-3,
    3.1e-3, 3.4e-3 and 6.7e-3 for GELU. The default, ±8, costs GELU next to nothing and covers more than normalised
    inputs produce.

    Args:
        function: A name in `ACTIVATIONS`, or a function of a float64 tensor that acts on every element.
        interval: Ends of the interval.
        degrees: Degrees m of the numerator and n of the denominator.
        form: Which denominator, see `superpose.ops.rational.rational`.

    Raises:
        ValueError: If the name is unknown, the interval is empty, a degree is negative, there is no such form, or the
            function is not finite on the interval.

    Example:
        >>> fit = fit_rational("silu", (-3, 3))
        >>> print(fit)
        silu within 4.6e-07 on [-3, 3]
    """
    low, high = (float(end) for end in interval)
    if not (isfinite(low) and isfinite(high) and low < high):
        raise ValueError(f"interval must be two finite numbers with low < high, got {interval}.")
    if min(degrees) < 0:
        raise ValueError(f"degrees must be at least 0, got {degrees}.")
    if form not in FORMS:
        raise ValueError(f"form is {form!r}; choose one of {', '.join(FORMS)}.")
    if not isinstance(function, str):
        return _fit(function, (low, high), (degrees[0], degrees[1]), form)
    if function not in ACTIVATIONS:
        raise ValueError(
            f"no activation is called {function!r}; choose one of {', '.join(ACTIVATIONS)}, or a function."
        )
    return _named(function, (low, high), (degrees[0], degrees[1]), form)


@cache
def _named(name: str, interval: tuple[float, float], degrees: tuple[int, int], form: str) -> RationalFit:
    """The fit of an activation, found once; the identity without rounding."""
    if name == "identity" and degrees[0] >= 1:
        return RationalFit((0.0, 1.0) + (0.0,) * (degrees[0] - 1), (0.0,) * degrees[1], form, interval, name=name)
    return replace(_fit(ACTIVATIONS[name], interval, degrees, form), name=name)


def _fit(function: Function, interval: tuple[float, float], degrees: tuple[int, int], form: str) -> RationalFit:
    with torch.device("cpu"):  # whatever the default is: networks are built on "meta", too
        grid = _grid(interval)
        values = _values(function, grid)
        scale = float(np.abs(values).max()) or 1.0
        candidates = [
            _measured(function, _exchange(family, grid, values / scale), scale, family)
            for family in _families(interval, degrees, form)
        ]
    return min(candidates, key=lambda each: each.max_error)


@dataclass(frozen=True)
class _Family:
    """Quotients of sums: Chebyshev polynomials over powers, all in units of the interval.

    `sign` is None for the sum of absolute terms; else 1 + |q| is written 1 + sign(x) q, with q of that sign everywhere.
    """

    interval: tuple[float, float]
    degrees: tuple[int, int]
    form: str
    sign: Callable[[np.ndarray], np.ndarray] | None

    def above(self, x: np.ndarray) -> np.ndarray:
        low, high = self.interval
        return chebyshev.chebvander((2 * x - low - high) / (high - low), self.degrees[0])

    def below(self, x: np.ndarray) -> np.ndarray:
        unit = x / max(map(abs, self.interval))
        powers = (np.abs(unit) if self.sign is None else unit)[:, None] ** np.arange(self.degrees[1] + 1)
        if self.sign is not None:
            powers[:, 1:] *= self.sign(x)[:, None]
        return powers

    def lowest(self) -> np.ndarray:
        """Lower bounds of the denominator's coefficients; the upper ones are 1."""
        return np.array([FLOOR] + [0.0 if self.sign is None else -1.0] * self.degrees[1])

    def monomials(self, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The coefficients of powers of x, with the denominator's constant 1."""
        powers = Chebyshev(a, domain=self.interval).convert(kind=Polynomial).coef
        numerator = np.pad(powers, (0, len(a) - len(powers))) / b[0]
        return numerator, b[1:] / b[0] / max(map(abs, self.interval)) ** np.arange(1.0, len(b))


def _families(interval: tuple[float, float], degrees: tuple[int, int], form: str) -> Iterator[_Family]:
    if form == "sum_abs" or degrees[1] == 0:
        yield _Family(interval, degrees, form, None)
    else:
        yield _Family(interval, degrees, form, np.ones_like)
        yield _Family(interval, degrees, form, lambda x: np.where(x < 0, -1.0, 1.0))


def _exchange(family: _Family, grid: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fit at a few points, add those of the grid where the error peaks above theirs, until there are none."""
    above, below = family.above(grid), family.below(grid)
    chosen = np.zeros(len(grid), dtype=bool)
    # Chebyshev's distribution, and zero, where a denominator may have a corner.
    chosen[((1 - np.cos(np.linspace(0, np.pi, 60))) / 2 * (len(grid) - 1)).round().astype(int)] = True
    chosen[np.abs(grid).argmin()] = True
    a, b = np.linalg.lstsq(above, values, rcond=None)[0], np.eye(below.shape[1])[0]  # a polynomial, over 1
    for _ in range(30):
        a, b = _correct(family, above[chosen], below[chosen], values[chosen], (a, b))
        error = np.abs(values - above @ a / (below @ b))
        peaks = np.r_[True, error[1:] >= error[:-1]] & np.r_[error[:-1] >= error[1:], True]
        peaks &= error > max(1.001 * error[chosen].max(), 1e-14)
        if not peaks.any():
            break
        chosen |= peaks
    return a, b


def _correct(
    family: _Family, above: np.ndarray, below: np.ndarray, values: np.ndarray, start: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Differential correction: lower the largest error at these points until it stays."""
    a, b = start
    level = np.abs(values - above @ a / (below @ b)).max()
    for _ in range(40):
        if level < 1e-13:
            break
        change = _change(family, above, below, values, (a, b, level))
        if change is None:
            break
        b_next = np.clip(b + change[len(a) :], family.lowest(), 1.0)
        size = np.abs(b_next).max()  # P and Q have a common factor to spare: without this both could shrink to nothing
        a_next, b_next = (a + change[: len(a)]) / size, np.maximum(b_next / size, family.lowest())
        lower = np.abs(values - above @ a_next / (below @ b_next)).max()
        if not lower < level:
            break
        a, b, gain, level = a_next, b_next, 1 - lower / level, lower
        if gain < 1e-4:
            break
    return a, b


def _change(
    family: _Family,
    above: np.ndarray,
    below: np.ndarray,
    values: np.ndarray,
    now: tuple[np.ndarray, np.ndarray, float],
) -> np.ndarray | None:
    """What minimises max((|f Q - P| - level Q) / Q_now) over the next P and Q, by a linear programme.

    Its unknowns are changes in units of the level, so that its tolerance is relative to the error and not to the function.
    """
    from scipy.optimize import linprog

    a, b, level = now
    q = below @ b
    rest = (values * q - above @ a) / level
    left, right = [], []
    for side in (1.0, -1.0):
        left.append(np.hstack([-side * above, (side * values - level)[:, None] * below, -q[:, None]]) / q[:, None])
        right.append((q - side * rest) / q)
    if family.sign is not None:
        left.append(np.hstack([np.zeros_like(above), 0 * q[:, None], -below[:, 1:], 0 * q[:, None]]))
        right.append(below[:, 1:] @ b[1:] / level)
    ends = np.stack([(family.lowest() - b) / level, (1 - b) / level], 1)
    free = [(None, None)]
    solution = linprog(
        np.eye(above.shape[1] + below.shape[1] + 1)[-1],
        A_ub=np.vstack(left),
        b_ub=np.concatenate(right),
        bounds=[*free * len(a), *ends.tolist(), *free],
        method="highs-ipm",
        options={"primal_feasibility_tolerance": 1e-9, "dual_feasibility_tolerance": 1e-9},
    )
    return None if solution.x is None else level * solution.x[:-1]


def _measured(function: Function, found: tuple[np.ndarray, np.ndarray], scale: float, family: _Family) -> RationalFit:
    """The coefficients as they will be used, with their errors on points that the fit did not choose."""
    numerator, denominator = family.monomials(*found)
    fit = RationalFit(tuple((scale * numerator).tolist()), tuple(denominator.tolist()), family.form, family.interval)
    points = np.linspace(*family.interval, 20_001)
    error = fit(torch.from_numpy(points)).numpy() - _values(function, points)
    name = getattr(function, "__name__", type(function).__name__)
    worst, typical = float(np.abs(error).max()), float(np.sqrt(np.mean(error**2)))
    return replace(fit, max_error=worst, rms_error=typical, name=name)


def _grid(interval: tuple[float, float]) -> np.ndarray:
    """Points to fit at: even ones, and more and more of them towards zero."""
    low, high = interval
    near = np.geomspace(1e-5, 1, 800) * max(abs(low), abs(high))
    points = np.concatenate([np.linspace(low, high, 4001), near, -near, [0.0]])
    return np.unique(points[(points >= low) & (points <= high)])


def _values(function: Function, points: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        values = torch.as_tensor(function(torch.from_numpy(points.copy())), dtype=torch.float64).numpy()
    if values.shape != points.shape or not np.isfinite(values).all():
        raise ValueError(
            f"the function must give one finite number for each of {points.size} points from {points[0]:g} to "
            f"{points[-1]:g}, got shape {values.shape}"
            + ("." if np.isfinite(values).all() else " with numbers that are not finite.")
        )
    return values
