"""Formulas become simpler, node by node, each time where the held-out error grows least."""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from superpose.symbolic.expression import (
    ONE,
    Apply,
    Constant,
    Expression,
    Product,
    Sum,
    affine,
    ordered,
    plus,
    rebuilt,
    times,
)
from superpose.symbolic.functions import Array, Function
from superpose.symbolic.match import Match, matches
from superpose.symbolic.program import Program
from superpose.symbolic.replacement import QUICK, Clock, Rows, State, fitted

BRIEF = 8
"""Evaluations in a first look at a move."""
TRIED = 4
"""Moves of each round that are fitted well, of all that are fitted a little."""
OTHERS = 2
"""Other functions that are tried for a function."""


def reduced(state: State, rows: Rows, functions: Sequence[Function], floor: float, clock: Clock) -> Iterator[State]:
    """Ever simpler formulas, down to a constant.

    Args:
        state: A formula whose edges are all symbols.
        rows: What constants are fitted to, and what decides.
        functions: What may take the place of a function.
        floor: Errors below it are alike.
        clock: When to stop.
    """
    while state.size > 1 and not clock.over:
        size = state.size
        tried = [fitted(root, rows, BRIEF) for root in simpler(state.root, rows.X, functions) if not clock.over]
        tried = [other for other in tried if other.size < size and math.isfinite(other.held_out)]
        if not tried:
            return
        best = sorted(tried, key=lambda other: other.rank(floor))[:TRIED]
        state = min((fitted(other.root, rows, 2 * QUICK) for other in best), key=lambda other: other.rank(floor))
        yield state


def improved(state: State, rows: Rows, functions: Sequence[Function], floor: float, clock: Clock) -> State:
    """The formula with other functions where they are much better, one at a time for as long as that helps."""
    while state.held_out > floor and not clock.over:
        others = [fitted(root, rows, QUICK) for root in exchanged(state.root, rows.X, functions) if not clock.over]
        best = min(others, key=lambda other: other.rank(floor), default=state)
        if not best.rank(floor) < state.rank(floor) - 2 * OTHERS * 0.1:
            break
        state = State(best.root, best.held_out, state.symbols)
    return state


def simpler(root: Expression, X: Array, functions: Sequence[Function]) -> Iterator[Expression]:
    """Formulas with a term, a factor or a function less, or with a simpler function."""
    for node in ordered(root):
        for other in _less(node, X):
            yield rebuilt(root, {id(node): other})
        if isinstance(node, Apply):
            fewer = [function for function in functions if function.complexity < node.function.complexity]
            for other in _instead(node, X, fewer, OTHERS):
                yield rebuilt(root, {id(node): other})


def exchanged(root: Expression, X: Array, functions: Sequence[Function]) -> Iterator[Expression]:
    """Formulas with one function exchanged for another that looks like it."""
    for node in ordered(root):
        if isinstance(node, Apply):
            others = [function for function in functions if function is not node.function]
            for other in _instead(node, X, others, 2 * OTHERS):
                yield rebuilt(root, {id(node): other})


def _less(node: Expression, X: Array) -> Iterator[Expression]:
    if isinstance(node, Sum):
        for term in node.terms:
            yield plus(*(other for other in node.terms if other is not term), *_mean(term, X))
    elif isinstance(node, Product):
        for factor in node.factors:
            rest = [other for other in node.factors if other is not factor]
            if not isinstance(factor, Constant):
                yield times(*rest, *_mean(factor, X))
                yield times(*rest)
            elif factor.exact is None:
                yield times(*rest)
                yield times(Constant(-1.0, -ONE.exact), *rest)
    elif isinstance(node, Apply):
        for match in _matches(node, X, ()):
            yield affine(match.outer[0], node.argument, match.outer[1])


def _mean(node: Expression, X: Array) -> list[Expression]:
    """What stays of a term that goes; nothing of a constant."""
    if isinstance(node, Constant):
        return []
    mean = float(np.mean(Program(node)(X)))
    return [Constant(mean)] if math.isfinite(mean) else []


def _instead(node: Apply, X: Array, functions: Sequence[Function], most: int) -> list[Expression]:
    if isinstance(node.argument, Constant):
        return []
    found = [match for match in _matches(node, X, functions) if match.function is not None]
    return [match.of(node.argument) for match in found[:most]]


def _matches(node: Apply, X: Array, functions: Sequence[Function]) -> list[Match]:
    """Symbols for the function, where its argument lies."""
    t = Program(node.argument)(X)
    with np.errstate(all="ignore"):
        f = node.function.value(t)
    return matches(t, f, functions) if np.isfinite(f).all() and np.ptp(t) > 0 else []
