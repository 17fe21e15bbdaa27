"""One form for formulas that are the same: floats, roots, quotients and angles written in a fixed way.

Made for judging what a regressor found: coefficients come out of data, so that equal means equal to three decimals. Sums
inside a function or under a root are put over one denominator, expanded, and scaled so that their first term has the
coefficient one; what was taken out multiplies from outside, where it is compared last.
"""

from collections.abc import Iterable

import sympy
from sympy.core.traversal import bottom_up
from sympy.simplify.fu import TR8

DECIMALS = 3
TOLERANCE = 1e-3
"""How far apart coefficients of the same term may be, beside the largest one of the sum."""

ZERO = 1e-4
"""How large the coefficient of a term may be that the other side does not have, beside the largest one of the sum."""

QUARTER = float(sympy.pi / 2)


def rounded(value: sympy.Expr) -> sympy.Rational:
    """A number to three decimals, and what is below 1e-4 as zero, which is SRBench's rule."""
    number = float(value)
    return sympy.Rational(0 if abs(number) < ZERO else round(number * 10**DECIMALS), 10**DECIMALS)


def snapped(exponent: sympy.Expr) -> sympy.Expr:
    """The simple fraction that an exponent comes near to, if there is one."""
    for denominator in (1, 2, 3, 4):
        numerator = round(float(exponent) * denominator)
        if abs(float(exponent) - numerator / denominator) < TOLERANCE / 2:
            return sympy.Rational(numerator, denominator)
    return rounded(exponent)


def canonical(expression: sympy.Expr) -> sympy.Expr:
    """The fixed form, apart from the outermost sum, whose coefficients are as they were."""
    return sympy.expand(bottom_up(expression, _rule))


def quotient(expression: sympy.Expr) -> tuple[sympy.Expr, sympy.Expr]:
    """Numerator and denominator, both expanded."""
    upper, lower = sympy.fraction(sympy.together(expression))
    return sympy.expand(upper), sympy.expand(lower)


def terms(expression: sympy.Expr) -> dict[sympy.Expr, float]:
    """The coefficients of an expanded sum, products of sines written as sums; negligible ones are dropped."""
    written = sympy.expand(expression)
    if written.has(sympy.sin, sympy.cos):
        written = sympy.expand(TR8(written))
        written = sympy.expand(bottom_up(written, _angle))
    return _kept(_coefficients(written))


def vanishes(difference: sympy.Expr, beside: sympy.Expr) -> bool:
    """Whether what is left of a difference is negligible beside one of its sides."""
    left, scale = terms(difference), terms(beside)
    largest = _largest(scale.values())
    return all(abs(value) <= (TOLERANCE if term in scale else ZERO) * largest for term, value in left.items())


def constant(difference: sympy.Expr, lower: sympy.Expr, beside: sympy.Expr) -> bool:
    """Whether a difference over its denominator is a constant, apart from what is negligible beside one of its sides."""
    below, left = terms(lower), terms(difference)
    leading = max(below, key=lambda term: abs(below[term]))
    return vanishes(difference - left.get(leading, 0.0) / below[leading] * lower, beside)


def proportional(one: sympy.Expr, other: sympy.Expr) -> bool:
    """Whether two sums are the same but for a factor."""
    first, second = terms(one), terms(other)
    if set(first) != set(second) or not first:
        return False
    leading = max(second, key=lambda term: abs(second[term]))
    factor, largest = first[leading] / second[leading], _largest(second.values())
    return all(abs(first[term] / factor - second[term]) <= TOLERANCE * largest for term in second)


def _kept(coefficients: dict[sympy.Expr, float]) -> dict[sympy.Expr, float]:
    """Those that are not negligible."""
    least = ZERO * _largest(coefficients.values())
    return {term: value for term, value in coefficients.items() if abs(value) > least}


def _largest(values: Iterable[float]) -> float:
    return max(map(abs, values), default=0.0)


def _rule(node: sympy.Expr) -> sympy.Expr:
    """One node, whose arguments are in the fixed form already."""
    if node.is_number:
        return node if node.is_Rational or node.is_real is False else sympy.N(node, 15)
    if isinstance(node, sympy.Pow) and node.exp.is_number:
        return _power(node.base, node.exp)
    if isinstance(node, sympy.exp):
        return _exponential(node.args[0])
    if isinstance(node, sympy.log):
        return _logarithm(node.args[0])
    if isinstance(node, sympy.sin | sympy.cos):
        return _angle(node.func(_argument(node.args[0])))
    if isinstance(node, sympy.tan):
        return _rule(sympy.sin(*node.args)) / _rule(sympy.cos(*node.args))
    if isinstance(node, sympy.acos):
        return QUARTER - sympy.asin(_argument(node.args[0]))
    if isinstance(node, sympy.tanh | sympy.sinh | sympy.cosh | sympy.coth):
        return bottom_up(node.rewrite(sympy.exp), _rule)
    if isinstance(node, sympy.Function):
        return node.func(*map(_argument, node.args))
    return node


