"""SymPy expressions as formulas of our own, to be fitted and evaluated."""

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import sympy

from superpose.symbolic.expression import Constant, Expression, Variable, apply, exactly, plus, times
from superpose.symbolic.functions import power

NAMES = {
    sympy.exp: "exp", sympy.log: "log", sympy.sin: "sin", sympy.cos: "cos", sympy.tan: "tan", sympy.asin: "asin",
    sympy.acos: "acos", sympy.atan: "atan", sympy.sinh: "sinh", sympy.cosh: "cosh", sympy.tanh: "tanh",
    sympy.asinh: "asinh", sympy.atanh: "atanh", sympy.Abs: "abs", sympy.sign: "sign", sympy.erf: "erf",
}  # fmt: skip


def from_sympy(expression: Any, variables: Mapping[Any, int]) -> Expression:
    """The formula that a SymPy expression stands for; its floats become free constants.

    Args:
        expression: Sums, products, rational powers and the functions of the library.
        variables: The number of every symbol.

    Raises:
        ValueError: If something in it has no counterpart here.

    Example:
        >>> x = sympy.Symbol("x")
        >>> from superpose.symbolic.expression import to_sympy
        >>> to_sympy(from_sympy(2 * sympy.sin(x) ** 2, {x: 0}), [x])
        2*sin(x)**2
    """
    if expression in variables:
        return Variable(variables[expression])
    if expression.is_number:
        if expression.is_real is False or expression.is_finite is False or expression is sympy.nan:
            raise ValueError(f"{expression} is no real number.")
        return Constant(float(expression)) if expression.has(sympy.Float) else exactly(expression)
    parts = [from_sympy(part, variables) for part in expression.args]
    if expression.is_Add:
        return plus(*parts)
    if expression.is_Mul:
        return times(*parts)
    if expression.is_Pow:
        return _power(expression, parts)
    if expression.func in NAMES:
        return apply(NAMES[expression.func], parts[0])
    if expression.func == sympy.besselj and expression.args[0] == 0:
        return apply("J0", parts[1])
    raise ValueError(f"{expression.func.__name__} is no function of the library.")


def _power(expression: Any, parts: list[Expression]) -> Expression:
    base, exponent = expression.args
    if exponent.is_Rational and exponent.q <= 24:
        return apply(power(Fraction(int(exponent.p), int(exponent.q))), parts[0])
    if base == sympy.E:
        return apply("exp", parts[1])
    return apply("exp", times(parts[1], apply("log", parts[0])))
