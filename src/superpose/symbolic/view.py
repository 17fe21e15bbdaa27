"""A regression problem in other variables: what is known of the unknown function so far, and what is left to find."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from superpose.symbolic.expression import Expression, apply, exactly, times
from superpose.symbolic.functions import power

Array = np.ndarray


@dataclass(frozen=True)
class View:
    """A table of new inputs and of a new target.

    Attributes:
        X: Values of the inputs, (rows, inputs).
        roots: What each input is, in the variables of the data.
        t: The target that is left.
        scale: How much the target of the data changes with `t`, at every row.
        whole: Makes a formula for the target of the data from one for `t`.
    """

    X: Array
    roots: tuple[Expression, ...]
    t: Array
    scale: Array
    whole: Callable[[Expression], Expression]

    @classmethod
    def of(cls, X: Array, y: Array, roots: tuple[Expression, ...]) -> "View":
        """The data themselves."""
        return cls(X, roots, y, np.ones(len(y)), lambda root: root)

    @property
    def inputs(self) -> int:
        """Number of inputs."""
        return self.X.shape[1]

    def rows(self, index: Array) -> "View":
        """A part of the rows."""
        return View(self.X[index], self.roots, self.t[index], self.scale[index], self.whole)

    def over(self, factor: Array, root: Expression) -> "View":
        """The target divided by a factor that has no zeros."""
        whole = self.whole
        return View(self.X, self.roots, self.t / factor, self.scale * factor, lambda rest: whole(times(root, rest)))

    def of_inputs(self, X: Array, roots: tuple[Expression, ...]) -> "View":
        """The same target of other inputs."""
        return View(X, roots, self.t, self.scale, self.whole)


@dataclass(frozen=True)
class Transform:
    """A change of the target, `forward`, that a formula undoes by `inverse`.

    Attributes:
        slope: Derivative of `forward`.
        allows: Whether all targets may be changed this way, and changed back without a choice of branches.
    """

    name: str
    forward: Callable[[Array], Array]
    slope: Callable[[Array], Array]
    inverse: Callable[[Expression], Expression]
    allows: Callable[[Array], bool]


def _power(exponent: Fraction) -> Transform:
    undo = Fraction(1) / exponent
    function = power(exponent)
    positive = exponent != -1
    return Transform(
        str(function), function.value, function.slope, lambda root: apply(power(undo), root),
        lambda t: bool((t > 0).all()) or (not positive and bool((t < 0).all())),
    )  # fmt: skip


TRANSFORMS: tuple[Transform, ...] = (
    Transform("t", lambda t: t, np.ones_like, lambda root: root, lambda t: True),
    Transform("log", np.log, lambda t: 1 / t, lambda root: apply("exp", root), lambda t: bool((t > 0).all())),
    _power(Fraction(-1)),
    _power(Fraction(2)),
    _power(Fraction(-2)),
    _power(Fraction(1, 2)),
    _power(Fraction(-1, 2)),
    Transform("exp", np.exp, np.exp, lambda root: apply("log", root), lambda t: float(np.abs(t).max()) < 12),
    Transform("sin", np.sin, np.cos, lambda root: apply("asin", root), lambda t: float(np.abs(t).max()) < np.pi / 2),
    Transform("cos", np.cos, lambda t: -np.sin(t), lambda root: apply("acos", root),
              lambda t: float(t.min()) > 0 and float(t.max()) < np.pi),
    Transform("tan", np.tan, lambda t: 1 + np.tan(t) ** 2, lambda root: apply("atan", root),
              lambda t: float(np.abs(t).max()) < np.pi / 2),
    Transform("atanh", np.arctanh, lambda t: 1 / (1 - t * t), lambda root: apply("tanh", root),
              lambda t: float(np.abs(t).max()) < 1),
)  # fmt: skip


def transformed(view: View, names: tuple[str, ...] | None = None) -> Iterator[tuple[Transform, View]]:
    """The view with every change of its target that is possible, or with those of these names."""
    for transform in TRANSFORMS:
        if (names is not None and transform.name not in names) or not transform.allows(view.t):
            continue
        with np.errstate(all="ignore"):
            z, slope = transform.forward(view.t), transform.slope(view.t)
            scale = view.scale / np.where(slope == 0, np.inf, slope)
        if not (np.isfinite(z).all() and np.isfinite(scale).all() and np.ptp(z) > 0):
            continue
        yield transform, View(view.X, view.roots, z, scale, _after(view.whole, transform.inverse))


def _after(
    whole: Callable[[Expression], Expression], inverse: Callable[[Expression], Expression]
) -> Callable[[Expression], Expression]:
    return lambda root: whole(inverse(root))


def monomial(roots: tuple[Expression, ...], exponents: list[Fraction]) -> Expression:
    """Powers of expressions, multiplied."""
    factors = [
        root if exponent == 1 else apply(power(exponent), root)
        for root, exponent in zip(roots, exponents, strict=True)
        if exponent != 0
    ]
    return times(*factors) if factors else exactly(1)


def monomial_values(X: Array, exponents: list[Fraction]) -> Array:
    """Their values; the columns with broken exponents are positive."""
    value = np.ones(len(X))
    for column, exponent in zip(X.T, exponents, strict=True):
        if exponent != 0:
            value = value * (column if exponent == 1 else power(exponent).value(column))
    return value
