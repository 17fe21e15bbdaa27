"""Shorter ways to write a formula: the values stay, and no formula grows."""

from fractions import Fraction
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from superpose.symbolic.expression import Constant, Variable, apply, complexity, exactly, plus, times
from superpose.symbolic.functions import LIBRARY, power
from superpose.symbolic.program import Program
from superpose.symbolic.tidy import MOST_NODES, tidied

X = np.random.default_rng(0).uniform(0.5, 2, (40, 2))
Z = np.random.default_rng(1).uniform(-2, 2, (40, 2))
a, b = Variable(0), Variable(1)

# Recipes, not formulas: SymPy draws random numbers, which a strategy must not.
leaves = st.one_of(
    st.sampled_from([0, 1]).map(lambda n: partial(Variable, n)),
    st.integers(-3, 3).filter(bool).map(lambda number: partial(exactly, number)),
    st.floats(0.1, 3).map(lambda number: partial(Constant, number)),
)
functions = st.sampled_from([LIBRARY[name] for name in ("exp", "log", "sin", "abs", "logistic")])
powers = st.sampled_from([power(Fraction(n, 2)) for n in (-2, -1, 1, 4, 6)])
expressions = st.recursive(
    leaves,
    lambda below: st.one_of(
        st.lists(below, min_size=2, max_size=3).map(lambda parts: lambda: plus(*(part() for part in parts))),
        st.lists(below, min_size=2, max_size=3).map(lambda parts: lambda: times(*(part() for part in parts))),
        st.tuples(st.one_of(functions, powers), below).map(lambda pair: lambda: apply(pair[0], pair[1]())),
    ),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(expressions, st.sampled_from([X, Z]))
def test_values_stay_and_no_formula_grows(recipe, rows):
    root = recipe()
    values = Program(root)(rows)
    short = tidied(root, rows)
    assert complexity(short) <= complexity(root)
    if short is not root:
        np.testing.assert_allclose(Program(short)(rows), values, atol=1.01e-7 * np.abs(values).max())


def over(numerator, denominator):
    return times(numerator, apply("x^-1", denominator))


SHORTER = {
    "distance": (times(a, apply("sqrt", plus(exactly(1), over(apply("x^2", b), apply("x^2", a))))), 9),
    "common factor": (plus(times(a, b), times(a, a)), 5),
    "cancelled": (over(plus(times(a, b), a), a), 3),
    "logarithms": (plus(apply("log", a), apply("log", b)), 4),
}


@pytest.mark.parametrize("name", SHORTER)
def test_known_formulas_become_short(name):
    root, most = SHORTER[name]
    short = tidied(root, X)
    assert complexity(short) <= most < complexity(root)
    np.testing.assert_allclose(Program(short)(X), Program(root)(X), rtol=1e-9)


def test_what_holds_only_for_positive_numbers_is_not_used_for_others():
    root = apply("sqrt", apply("x^2", a))
    np.testing.assert_allclose(Program(tidied(root, Z))(Z), np.abs(Z[:, 0]))
    assert tidied(root, X) is a or complexity(tidied(root, X)) == 1


def test_long_formulas_are_left_alone():
    root = plus(*(times(Constant(float(n)), apply("sin", a)) for n in range(1, MOST_NODES)))
    assert tidied(root, X) is root


def test_one_that_is_not_defined_is_left_alone():
    root = plus(apply("log", a), apply("log", a))
    assert tidied(root, Z) is root
