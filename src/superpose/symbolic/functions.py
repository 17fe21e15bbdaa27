"""The library of symbols: functions of one variable with their derivatives, domains and complexities."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Any, Literal

import numpy as np
import scipy.special
import sympy
import torch
from torch import Tensor

Array = np.ndarray


@dataclass(frozen=True)
class Function:
    r"""A function of one variable that a formula may hold.

    A user adds one by making it and giving it in `functions=`. Constants around it are found, so the simplest member of
    a family will do: `sin` stands for every $a \sin(b x + c) + d$.

    Args:
        name: What it is called in tables.
        value: Its values, of a NumPy array.
        slope: Its derivative, of a NumPy array.
        sympy: Makes the expression, of a SymPy expression.
        torch: Its values, of a tensor.
        complexity: What it adds to the complexity of a formula; a variable, a constant and an operation add one each.
        domain: The open interval on which it is defined.
        poles: Whether the closed interval from `low` to `high` holds a point where it is not finite.
        symmetry: "even" or "odd" about zero.
        swallows: Constant in `f(b x + c)` that the constants outside do as well: "scale" (powers, logarithm) or "shift"
            (exponential).
        period: Its period.

    Example:
        >>> import numpy as np, sympy, torch
        >>> softplus = Function(
        ...     "softplus", lambda x: np.logaddexp(0, x), lambda x: 1 / (1 + np.exp(-x)), lambda x: sympy.log(1 + sympy.exp(x)),
        ...     torch.nn.functional.softplus, complexity=3,
        ... )
        >>> softplus
        softplus
    """

    name: str
    value: Callable[[Array], Array]
    slope: Callable[[Array], Array]
    sympy: Callable[[Any], Any]
    torch: Callable[[Tensor], Tensor]
    complexity: int = 1
    domain: tuple[float, float] = (-math.inf, math.inf)
    poles: Callable[[float, float], bool] | None = None
    symmetry: Literal["even", "odd"] | None = None
    swallows: Literal["scale", "shift"] | None = None
    period: float | None = None

    def holds(self, low: float, high: float, margin: float = 0.0) -> bool:
        """Whether it is finite from `low` to `high`, and a share `margin` of their distance beyond."""
        beyond = margin * (high - low)
        low, high = low - beyond, high + beyond
        inside = self.domain[0] < low and high < self.domain[1]
        return inside and not (self.poles is not None and self.poles(low, high))

    def __repr__(self) -> str:
        return self.name

    def __reduce__(self) -> Any:
        if LIBRARY.get(self.name) is self:
            return _known, (self.name,)
        if self.name.startswith("x^") and power(Fraction(self.name[2:])) is self:
            return power, (Fraction(self.name[2:]),)
        return super().__reduce__()


def _known(name: str) -> Function:
    return LIBRARY[name]


def _zero(low: float, high: float) -> bool:
    return low <= 0 <= high


def _tangent_poles(low: float, high: float) -> bool:
    return math.floor(low / math.pi + 0.5) != math.floor(high / math.pi + 0.5)


def _torch_power(exponent: Fraction) -> Callable[[Tensor], Tensor]:
    special = {Fraction(1, 2): torch.sqrt, Fraction(-1, 2): torch.rsqrt, Fraction(-1): torch.reciprocal}
    power: int | float = int(exponent) if exponent.denominator == 1 else float(exponent)
    return special.get(exponent, lambda x: x**power)


@cache
def power(exponent: Fraction | int | float) -> Function:
    """The function x to a fixed rational power; odd roots of negative numbers are left out."""
    exponent = Fraction(exponent).limit_denominator(24)
    whole = exponent.denominator == 1
    number: int | float = int(exponent) if whole else float(exponent)
    less: int | float = number - 1
    root = exponent == Fraction(1, 2)
    return Function(
        f"x^{exponent}" if exponent != Fraction(1, 2) else "sqrt",
        np.sqrt if root else lambda x: np.power(x, number) if number > 0 or not whole else 1.0 / np.power(x, -number),
        lambda x: number * np.power(np.asarray(x, dtype=float), float(less)),
        lambda x: x ** sympy.Rational(exponent.numerator, exponent.denominator),
        _torch_power(exponent),
        complexity=2,
        domain=(-math.inf, math.inf) if whole else (0.0, math.inf),
        poles=_zero if exponent < 0 else None,
        symmetry=None if not whole else "even" if number % 2 == 0 else "odd",
        swallows="scale",
    )


def _torch_j0(x: Tensor) -> Tensor:
    """The mean of cos(x sin u) over half a turn (Abramowitz and Stegun 9.1.18), by midpoints, which are exact to rounding.

    PyTorch's own is off by some 1e-7 and has no derivative.
    """
    number = 32 + int(x.detach().abs().max()) if x.numel() else 1
    angles = (torch.arange(number, dtype=x.dtype, device=x.device) + 0.5) * (math.pi / number)
    return torch.cos(x.unsqueeze(-1) * torch.sin(angles)).mean(-1)


_SINE = Function("sin", np.sin, np.cos, sympy.sin, torch.sin, symmetry="odd", period=2 * math.pi)
_J1 = scipy.special.j1

STANDARD: tuple[Function, ...] = (
    power(2),
    power(3),
    power(4),
    power(-1),
    power(-2),
    power(-3),
    power(Fraction(1, 2)),
    power(Fraction(-1, 2)),
    power(Fraction(3, 2)),
    power(Fraction(-3, 2)),
    Function("exp", np.exp, np.exp, sympy.exp, torch.exp, swallows="shift"),
    Function(
        "log", np.log, lambda x: 1 / x, sympy.log, torch.log, domain=(0.0, math.inf), swallows="scale",
    ),
    _SINE,
    Function("tan", np.tan, lambda x: 1 + np.tan(x) ** 2, sympy.tan, torch.tan, complexity=2, poles=_tangent_poles,
             symmetry="odd", period=math.pi),
    Function("asin", np.arcsin, lambda x: 1 / np.sqrt(1 - x * x), sympy.asin, torch.asin, complexity=2,
             domain=(-1.0, 1.0), symmetry="odd"),
    Function("atan", np.arctan, lambda x: 1 / (1 + x * x), sympy.atan, torch.atan, complexity=2, symmetry="odd"),
    Function("sinh", np.sinh, np.cosh, sympy.sinh, torch.sinh, complexity=2, symmetry="odd"),
    Function("cosh", np.cosh, np.sinh, sympy.cosh, torch.cosh, complexity=2, symmetry="even"),
    Function("tanh", np.tanh, lambda x: 1 - np.tanh(x) ** 2, sympy.tanh, torch.tanh, complexity=2, symmetry="odd"),
    Function("asinh", np.arcsinh, lambda x: 1 / np.sqrt(1 + x * x), sympy.asinh, torch.asinh, complexity=4,
             symmetry="odd"),
    Function("atanh", np.arctanh, lambda x: 1 / (1 - x * x), sympy.atanh, torch.atanh, complexity=4,
             domain=(-1.0, 1.0), symmetry="odd"),
    Function("abs", np.abs, np.sign, sympy.Abs, torch.abs, complexity=3, symmetry="even", swallows="scale"),
    Function("sign", np.sign, np.zeros_like, sympy.sign, torch.sign, complexity=3, symmetry="odd", swallows="scale"),
    Function("gaussian", lambda x: np.exp(-x * x), lambda x: -2 * x * np.exp(-x * x), lambda x: sympy.exp(-x**2),
             lambda x: torch.exp(-x * x), complexity=3, symmetry="even"),
    Function("erf", scipy.special.erf, lambda x: 2 / math.sqrt(math.pi) * np.exp(-x * x), sympy.erf, torch.erf,
             complexity=3, symmetry="odd"),
    Function("logistic", scipy.special.expit, lambda x: scipy.special.expit(x) * scipy.special.expit(-x),
             lambda x: 1 / (1 + sympy.exp(-x)), torch.sigmoid, complexity=3),
    Function("J0", scipy.special.j0, lambda x: -_J1(x), lambda x: sympy.besselj(0, x), _torch_j0,
             complexity=4, symmetry="even"),
)  # fmt: skip
"""What is tried on an edge; cos, acos and the rest are these with other constants."""

_MORE = (
    Function("cos", np.cos, lambda x: -np.sin(x), sympy.cos, torch.cos, symmetry="even", period=2 * math.pi),
    Function("acos", np.arccos, lambda x: -1 / np.sqrt(1 - x * x), sympy.acos, torch.acos, complexity=2,
             domain=(-1.0, 1.0)),
)  # fmt: skip

LIBRARY: dict[str, Function] = {function.name: function for function in (*STANDARD, *_MORE)}
"""Every function known by name."""


def chosen(functions: Iterable[str | Function] | None) -> tuple[Function, ...]:
    """The functions meant by names and objects, the standard ones if None, or a clear error."""
    if functions is None:
        return STANDARD
    if isinstance(functions, str):
        functions = [functions]
    found = []
    for function in functions:
        if isinstance(function, str) and function not in LIBRARY:
            raise ValueError(
                f"there is no function {function!r}; choose among {', '.join(LIBRARY)}, or give a Function."
            )
        if not isinstance(function, str | Function):
            raise TypeError(f"functions must be names or superpose.symbolic.Function objects, got {function!r}.")
        found.append(LIBRARY[function] if isinstance(function, str) else function)
    return tuple(found)