def _power(base: sympy.Expr, exponent: sympy.Expr) -> sympy.Expr:
    exponent = snapped(exponent)
    if isinstance(base, sympy.Pow) and base.base.is_nonnegative:
        return _power(base.base, base.exp * exponent) if base.exp.is_number else base.base ** (base.exp * exponent)
    if isinstance(base, sympy.exp):
        return _exponential(base.args[0] * exponent)
    if not base.has(sympy.Add):
        return sympy.expand_power_base(base**exponent)
    if exponent.is_Integer and exponent > 0:
        return sympy.expand(base**exponent)
    (factor, upper), (divisor, lower) = map(_monic, quotient(base))
    outside = abs(factor / divisor)
    upper = upper if factor / divisor > 0 or exponent.is_Integer else -upper
    if exponent.is_Integer and factor / divisor < 0:
        outside = -outside
    return sympy.N(outside**exponent, 15) * _root(upper, exponent) / _root(lower, exponent)


def _root(base: sympy.Expr, exponent: sympy.Expr) -> sympy.Expr:
    """A power of a scaled sum; a sum that is one term has become a product, whose factors stand alone."""
    return sympy.expand_power_base(base**exponent) if not base.is_Add else base**exponent


def _exponential(argument: sympy.Expr) -> sympy.Expr:
    """The constant in an exponent goes outside as it is; the rest is rounded."""
    constant, rest = sympy.expand(argument).as_independent(*argument.free_symbols, as_Add=True)
    kept = sympy.expand(sympy.exp(_argument(rest)), power_exp=True, deep=False)
    return sympy.N(sympy.exp(constant), 15) * kept


def _logarithm(argument: sympy.Expr) -> sympy.Expr:
    """Of a product the sum of logarithms."""
    (factor, upper), (divisor, lower) = map(_monic, quotient(argument))
    constant = sympy.log(abs(factor / divisor))
    parts = [sympy.log(part) for part in (upper, lower)]
    first, second = (sympy.expand_log(part, force=True) for part in parts)
    return sympy.N(constant, 15) + first - second


def _argument(argument: sympy.Expr) -> sympy.Expr:
    """An argument of a function: one denominator, expanded, its coefficients to three decimals."""
    if argument.is_number or argument.is_Symbol:
        return argument
    upper, lower = quotient(argument)
    divisor, lower = _monic(lower)
    return _rounded_sum(sympy.expand(upper / divisor / lower))


def _rounded_sum(expression: sympy.Expr) -> sympy.Expr:
    return sympy.Add(*(rounded(value) * rest for rest, value in _coefficients(expression).items()))


def _monic(expression: sympy.Expr) -> tuple[float, sympy.Expr]:
    """The coefficient of the first term, and the sum without it, rounded."""
    kept = _kept(_coefficients(expression))
    if not kept:
        return 0.0, sympy.S.Zero
    first = kept[min(kept, key=sympy.default_sort_key)]
    return first, sympy.Add(*(rounded(value / first) * rest for rest, value in kept.items()))


def _coefficients(expression: sympy.Expr) -> dict[sympy.Expr, float]:
    """The coefficients of an expanded sum."""
    found: dict[sympy.Expr, float] = {}
    for term in sympy.Add.make_args(expression):
        coefficient, rest = term.as_independent(*term.free_symbols, as_Add=False)
        found[rest] = found.get(rest, 0.0) + float(coefficient)
    return found


def _angle(node: sympy.Expr) -> sympy.Expr:
    """A sine or cosine whose phase lies in a quarter turn to either side; whole quarters are turned away."""
    if not isinstance(node, sympy.sin | sympy.cos):
        return node
    phase, rest = node.args[0].as_independent(*node.args[0].free_symbols, as_Add=True)
    if rest == 0:
        return sympy.N(node, 15)
    turns = round(float(phase) / QUARTER)
    left = rounded(float(phase) - turns * QUARTER)
    left = sympy.S.Zero if abs(left) < 2 * TOLERANCE else left
    if left != 0 and turns % 2:  # so that one phase has one form
        turns, left = turns - 1, rounded(float(left) + QUARTER)
    if isinstance(node, sympy.sin):
        forms = (sympy.sin, 1), (sympy.cos, 1), (sympy.sin, -1), (sympy.cos, -1)
    else:
        forms = (sympy.cos, 1), (sympy.sin, -1), (sympy.cos, -1), (sympy.sin, 1)
    function, sign = forms[turns % 4]
    return sign * function(rest + left)
