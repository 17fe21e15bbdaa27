"""Few terms of many: planted sums, quotients and products come back, and the best pair is the best pair."""

from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest

from superpose.symbolic.dictionary import Term, _best_pairs, _cancels, _distinct, product_formulas, sparse_formulas
from superpose.symbolic.expression import ONE, Apply, Variable, ordered
from superpose.symbolic.program import Program
from superpose.symbolic.view import View


def drawn(low, high, inputs=2, rows=300, seed=0):
    return np.random.default_rng(seed).uniform(low, high, (rows, inputs))


def view_of(X, y):
    return View.of(X, y, tuple(map(Variable, range(X.shape[1]))))


def check(found, function, low, high, inputs=2):
    """The first formula is the function, on rows that it has not seen."""
    fresh = drawn(low, high, inputs, rows=100, seed=99)
    error, root = found[0]
    expected = function(fresh)
    assert error < 1e-8 * expected.std()
    np.testing.assert_allclose(Program(root)(fresh), expected, rtol=1e-6, atol=1e-7 * np.abs(expected).max())


SUMS = {
    "powers": lambda X: 2 * X[:, 0] ** 2 - 3 * X[:, 1] ** 3 + 1,
    "waves": lambda X: 1.5 * np.sin(X[:, 0]) * X[:, 1] + X[:, 0],
    "three": lambda X: X[:, 0] - 2 * X[:, 1] + 0.3 * X[:, 0] * np.exp(X[:, 1]),
    "joint": lambda X: 3 * np.cos(X[:, 0] - X[:, 1]) + X[:, 1] ** 2,
    "root": lambda X: np.sqrt(X[:, 0] ** 2 + 2 * X[:, 1] ** 4 + 1),
    "exponential": lambda X: np.exp(0.3 * X[:, 0] ** 2 - 0.7 * X[:, 0] * X[:, 1]),
    "wave of a sum": lambda X: 1 / (2 + X[:, 0] ** 2 + X[:, 1] ** 2),
}
QUOTIENTS = {
    "linear": lambda X: (1 + X[:, 0]) / (2 + X[:, 1]),
    "rational": lambda X: X[:, 0] / (1 + X[:, 0] * X[:, 1]),
    "three": lambda X: (X[:, 0] - 2 * X[:, 1]) / (1 + 0.5 * X[:, 0]),
}
PRODUCTS = {
    "powers": lambda X: -2.5 * X[:, 0] ** 2 / X[:, 1] ** 3,
    "roots": lambda X: np.sqrt(X[:, 0]) / X[:, 1] ** 1.5,
    "sums": lambda X: X[:, 0] ** 2 * np.sqrt(X[:, 0] + X[:, 1]),
    "shifted": lambda X: 3 * X[:, 1] / (X[:, 0] + 1) ** 2,
    "negative": lambda X: 1 / np.sqrt(X[:, 0] + 1) * np.exp(-1.3 * X[:, 1]),
    "wave": lambda X: X[:, 0] * np.sin(X[:, 1] / 2) ** 2,
}


@pytest.mark.parametrize("name", SUMS)
def test_a_sum_of_a_few_terms_is_found(name):
    X = drawn(-2, 2)
    check(sparse_formulas(view_of(X, SUMS[name](X)), goal=1e-10), SUMS[name], -2, 2)


@pytest.mark.parametrize("name", QUOTIENTS)
def test_a_quotient_is_found(name):
    X = drawn(0.5, 3)
    check(sparse_formulas(view_of(X, QUOTIENTS[name](X)), goal=1e-10), QUOTIENTS[name], 0.5, 3)


@pytest.mark.parametrize("name", PRODUCTS)
def test_a_product_of_powers_is_found_with_simple_exponents(name):
    X = drawn(0.5, 3)
    found = product_formulas(view_of(X, PRODUCTS[name](X)), goal=1e-10)
    check(found, PRODUCTS[name], 0.5, 3)
    powers = [node.function.name for node in ordered(found[0][1]) if isinstance(node, Apply)]
    exponents = [Fraction(name[2:]) for name in powers if name.startswith("x^")]
    assert all(exponent.denominator <= 2 for exponent in exponents)


@pytest.mark.parametrize("seed", range(5))
def test_a_random_sum_under_noise_is_found_to_the_noise(seed):
    rng = np.random.default_rng(seed)
    X = drawn(0.5, 3, inputs=3, seed=seed)
    terms = [X[:, 0] * X[:, 1], np.exp(-X[:, 2]), X[:, 1] ** 2, X[:, 0] / X[:, 2], np.log(X[:, 1])]
    one, two = rng.choice(5, 2, replace=False)
    y = 2 * terms[one] / terms[one].std() - 1.5 * terms[two] / terms[two].std() + 0.05 * rng.normal(size=300)
    error, root = sparse_formulas(view_of(X, y), goal=0.055)[0]
    assert 0.04 < error < 0.06
    assert np.mean((Program(root)(X) - y) ** 2) ** 0.5 == pytest.approx(error, rel=0.05)


