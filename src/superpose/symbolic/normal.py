"""Formulas without constants that others stand for, such as the scale of a sum that a square stretches again.

Every rule keeps the values. What a refit moves afterwards is less, and what a reader sees is shorter. A sum that several
nodes use stays as it is, for its parts would otherwise be fitted apart.
"""

import math
from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Literal

import numpy as np
import sympy

from superpose.symbolic.expression import (
    Apply,
    Constant,
    Expression,
    Product,
    Sum,
    exactly,
    ordered,
    plus,
    rebuilt,
    times,
)
from superpose.symbolic.functions import Function

Rule = Literal["times", "plus"]
ROUNDS = 8
"""Passes over a formula; each may make room for the next."""


def normal(root: Expression) -> Expression:
    """The formula with its constants outside where they can be, without those that others stand for.

    Example:
        >>> from superpose.symbolic.expression import Variable, affine, apply, complexity
        >>> root = affine(2.0, apply("log", affine(3.0, Variable(0), 6.0)), 1.0)
        >>> complexity(root), complexity(normal(root))
        (18, 14)
    """
    for _ in range(ROUNDS):
        done = _once(root)
        if done is root:
            break
        root = done
    return root


def freed(root: Expression) -> Expression:
    """The formula with the fixed decimal numbers of its network free to be fitted."""
    given = [node for node in ordered(root) if isinstance(node, Constant) and isinstance(node.exact, sympy.Float)]
    return rebuilt(root, {id(node): Constant(node.value) for node in given})


def _once(root: Expression) -> Expression:
    nodes = ordered(root)
    parents = Counter(id(child) for node in nodes for child in node.children)
    made: dict[int, Expression] = {}
    for node in nodes:
        below = [made[id(child)] for child in node.children]
        alone = [parents[id(child)] == 1 for child in node.children]
        same = all(a is b for a, b in zip(below, node.children, strict=True))
        if isinstance(node, Sum):
            made[id(node)] = node if same else plus(*below)
        elif isinstance(node, Product):
            made[id(node)] = _multiplied(below, alone) or (node if same else times(*below))
        elif isinstance(node, Apply):
            applied = _applied(node.function, below[0], alone[0])
            made[id(node)] = applied or (node if same else Apply(node.function, below[0]))
        else:
            made[id(node)] = node
    return made[id(root)]


def _multiplied(factors: Sequence[Expression], alone: Sequence[bool]) -> Expression | None:
    """A constant times a sum, term by term; of sums that are multiplied, the scales outside."""
    rest = [(factor, free) for factor, free in zip(factors, alone, strict=True) if not isinstance(factor, Constant)]
    if len(rest) == 1 and len(factors) > 1:
        (other, free), constants = rest[0], [factor for factor in factors if isinstance(factor, Constant)]
        return plus(*(times(*constants, term) for term in other.terms)) if free and isinstance(other, Sum) else None
    units = [_unit(factor) if free and isinstance(factor, Sum) else None for factor, free in rest]
    if not any(units):
        return None
    scale = math.prod(unit[0] for unit in units if unit)
    made = [unit[1] if unit else factor for unit, (factor, _) in zip(units, rest, strict=True)]
    return times(Constant(scale), *(factor for factor in factors if isinstance(factor, Constant)), *made)


def _applied(function: Function, argument: Expression, alone: bool) -> Expression | None:
    """A function with less inside and more outside, None where there is nothing to do."""
    if isinstance(argument, Constant):
        return Constant(_value(function, argument.value)) if argument.exact is None else None
    if not alone:
        return None
    rule = splits(function)
    if function.swallows == "scale" and rule is not None and (unit := _unit(argument)) is not None:
        return _joined(rule, function, *unit)
    if function.swallows == "shift" and rule is not None and (shift := _shift(argument)) is not None:
        return _joined(rule, function, shift.value, _less(argument, shift))
    if function.period is not None and (turned := _turned(function, function.period, argument)) is not None:
        return turned
    return _upright(function, argument)


def _turned(function: Function, period: float, argument: Expression) -> Expression | None:
    """A function with a phase as small as its period allows."""
    shift, turns = _shift(argument), _alternates(function)
    step = period / 2 if turns else period
    if shift is None or abs(shift.value) <= step / 2 * (1 + 1e-9):
        return None
    number = round(shift.value / step)
    turned = Apply(function, plus(_less(argument, shift), Constant(shift.value - number * step)))
    return times(exactly(-1), turned) if turns and number % 2 else turned


