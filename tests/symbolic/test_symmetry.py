"""Simpler variables: units, sums and distances are found where they are, and nowhere else."""

from fractions import Fraction

import numpy as np
import pytest

from superpose.symbolic.expression import Variable
from superpose.symbolic.program import Program
from superpose.symbolic.symmetry import Seen, reductions
from superpose.symbolic.view import View

FUNCTIONS = {
    "exponential": lambda u: np.exp(-u / 4),
    "rational": lambda u: 1 / (1 + u),
    "root": lambda u: np.sqrt(1 + u**2),
    "logarithm": lambda u: np.log(2 + u),
}


def looked_at(X, y):
    """All views, each of which must say what it is: its inputs by their roots, the target by `whole`."""
    views = [seen.view for seen in reductions(View.of(X, y, tuple(map(Variable, range(X.shape[1])))))]
    for view in views:
        for column, root in zip(view.X.T, view.roots, strict=True):
            np.testing.assert_allclose(Program(root)(X), column, rtol=1e-9, atol=1e-12)
        whole = Program(view.whole(Variable(X.shape[1])))
        np.testing.assert_allclose(whole(np.column_stack([X, view.t])), y, rtol=1e-8, atol=1e-12)
        assert view.X.shape == (len(y), view.inputs)
        assert len(view.roots) == view.inputs
    sizes = [view.inputs for view in views]
    assert sizes[0] == X.shape[1]
    assert sorted(set(sizes), reverse=True) == sizes, "a reduction has fewer inputs"
    return views


def is_function_of(left, right):
    """Whether two columns are in one another's order, up or down."""
    ranks = np.argsort(np.argsort(left)), np.argsort(np.argsort(right))
    return abs(np.corrcoef(*ranks)[0, 1]) > 1 - 1e-9


def uniform(seed, rows, inputs, low, high):
    return np.random.default_rng(seed).uniform(low, high, (rows, inputs))


@pytest.mark.parametrize("kind", FUNCTIONS)
@pytest.mark.parametrize("seed", range(4))
def test_a_monomial_times_a_function_of_a_monomial_comes_down_to_one_variable(kind, seed):
    rng = np.random.default_rng(seed)
    X = uniform(seed, 400, 3, 1, 3)
    outside, inside = rng.choice([-2, -1, 1, 2], 3), rng.choice([-1, 1], 3)
    u = (X**inside).prod(1)
    last = looked_at(X, (X**outside).prod(1) * FUNCTIONS[kind](u))[-1]
    assert last.inputs == 1
    assert is_function_of(last.X[:, 0], u)


@pytest.mark.parametrize("seed", range(3))
def test_a_product_of_powers_has_no_variables_left(seed):
    X = uniform(seed, 200, 4, 1, 5)
    exponents = np.random.default_rng(seed).choice([-3, -2, -1, -0.5, 0.5, 1, 2], 4)
    last = looked_at(X, 2.5 * (X**exponents).prod(1))[-1]
    assert last.inputs == 0
    np.testing.assert_allclose(last.t, last.t[0])


@pytest.mark.parametrize("seed", range(6))
def test_one_percent_of_noise_does_not_hide_the_units(seed):
    """Views without inputs are judged on the rows that judge the others, or chance would decide."""
    X = uniform(seed, 500, 3, 1, 4)
    y = X[:, 0] * X[:, 1] / X[:, 2] ** 2
    last = looked_at(X, y + 0.01 * y.std() * np.random.default_rng(seed + 1).normal(size=500))[-1]
    assert last.inputs == 0
    assert np.median(last.t) == pytest.approx(1, rel=0.01)


@pytest.mark.parametrize(
    ("function", "variable"),
    [
        (lambda X: np.sin(X[:, 0] - X[:, 1]) + 2, lambda X: X[:, 0] - X[:, 1]),
        (lambda X: np.exp((X[:, 0] + X[:, 1]) / 3), lambda X: X[:, 0] + X[:, 1]),
        (lambda X: np.exp(-(X[:, 0] ** 2 + X[:, 1] ** 2) / 4), lambda X: X[:, 0] ** 2 + X[:, 1] ** 2),
        (lambda X: np.cos(X[:, 0] ** 2 / 3 - X[:, 1] ** 2 / 3), lambda X: X[:, 0] ** 2 - X[:, 1] ** 2),
    ],
    ids=["difference", "sum", "distance", "hyperbola"],
)
@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_two_inputs_that_act_as_one_become_one(function, variable, noise):
    X = uniform(2, 500, 2, -2, 2)
    y = function(X) + noise * np.random.default_rng(3).normal(size=500)
    last = looked_at(X, y)[-1]
    assert last.inputs <= 1
    if last.inputs:
        assert is_function_of(last.X[:, 0], variable(X))


