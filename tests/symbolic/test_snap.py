"""Nice constants: all that are near are found, the true ones come back, and the data are never contradicted."""

import math

import numpy as np
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st

from superpose.symbolic.expression import Constant, Variable, apply, exactly, free_constants, ordered, plus, times
from superpose.symbolic.program import Program
from superpose.symbolic.refit import refit
from superpose.symbolic.snap import COINCIDENCE, nice_numbers, snapped

a, b = Variable(0), Variable(1)
X = np.random.default_rng(0).uniform(0.5, 3, (200, 2))


def brute_force(value, width):
    """Every sign * (p / q) * pi^k and every root of one, by its exact number, with its chance."""
    found = {}
    for k, dear in ((0, 1), (1, 4), (-1, 4), (2, 12), (-2, 12)):
        for root in (False, True):
            for q in range(1, 101):
                p = round((value**2 if root else abs(value)) / math.pi**k * q)
                if p < 1 or p > 10**6 or math.gcd(p, q) > 1:
                    continue
                near = p / q * math.pi**k
                near = math.sqrt(near) if root else near
                cost = p * q * dear * (12 if root else 1)
                chance = max(abs(near - abs(value)), width) / abs(value) * cost
                if chance < COINCIDENCE:
                    found[(p, q, k, root)] = math.copysign(near, value), cost, chance
    return found


@settings(max_examples=40, deadline=None)
@given(st.floats(1e-3, 1e3), st.booleans(), st.sampled_from([1e-12, 1e-6, 1e-3]))
def test_nice_numbers_are_those_of_brute_force(size, negative, share):
    value, width = -size if negative else size, share * size
    found, expected = nice_numbers(value, width), brute_force(value, width)
    assert len(found) == len(expected)
    left = sorted((number.cost, chance, number.value) for chance, number in found)
    right = sorted((cost, chance, near) for near, cost, chance in expected.values())
    np.testing.assert_allclose(left, right, rtol=1e-9)
    costs = [number.cost for _, number in found]
    assert costs == sorted(costs)
    for _, number in found:
        assert float(number.exact) == pytest.approx(number.value, rel=1e-12)


@pytest.mark.parametrize("value", [0.0, math.nan, math.inf, -math.inf, 1e200, -1e200, 1e-200, 1e308])
def test_numbers_of_any_size_have_none_or_right_ones(value):
    for _, number in nice_numbers(value, abs(value) * 1e-12 if math.isfinite(value) else 1.0):
        assert number.value == pytest.approx(value)
    assert nice_numbers(1.0, math.inf) == []


EXACT = [
    sympy.Integer(3), sympy.Rational(-1, 2), sympy.Rational(7, 3), sympy.pi, 1 / (4 * sympy.pi), -sympy.pi**2,
    2 / sympy.pi**2, sympy.sqrt(2), 1 / sympy.sqrt(2 * sympy.pi), sympy.Integer(1000), sympy.Rational(1, 96),
]  # fmt: skip


@pytest.mark.parametrize("number", EXACT, ids=str)
def test_a_constant_comes_back(number):
    fitted = snapped(plus(times(Constant(0.9 * float(number)), apply("exp", a)), b), X, float(number) * np.exp(X[:, 0]) + X[:, 1])  # fmt: skip
    assert free_constants(fitted.root) == []
    exact = [node.exact for node in ordered(fitted.root) if isinstance(node, Constant)]
    assert [sympy.simplify(each - number) for each in exact] == [0]


def test_several_constants_come_back_together():
    root = plus(times(Constant(1.8), apply("sin", times(Constant(3.1), a))), times(Constant(0.3), b), Constant(-4.1))
    y = 2 * np.sin(math.pi * X[:, 0]) + X[:, 1] / 3 - 4
    fitted = snapped(root, X, y)
    assert free_constants(fitted.root) == []
    np.testing.assert_allclose(Program(fitted.root)(X), y, atol=1e-12)


def test_a_term_that_the_data_do_not_need_goes():
    y = 2 * X[:, 0] + 0.01 * np.random.default_rng(1).normal(size=200)
    fitted = snapped(plus(times(Constant(1.9), a), times(Constant(0.1), b), Constant(0.2)), X, y)
    assert len(free_constants(fitted.root)) == 0
    assert Program(fitted.root)(np.array([[1.0, 7.0]])) == pytest.approx(2.0)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([1e-6, 1e-3, 0.03, 0.3]))
def test_noisy_data_are_never_contradicted(seed, noise):
    rng = np.random.default_rng(seed)
    scale, shift = rng.uniform(-3, 3, 2)
    y = scale * X[:, 0] + shift + noise * rng.normal(size=200)
    root = plus(times(Constant(1.0), a), Constant(0.0))
    before, after = refit(root, X, y), snapped(root, X, y)
    gone = len(before.deviations) - len(free_constants(after.root))
    assert after.loss <= before.loss * (1 + 8 / len(y)) ** gone * (1 + 1e-9)
    # One that was made nice lies as near to the best fit as its standard error lets it.
    design = np.column_stack([X[:, 0], np.ones(200)])
    best, covariance = np.linalg.lstsq(design, y, rcond=None)[0], np.linalg.inv(design.T @ design) * before.loss
    slope, intercept = np.diff(Program(after.root)(np.eye(2, 2)[::-1]))[0], Program(after.root)(np.zeros((1, 2)))[0]
    away = np.array([slope, intercept]) - best
    assert away @ np.linalg.solve(covariance, away) <= gone * 8 * 1.1 + 1e-6


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6))
def test_a_random_constant_that_is_known_well_stays_as_it_is(seed):
    rng = np.random.default_rng(seed)
    constant = rng.uniform(1, 4)
    y = constant * X[:, 0] + 1e-8 * rng.normal(size=200)
    fitted = snapped(times(Constant(1.0), a), X, y)
    assert Program(fitted.root)(np.ones((1, 2)))[0] == pytest.approx(constant, abs=1e-8)


def test_chance_matches_are_as_rare_as_they_say():
    """Of random constants known to a part in 10,000 a few in a hundred look nice by accident, not more."""
    rng, taken = np.random.default_rng(3), 0
    for _ in range(60):
        y = rng.uniform(1, 10) * X[:, 0] * (1 + 1e-3 * rng.normal(size=200))
        taken += not free_constants(snapped(times(Constant(1.0), a), X, y).root)
    assert taken <= 20


def test_what_is_not_defined_stays_and_is_infinitely_bad():
    root = times(Constant(1.5), apply("log", times(exactly(-1), a)))
    assert snapped(root, X, X[:, 0]).loss == math.inf
