"""Sums of curves: the curves are those that were added, and the formulas hold what no curve does, the intercept."""

import numpy as np
import pytest

from superpose.symbolic.additive import COMBINATIONS, additive_formulas, additives
from superpose.symbolic.expression import Variable
from superpose.symbolic.functions import STANDARD
from superpose.symbolic.program import Program
from superpose.symbolic.refit import mean_square, refit
from superpose.symbolic.view import View

PARTS = (lambda x: np.sin(2 * x), lambda x: x**2, lambda x: np.exp(x / 2))


def never():
    return False


def summed(X):
    return sum(part(column) for part, column in zip(PARTS, X.T, strict=True))


def view_of(X, y):
    return View.of(X, y, tuple(map(Variable, range(X.shape[1]))))


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(0).uniform(-2, 2, (400, 3))


@pytest.mark.parametrize(
    ("name", "change"),
    [("t", lambda s: s), ("log", lambda s: np.exp(s / 3)), ("x^2", lambda s: np.sqrt(s + 4)), ("x^-1", lambda s: 1 / (s + 4))],
)  # fmt: skip
def test_the_curves_behind_a_change_of_the_target_are_those_that_were_added(X, name, change):
    best = additives(view_of(X, change(summed(X))))[0]
    assert best.transform.name == name
    scale = 1 / 3 if name == "log" else 1
    for column, part in enumerate(PARTS):
        x, f, _ = best.curve(column)
        expected = scale * part(x)
        np.testing.assert_array_equal(x, np.sort(X[:, column]))
        np.testing.assert_allclose(f - f.mean(), expected - expected.mean(), atol=1e-4)


def test_the_best_come_first_and_errors_are_those_of_other_rows(X):
    noise = 0.1 * np.random.default_rng(1).normal(size=400)
    found = additives(view_of(X, summed(X) + noise))
    errors = [each.error for each in found]
    assert errors == sorted(errors)
    assert found[0].transform.name == "t"
    assert found[0].order == 0
    assert 0.08 < errors[0] < 0.14


@pytest.mark.parametrize("seed", range(3))
def test_curves_of_noise_miss_other_rows(seed):
    rng = np.random.default_rng(seed)
    found = additives(view_of(rng.uniform(-2, 2, (45, 5)), rng.normal(size=45)))
    assert next(each for each in found if each.transform.name == "t").error > 0.9


def test_curves_and_intercept_add_up_to_the_target(X):
    y = 7 + summed(X)
    best = additives(view_of(X, y))[0]
    parts = [np.interp(X[:, n], *best.curve(n)[:2]) for n in range(3)]
    np.testing.assert_allclose(best.coef[0] + sum(parts), y, atol=1e-4)


@pytest.mark.parametrize("shift", [7.0, -30.0, 0.0])
def test_formulas_are_near_before_any_constant_is_refitted(X, shift):
    y = shift + summed(X)
    view = view_of(X, y)
    best = additives(view)[0]
    losses = [mean_square(root, X, y) for root in additive_formulas(best, STANDARD, best.error, never)]
    assert min(losses) < 1e-4 * y.var()


def test_symbols_are_the_curves_after_a_refit(X):
    y = np.exp(summed(X) / 5 + 1)
    view = view_of(X, y)
    best = additives(view)[0]
    fresh = np.random.default_rng(9).uniform(-2, 2, (100, 3))
    fitted = min(
        (refit(root, X, y) for root in additive_formulas(best, STANDARD, 0.0, never)), key=lambda each: each.loss
    )
    np.testing.assert_allclose(Program(fitted.root)(fresh), np.exp(summed(fresh) / 5 + 1), rtol=1e-8)


def test_the_scale_of_a_wide_range_is_logarithmic():
    X = np.random.default_rng(2).uniform(0.01, 100, (300, 1))
    y = np.log(X[:, 0]) ** 3
    assert additives(view_of(X, y))[0].error < 1e-8


@pytest.mark.parametrize(("rows", "inputs"), [(4, 1), (8, 2), (9, 4), (50, 20)])
def test_too_few_rows_have_no_curves(rows, inputs):
    X = np.random.default_rng(3).normal(size=(rows, inputs))
    assert additives(view_of(X, X[:, 0])) == []


def test_many_curves_are_no_obstacle():
    X = np.random.default_rng(4).uniform(-2, 2, (600, 12))
    y = (X**2).sum(1) + np.random.default_rng(5).normal(size=600)
    found = next(each for each in additives(view_of(X, y)) if each.transform.name == "t")
    assert len(list(additive_formulas(found, STANDARD, found.error, never))) == COMBINATIONS


def test_no_symbols_no_formulas(X):
    """Only a straight line is left, and a fast wave looks like none; nor are there any when the time is up."""
    view = view_of(X[:, :1], np.sin(6 * X[:, 0]))
    best = next(each for each in additives(view) if each.transform.name == "t")
    assert list(additive_formulas(best, (), 0.0, never)) == []
    assert list(additive_formulas(best, STANDARD, 0.0, lambda: True)) == []