def test_the_error_of_a_quotient_is_that_of_its_values():
    """An equation multiplied by a small denominator holds nearly, whatever the quotient is."""
    X = drawn(0.5, 3, inputs=3, seed=4)
    y = 2 * X[:, 1] ** 2 - 1.5 * np.log(X[:, 1]) + 0.5 * np.random.default_rng(4).normal(size=300)
    for error, root in sparse_formulas(view_of(X, y), goal=0.0)[:40]:
        assert np.mean((Program(root)(X) - y) ** 2) ** 0.5 < 1.5 * error


def test_errors_are_in_the_units_of_the_data_and_ordered():
    X = drawn(0.5, 3)
    y = np.exp(np.sin(X[:, 0]) + X[:, 1] / 3) + 0.1 * np.random.default_rng(1).normal(size=300)
    errors = [error for error, _ in sparse_formulas(view_of(X, y), goal=0.0)]
    assert errors == sorted(errors)


@pytest.mark.parametrize("seed", range(10))
def test_the_best_pairs_are_those_of_all_least_squares(seed):
    rng = np.random.default_rng(seed)
    F = rng.normal(size=(40, 12)) @ (np.eye(12) + 0.4 * rng.normal(size=(12, 12)))
    F /= np.linalg.norm(F, axis=0)
    target = F[:, 3] - F[:, 8] + 0.5 * rng.normal(size=40)

    def left(pair):
        part = F[:, list(pair)]
        return float(np.sum((target - part @ np.linalg.lstsq(part, target, rcond=None)[0]) ** 2))

    expected = sorted(combinations(range(12), 2), key=left)
    found = _best_pairs(F.T @ F, F.T @ target, np.ones(12))
    assert [(int(i), int(j)) for i, j in found] == expected[: len(found)]


def test_the_best_pair_is_found_in_a_dictionary_of_several_blocks():
    rng = np.random.default_rng(0)
    F = rng.normal(size=(60, 900))
    F /= np.linalg.norm(F, axis=0)
    for pair in [(5, 890), (410, 420), (850, 860)]:
        target = F[:, pair[0]] - 0.7 * F[:, pair[1]]
        assert _best_pairs(F.T @ F, F.T @ target, np.ones(900))[0] == pair


def test_columns_that_say_the_same_are_no_pair():
    F = np.random.default_rng(0).normal(size=(30, 5))
    F[:, 4] = F[:, 0]
    F /= np.linalg.norm(F, axis=0)
    target = F[:, 0] + 0.1 * F[:, 1]
    assert (0, 4) not in _best_pairs(F.T @ F, F.T @ target, np.ones(5))[:4]


def test_of_pairs_that_are_as_good_the_simpler_comes_first():
    F = np.linalg.qr(np.random.default_rng(0).normal(size=(30, 4)))[0]
    target = F[:, 0] + F[:, 1] + F[:, 2] + F[:, 3]
    gram = np.eye(4)
    assert set(_best_pairs(gram, np.round(F.T @ target, 9), np.array([5, 1, 5, 1]))[0]) == {1, 3}


def test_a_denominator_that_is_nearly_zero_is_refused():
    x = np.linspace(1, 2, 50)
    term = Term(x, Variable(0), 1)
    cancels = Term(1 / x, Variable(1), 1)
    assert not _cancels([])
    assert not _cancels([(-1.0, term)])
    assert _cancels([(1.0, Term(np.ones(50) + 1e-3 * x, ONE, 1))])
    assert _cancels([(1.0, term), (-1.0, Term(x - 1 + 1e-4 * x, Variable(1), 1))])
    assert not _cancels([(0.5, term), (0.5, cancels)])


def test_terms_that_are_the_same_up_to_scale_and_shift_are_one():
    x = np.linspace(1, 2, 50)
    terms = [Term(x, Variable(0), 2), Term(3 - 2 * x, Variable(1), 1), Term(x**2, Variable(2), 1), Term(0 * x, ONE, 1)]
    assert _distinct(terms) == [terms[1], terms[2]]
    assert len(_distinct([Term(x, Variable(0), 1), Term(x**2, Variable(0), 2)], logarithmic=True)) == 1


def test_a_target_that_crosses_zero_is_no_product():
    X = drawn(-2, 2)
    X[0, 0] = 0.0
    assert product_formulas(view_of(X, X[:, 0]), goal=0.0) == []


def test_a_power_of_something_negative_is_turned_around():
    X = drawn(0.5, 3)
    y = X[:, 1] / np.sqrt(4 - X[:, 0])
    found = product_formulas(view_of(np.column_stack([X[:, 0] - 5, X[:, 1]]), y), goal=1e-10)
    for _, root in found[:5]:
        assert np.isfinite(Program(root)(np.column_stack([X[:, 0] - 5, X[:, 1]]))).all()
