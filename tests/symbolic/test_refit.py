"""Refits: they find the constants, never get worse, and say how sure they are."""

import numpy as np
import pytest

from superpose.symbolic.expression import (
    Constant,
    Variable,
    affine,
    apply,
    exactly,
    free_constants,
    plus,
    times,
    with_constants,
)
from superpose.symbolic.program import Program
from superpose.symbolic.refit import mean_square, refit

rng = np.random.default_rng(0)
X = rng.uniform(-1, 1, (200, 2))
a, b = Variable(0), Variable(1)
root = affine(1.5, apply("exp", plus(times(Constant(0.7), a), apply("sin", times(Constant(3.0), b)))), -0.3)


def test_constants_come_back():
    truth = [c.value for c in free_constants(root)]
    start = with_constants(root, [value * 1.2 + 0.05 for value in truth])
    found = refit(start, X, values(root))
    assert [c.value for c in free_constants(found.root)] == pytest.approx(truth, rel=1e-9)
    assert found.loss < 1e-25
    assert mean_square(start, X, values(root)) > 1e-3


def values(formula):
    return Program(formula)(X)


def test_known_constants_stay():
    found = refit(plus(times(exactly(2), a), Constant(0.0)), X, 3 * X[:, 0] + 1)
    assert len(free_constants(found.root)) == 1
    assert found.loss == pytest.approx(np.var(X[:, 0]), rel=1e-9)


def test_deviations_are_those_of_least_squares():
    y = 2 * X[:, 0] + 0.1 * rng.normal(size=len(X))
    found = refit(times(Constant(1.0), a), X, y)
    slope = X[:, 0] @ y / (X[:, 0] @ X[:, 0])
    assert free_constants(found.root)[0].value == pytest.approx(slope)
    assert found.deviations[0] == pytest.approx(np.sqrt(found.loss / (X[:, 0] @ X[:, 0])))


def test_what_the_data_do_not_fix_has_a_large_deviation():
    y = 3 * X[:, 0] + 0.1 * rng.normal(size=len(X))
    redundant = refit(plus(times(Constant(1.0), a), times(Constant(1.0), a)), X, y)
    assert redundant.loss == pytest.approx(refit(times(Constant(1.0), a), X, y).loss)
    assert (redundant.deviations > 1e3).all()


def test_it_never_gets_worse():
    start = apply("log", affine(1.0, a, 1.5))
    y = np.where(X[:, 0] > 0, 1e6, -1e6)
    assert refit(start, X, y).loss <= mean_square(start, X, y)


def test_undefined_formulas_have_an_infinite_loss():
    assert mean_square(apply("log", a), X, X[:, 0]) == np.inf
    assert refit(apply("log", a), X, X[:, 0]).loss == np.inf


def test_more_constants_than_rows_are_left_alone():
    found = refit(root, X[:2], values(root)[:2] + 1)
    assert found.root is root