@cache
def _alternates(function: Function) -> bool:
    """Whether half a period turns the sign."""
    points, half = np.array([0.3, 1.1, 2.3]), (function.period or math.inf) / 2
    with np.errstate(all="ignore"):
        return bool(np.allclose(function.value(points + half), -function.value(points), rtol=1e-9))


def _upright(function: Function, argument: Expression) -> Expression | None:
    """An even or odd function of an argument whose first coefficient is positive."""
    terms = argument.terms if isinstance(argument, Sum) else (argument,)
    if function.symmetry is None or not _is_negative(terms[0]):
        return None
    turned = Apply(function, plus(*(times(exactly(-1), term) for term in terms)))
    return turned if function.symmetry == "even" else times(exactly(-1), turned)


def _is_negative(term: Expression) -> bool:
    return isinstance(term, Product) and isinstance(term.factors[0], Constant) and term.factors[0].value < 0


def _unit(argument: Expression) -> tuple[float, Expression] | None:
    """The size of the first coefficient, and what is left divided by it; None if a coefficient is known already."""
    terms = argument.terms if isinstance(argument, Sum) else (argument,)
    inner = [term for term in terms if not isinstance(term, Constant)]
    scales = [_coefficient(term) for term in inner]
    if not scales or not all(scales) or not math.isfinite(scales[0]):
        return None
    size = abs(scales[0])
    made = [times(exactly(int(math.copysign(1, scales[0]))), *_bare(inner[0]))]
    made += [times(Constant(scale / size), *_bare(term)) for scale, term in zip(scales[1:], inner[1:], strict=True)]
    made += [Constant(term.value / size) for term in terms if isinstance(term, Constant)]
    return size, plus(*made)


def _bare(term: Expression) -> tuple[Expression, ...]:
    assert isinstance(term, Product)
    return term.factors[1:]


def _coefficient(term: Expression) -> float:
    """The constant in front, zero if there is none or it is a number that is known."""
    if not isinstance(term, Product) or not isinstance(term.factors[0], Constant):
        return 0.0
    constant = term.factors[0]
    return constant.value if _is_fitted(constant) else 0.0


def _shift(argument: Expression) -> Constant | None:
    """The fitted constant of a sum."""
    terms = argument.terms if isinstance(argument, Sum) else ()
    return next((term for term in terms if isinstance(term, Constant) and _is_fitted(term)), None)


def _less(argument: Expression, constant: Constant) -> Expression:
    assert isinstance(argument, Sum)
    return plus(*(term for term in argument.terms if term is not constant))


def _is_fitted(constant: Constant) -> bool:
    """Whether it is free, or a decimal number that stands for the units of a network."""
    return constant.exact is None or isinstance(constant.exact, sympy.Float)


def _joined(rule: Rule, function: Function, constant: float, inner: Expression) -> Expression | None:
    outer, joined = _value(function, constant), Apply(function, inner)
    if not math.isfinite(outer) or (outer == 0 and rule == "times"):
        return None
    return times(Constant(outer), joined) if rule == "times" else plus(joined, Constant(outer))


def _value(function: Function, argument: float) -> float:
    with np.errstate(all="ignore"):
        return float(function.value(np.array([argument]))[0])


@cache
def splits(function: Function) -> Rule | None:
    """How the constant that a function swallows comes out: as a factor, as a term, or not at all.

    Example:
        >>> from superpose.symbolic.functions import LIBRARY
        >>> [splits(LIBRARY[name]) for name in ("log", "x^2", "exp", "sin")]
        ['plus', 'times', 'times', None]
    """
    if function.swallows is None:
        return None
    points, constant = np.array([0.7, 1.3, 2.1]), 1.9
    together = points * constant if function.swallows == "scale" else points + constant
    with np.errstate(all="ignore"):
        whole, values = function.value(together), function.value(points)
    outer = _value(function, constant)
    if np.allclose(whole, values * outer, rtol=1e-9):
        return "times"
    return "plus" if np.allclose(whole, values + outer, rtol=1e-9) else None
