"""Normal forms: the same values with fewer constants, once and for all."""

import numpy as np
import pytest
import sympy

from superpose.symbolic.expression import (
    Constant,
    Variable,
    affine,
    apply,
    complexity,
    exactly,
    free_constants,
    plus,
    times,
    to_sympy,
)
from superpose.symbolic.normal import freed, normal
from superpose.symbolic.program import Program

a, b = Variable(0), Variable(1)


@pytest.mark.parametrize("block", range(5))
def test_values_stay_and_formulas_do_not_grow(block, random_formula):
    for seed in range(40 * block, 40 * (block + 1)):
        made = random_formula(seed)
        if made is None:
            continue
        root, X = made
        done, before = normal(root), Program(root)(X)
        np.testing.assert_allclose(Program(done)(X), before, rtol=1e-8, atol=1e-8 * float(np.abs(before).max()))
        assert complexity(done) <= complexity(root) + 2
        assert len(free_constants(done)) <= len(free_constants(root))


@pytest.mark.parametrize(
    ("root", "expected"),
    [
        (affine(2.0, apply("log", affine(3.0, a, 6.0)), 1.0), "2.0*log(a + 2.0) + 3.1972"),
        (apply("x^2", affine(-3.0, a, 6.0)), "9.0*(a - 2.0)**2"),
        (apply("sqrt", plus(times(Constant(4.0), a), times(Constant(2.0), b))), "2.0*sqrt(a + 0.5*b)"),
        (apply("exp", affine(2.0, a, 1.0)), "2.7183*exp(2.0*a)"),
        (apply("sin", affine(-2.0, a, 0.5)), "-sin(2.0*a - 0.5)"),
        (apply("cos", affine(-2.0, a, 0.5)), "cos(2.0*a - 0.5)"),
        (apply("sin", affine(2.0, a, 3 * np.pi + 0.25)), "-sin(2.0*a + 0.25)"),
        (apply("tan", affine(2.0, a, np.pi + 0.25)), "tan(2.0*a + 0.25)"),
        (times(Constant(2.0), affine(3.0, a, 4.0)), "6.0*a + 8.0"),
        (
            times(plus(times(Constant(2.0), a), times(Constant(4.0), b)), plus(times(Constant(3.0), a), Constant(1.0))),
            "6.0*(a + 2.0*b)*(a + 0.33333)",
        ),
        (apply("sin", Constant(0.5)), "0.47943"),
    ],
)  # fmt: skip
def test_what_is_swallowed_goes_outside(root, expected):
    x, y = sympy.symbols("a b", real=True)
    found, meant = to_sympy(normal(root), [x, y]), sympy.sympify(expected, {"a": x, "b": y})
    for place in ({x: 0.7, y: 0.3}, {x: 2.1, y: 1.9}):
        assert float((found - meant).subs(place)) == pytest.approx(0, abs=1e-2)
    assert len(found.atoms(sympy.Float)) <= len(meant.atoms(sympy.Float))


def test_a_sum_that_is_shared_stays_shared():
    shared = affine(2.0, a, 1.0)
    root = plus(apply("x^2", shared), apply("exp", shared))
    assert len(free_constants(normal(root))) == 2


def test_known_numbers_stay_and_units_of_a_network_do_not():
    root = times(exactly(sympy.pi), a)
    assert normal(root) is root
    unit = Constant(0.37, sympy.Float(0.37))
    assert len(free_constants(freed(times(unit, a)))) == 1
    assert free_constants(freed(times(exactly(2), a))) == []


def test_a_zero_does_not_divide():
    root = apply("x^2", affine(0.0, a, 6.0))
    assert Program(normal(root))(np.ones((1, 1)))[0] == 36