def test_a_weighted_sum_keeps_its_weight():
    X = uniform(4, 500, 2, -2, 2)
    last = looked_at(X, np.exp((X[:, 0] + 2.5 * X[:, 1]) / 4))[-1]
    assert last.inputs == 1
    assert is_function_of(last.X[:, 0], X[:, 0] + 2.5 * X[:, 1])


def test_a_third_input_stays():
    X = uniform(5, 600, 3, -2, 2)
    last = looked_at(X, np.sin(X[:, 2]) * (X[:, 0] - X[:, 1]) + X[:, 2])[-1]
    assert last.inputs == 2
    assert any(is_function_of(column, X[:, 0] - X[:, 1]) for column in last.X.T)
    assert any(is_function_of(column, X[:, 2]) for column in last.X.T)


@pytest.mark.parametrize(
    "function",
    [
        lambda X: np.sin(X[:, 0]) + X[:, 0] * X[:, 1] ** 2,
        lambda X: np.exp(X[:, 0] / 2) * X[:, 1] + X[:, 1] ** 3,
        lambda X: X[:, 0] ** 2 + X[:, 0] + X[:, 1] ** 3 * X[:, 0],
    ],
)
@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_what_has_no_symmetry_is_left_alone(function, noise):
    X = uniform(6, 400, 2, -2, 2)
    y = function(X)
    views = looked_at(X, y + noise * y.std() * np.random.default_rng(7).normal(size=400))
    assert [view.inputs for view in views] == [2]


@pytest.mark.parametrize("low", [-2, 1])
def test_noise_has_no_symmetry(low):
    for seed in range(5):
        X = uniform(seed, 300, 3, low, 3)
        assert len(looked_at(X, np.random.default_rng(seed + 50).normal(size=300))) == 1


def test_an_input_that_says_nothing_goes():
    X = uniform(8, 300, 2, 1, 5)
    last = looked_at(X, np.exp(-X[:, 0]) + X[:, 0] ** 2)[-1]
    assert last.inputs == 1
    assert is_function_of(last.X[:, 0], X[:, 0])


@pytest.mark.parametrize("other", [(-1, 1), (1, 2)])
def test_a_target_that_is_an_input_leaves_a_constant(other):
    """Division by it leaves ones, of which no transform can make anything, whatever the other inputs are."""
    X = np.random.default_rng(9).uniform([1, other[0]], [4, other[1]], (200, 2))
    X[:, 0] = np.round(64 * X[:, 0]) / 64
    last = looked_at(X, 4 * X[:, 0])[-1]
    assert last.inputs == 0
    np.testing.assert_allclose(last.t, 4)


def test_a_constant_needs_no_inputs():
    seen = Seen.of(View.of(uniform(0, 30, 2, 1, 2), np.full(30, 2.0), (Variable(0), Variable(1))))
    assert seen.view.inputs == 0
    assert seen.error == 0


def test_the_error_is_what_is_left_in_the_units_of_the_data():
    X = uniform(10, 2000, 2, 1, 3)
    noise = 0.2 * np.random.default_rng(11).normal(size=2000)
    for seen in reductions(View.of(X, X[:, 0] * X[:, 1] ** 2 + noise, (Variable(0), Variable(1)))):
        assert 0.9 < seen.error / 0.2 < 1.1


def test_broken_exponents_are_read():
    X = uniform(12, 300, 2, 1, 5)
    last = looked_at(X, X[:, 0] ** 1.5 / np.sqrt(X[:, 1]))[-1]
    assert last.inputs == 0
    factor = Program(last.whole(Variable(2)))(np.column_stack([X, np.ones(300)]))
    np.testing.assert_allclose(factor * last.t[0], X[:, 0] ** float(Fraction(3, 2)) / np.sqrt(X[:, 1]), rtol=1e-9)
