"""Other variables: what a change of the target does, its inverse undoes, and the scale is the derivative."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from superpose.symbolic.expression import Constant, Variable, apply, exactly, plus, times
from superpose.symbolic.program import Program
from superpose.symbolic.view import TRANSFORMS, View, monomial, monomial_values, transformed

a, b, target = Variable(0), Variable(1), Variable(2)
LINES = {"t": (-3, 3), "cos": (0.1, 3), "sin": (-1.5, 1.5), "tan": (-1.5, 1.5), "atanh": (-0.9, 0.9), "exp": (-3, 3)}


def data(low=0.2, high=2.0, rows=50):
    rng = np.random.default_rng(0)
    return rng.uniform(0.5, 2, (rows, 2)), rng.uniform(low, high, rows)


def restored(view, X):
    """What `whole` makes of the view's own target: the target of the data, if the view keeps its word."""
    return Program(view.whole(target))(np.column_stack([X, view.t]))


@pytest.mark.parametrize("transform", TRANSFORMS, ids=lambda transform: transform.name)
def test_a_transform_is_undone_and_knows_its_slope(transform):
    t = np.linspace(*LINES.get(transform.name, (0.2, 3)), 101)
    assert transform.allows(t)
    back = Program(transform.inverse(Variable(0)))(transform.forward(t)[:, None])
    np.testing.assert_allclose(back, t, rtol=1e-10, atol=1e-12)
    difference = (transform.forward(t + 1e-6) - transform.forward(t - 1e-6)) / 2e-6
    np.testing.assert_allclose(transform.slope(t), difference, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("transform", TRANSFORMS, ids=lambda transform: transform.name)
@settings(max_examples=30, deadline=None)
@given(st.floats(-20, 20), st.floats(0, 20))
def test_what_a_transform_allows_it_can_undo(transform, low, width):
    t = np.linspace(low, low + width, 40)
    if transform.allows(t):
        with np.errstate(all="ignore"):
            z = transform.forward(t)
            back = Program(transform.inverse(Variable(0)))(z[:, None])
        good = np.isfinite(z)
        np.testing.assert_allclose(back[good], t[good], rtol=1e-6, atol=1e-6 * (1 + np.abs(t).max()))


@pytest.mark.parametrize(("low", "high"), [(0.2, 0.9), (-0.9, 0.9), (-3, -1), (2, 9)])
def test_every_change_of_the_target_gives_it_back_and_knows_how_it_counts(low, high):
    X, y = data(low, high)
    view = View.of(X, y, (a, b)).over(X[:, 0] ** 2, apply("x^2", a))
    names = []
    for transform, changed in transformed(view):
        names.append(transform.name)
        np.testing.assert_allclose(restored(changed, X), y, rtol=1e-9)
        step = 1e-6 * np.maximum(np.abs(changed.t), 1e-3)
        more, less = (Program(changed.whole(target))(np.column_stack([X, changed.t + s])) for s in (step, -step))
        np.testing.assert_allclose((more - less) / (2 * step), changed.scale, rtol=1e-4)
    assert names[0] == "t"
    assert ("log" in names) == (low > 0)


def test_factors_compose():
    X, y = data()
    view = View.of(X, y, (a, b))
    first = view.over(X[:, 0], a)
    second = first.over(X[:, 1] ** 2, apply("x^2", b))
    np.testing.assert_allclose(second.t, y / X[:, 0] / X[:, 1] ** 2)
    np.testing.assert_allclose(second.scale, X[:, 0] * X[:, 1] ** 2)
    for each in (view, first, second, second.rows(np.arange(50)), second.of_inputs(X[:, :1], (a,))):
        np.testing.assert_allclose(restored(each, X), y)
    assert second.of_inputs(X[:, :1], (a,)).inputs == 1
    assert view.inputs == 2


def test_rows_are_taken_from_everything():
    X, y = data()
    index = np.array([3, 1, 7])
    part = View.of(X, y, (a, b)).over(X[:, 0], a).rows(index)
    np.testing.assert_array_equal(part.X, X[index])
    np.testing.assert_array_equal(part.scale, X[index, 0])
    np.testing.assert_allclose(restored(part, X[index]), y[index])


def test_a_target_that_does_not_vary_has_no_views():
    X, _ = data()
    assert list(transformed(View.of(X, np.full(50, 3.0), (a, b)))) == []


@settings(max_examples=50, deadline=None)
@given(st.lists(st.fractions(-3, 3, max_denominator=2), min_size=2, max_size=2))
def test_a_monomial_has_the_values_it_says(exponents):
    X, _ = data()
    exponents = [Fraction(e) for e in exponents]
    expected = X[:, 0] ** float(exponents[0]) * X[:, 1] ** float(exponents[1])
    np.testing.assert_allclose(monomial_values(X, exponents), expected, rtol=1e-12)
    np.testing.assert_allclose(Program(monomial((a, b), exponents))(X), expected, rtol=1e-12)


def test_a_monomial_of_expressions_raises_them():
    X, _ = data()
    root = monomial((plus(a, b), times(Constant(2.0), b)), [Fraction(2), Fraction(-1)])
    np.testing.assert_allclose(Program(root)(X), X.sum(1) ** 2 / (2 * X[:, 1]))
    assert monomial((a, b), [Fraction(0), Fraction(0)]) is not exactly(1)
    assert Program(monomial((a, b), [Fraction(0), Fraction(0)]))(X).tolist() == [1.0] * 50
