"""SymPy and back: the values stay, floats become free, and what has no counterpart is refused by name."""

from fractions import Fraction
from functools import partial

import numpy as np
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st

from superpose.symbolic.expression import (
    Constant,
    Variable,
    apply,
    exactly,
    free_constants,
    plus,
    times,
    to_sympy,
    used_variables,
)
from superpose.symbolic.functions import LIBRARY, power
from superpose.symbolic.parse import NAMES, from_sympy
from superpose.symbolic.program import Program

a, b = sympy.symbols("a b", positive=True)
X = np.random.default_rng(0).uniform(0.2, 2, (30, 2))

# Recipes, not formulas: SymPy draws random numbers, which a strategy must not.
leaves = st.one_of(
    st.sampled_from([0, 1]).map(lambda n: partial(Variable, n)),
    st.integers(-4, 4).filter(bool).map(lambda number: partial(exactly, number)),
    st.fractions(-3, 3, max_denominator=5).filter(bool).map(lambda number: partial(exactly, number)),
    st.floats(0.1, 3).map(lambda number: partial(Constant, number)),
)
functions = st.sampled_from([LIBRARY[name] for name in ("exp", "log", "sin", "cos", "tan", "atan", "tanh", "J0", "abs",
                                                        "gaussian", "erf", "asinh", "logistic")])  # fmt: skip
powers = st.sampled_from([power(Fraction(n, 2)) for n in (-4, -3, -2, -1, 1, 3, 4, 6)])
expressions = st.recursive(
    leaves,
    lambda below: st.one_of(
        st.lists(below, min_size=2, max_size=3).map(lambda parts: lambda: plus(*(part() for part in parts))),
        st.lists(below, min_size=2, max_size=3).map(lambda parts: lambda: times(*(part() for part in parts))),
        st.tuples(st.one_of(functions, powers), below).map(lambda pair: lambda: apply(pair[0], pair[1]())),
    ),
    max_leaves=8,
)


def agree(left, right):
    """The same wherever the first is a number of reasonable size."""
    good = np.isfinite(left) & (np.abs(left) < 1e8)
    np.testing.assert_allclose(right[good], left[good], rtol=1e-6, atol=1e-7)


@settings(max_examples=150, deadline=None)
@given(expressions)
def test_there_and_back_the_values_are_the_same(recipe):
    root = recipe()
    written = to_sympy(root, [a, b])
    if written.has(sympy.zoo, sympy.oo, sympy.nan, sympy.I) or not written.is_extended_real:
        return
    agree(Program(root)(X), Program(from_sympy(written, {a: 0, b: 1}))(X))


@pytest.mark.parametrize("name", sorted(LIBRARY))
def test_every_function_of_the_library_comes_back(name):
    root = apply(name, times(exactly(Fraction(1, 3)), Variable(1)))
    real = sympy.symbols("a b", real=True)
    back = from_sympy(to_sympy(root, real), {real[0]: 0, real[1]: 1})
    agree(Program(root)(X), Program(back)(X))
    assert used_variables(back) == [1]


def test_names_are_those_of_the_library():
    for function, name in NAMES.items():
        assert LIBRARY[name].sympy(a) == function(a)


def test_floats_are_free_and_other_numbers_stay():
    root = from_sympy(2 * a + sympy.Float(1.5) * b + sympy.pi * sympy.sqrt(2) / 3, {a: 0, b: 1})
    assert [constant.value for constant in free_constants(root)] == [1.5]
    assert to_sympy(root, [a, b]).has(sympy.pi)


def test_powers_of_all_kinds():
    for written in (a**b, 2**a, a**sympy.pi, sympy.exp(a), a ** sympy.Rational(2, 3), a ** sympy.Float(1.3), 1 / a):
        values = sympy.lambdify([a, b], written)(*X.T)
        np.testing.assert_allclose(Program(from_sympy(written, {a: 0, b: 1}))(X), values, rtol=1e-12)


def test_a_number_of_which_sympy_knows_little_is_a_number():
    assert sympy.tan(sympy.E).is_real is None
    assert from_sympy(sympy.tan(sympy.E), {}).value == pytest.approx(np.tan(np.e))


@pytest.mark.parametrize(
    ("written", "message"),
    [(sympy.gamma(a), "gamma"), (a + sympy.I, "no real number"), (sympy.Max(a, b), "Max"), (sympy.oo, "no real number"), (sympy.nan, "no real number"),
     (sympy.besselj(1, a), "besselj"), (sympy.Symbol("c"), "Symbol")],
)  # fmt: skip
def test_what_has_no_counterpart_raises(written, message):
    with pytest.raises(ValueError, match=message):
        from_sympy(written, {a: 0, b: 1})
