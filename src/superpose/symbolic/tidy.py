"""Shorter ways to write a formula, found with SymPy's cheap transformations; `simplify` takes minutes and gives little."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import sympy

from superpose.symbolic.expression import Expression, complexity, ordered, to_sympy
from superpose.symbolic.parse import from_sympy
from superpose.symbolic.program import Program

Array = np.ndarray

MOST_NODES = 150
"""Nodes of a formula above which it is left as it is."""
AGREE = 1e-7
"""Relative difference up to which two ways to write a formula are the same."""


def tidied(root: Expression, X: Array) -> Expression:
    """The formula as short as it can easily be written, with the same values at the rows of `X`."""
    if complexity(root) > MOST_NODES or any(not _writable(node) for node in ordered(root)):
        return root
    positive = np.atleast_1d((X > 0).all(0))
    symbols = [sympy.Symbol(f"v{n}", real=True, positive=True if p else None) for n, p in enumerate(positive)]
    number = {symbol: n for n, symbol in enumerate(symbols)}
    values = Program(root)(X)
    best, size = root, _size(root)
    for written in _ways(to_sympy(root, symbols), symbols):
        try:
            other = from_sympy(written, number)
        except (ValueError, TypeError, OverflowError):
            continue
        if _size(other) < size and _same(Program(other)(X), values):
            best, size = other, _size(other)
    return best


def _size(root: Expression) -> tuple[int, int]:
    return complexity(root), len(ordered(root))


def _writable(node: Expression) -> bool:
    return type(node).__name__ != "Apply" or node.function.name != "logistic"  # type: ignore[attr-defined]


def _same(left: Array, right: Array) -> bool:
    with np.errstate(all="ignore"):
        return bool(np.isfinite(left).all() and np.abs(left - right).max() <= AGREE * (np.abs(right).max() + 1e-300))


def _ways(expression: Any, symbols: Sequence[Any]) -> Iterator[Any]:
    """Other ways to write it."""
    steps: tuple[Callable[[Any], Any], ...] = (
        lambda e: e,
        sympy.expand_mul,
        lambda e: sympy.expand(e, power_exp=False, log=False),
        lambda e: sympy.factor_terms(sympy.expand_mul(e)),
        _into_powers,
        lambda e: _into_powers(sympy.factor_terms(e)),
        lambda e: sympy.factor_terms(_into_powers(e)),
        sympy.together,
        _without_inverse_hyperbolics,
        lambda e: _into_powers(_without_inverse_hyperbolics(e)),
        _quotient,
        lambda e: _quotient(sympy.expand_trig(e)),
        lambda e: sympy.powdenest(sympy.expand_log(e)),
        sympy.logcombine,
    )
    seen = set()
    for step in steps:
        try:
            written = step(expression)
        except (NotImplementedError, ValueError, TypeError, AttributeError, RecursionError, sympy.PolynomialError):
            continue
        if written not in seen:
            seen.add(written)
            yield written


def _without_inverse_hyperbolics(expression: Any) -> Any:
    """Areas as logarithms, which exponentials undo: exp(atanh(x)) is sqrt((1 + x) / (1 - x))."""
    return expression.replace(sympy.atanh, lambda x: (sympy.log(1 + x) - sympy.log(1 - x)) / 2)


def _quotient(expression: Any) -> Any:
    """A rational function as one quotient in lowest terms."""
    if not _rational(expression):
        return expression
    return sympy.factor_terms(sympy.expand_mul(sympy.cancel(sympy.together(expression))))


def _rational(expression: Any) -> bool:
    return not expression.has(sympy.Function) and all(power.exp.is_Integer for power in expression.atoms(sympy.Pow))


def _into_powers(expression: Any) -> Any:
    """Monomials in front of a power of a sum, taken into the sum: a sqrt(1 + b^2 / a^2) is sqrt(a^2 + b^2)."""
    if not expression.args:
        return expression
    expression = expression.func(*(_into_powers(part) for part in expression.args))
    if not expression.is_Mul:
        return expression
    sums = [part for part in expression.args if part.is_Pow and part.base.is_Add and part.exp.is_Rational]
    sums += [part for part in expression.args if part.is_Add]
    if not sums:
        return expression
    last = sums[0]
    base, exponent = (last.base, last.exp) if last.is_Pow else (last, sympy.Integer(1))
    rest = [part for part in expression.args if part is not last]
    shared = [part for part in rest if _is_monomial(part) and _occurs(part, base)]
    inside = sympy.expand_mul(base * sympy.Mul(*shared) ** (1 / exponent))
    outside = sympy.Mul(*(part for part in rest if part not in shared))
    return outside * inside**exponent


def _is_monomial(part: Any) -> bool:
    return part.is_Symbol or (part.is_Pow and part.base.is_Symbol)


def _occurs(part: Any, base: Any) -> bool:
    """Whether a power of a symbol cancels against one in the sum."""
    return bool(part.free_symbols & base.free_symbols)
