"""The smooth stand-in: exact for polynomials, with true derivatives, and of a degree that the data can pay for."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.polynomial import chebyshev

from superpose.symbolic.surrogate import Surrogate, chebyshev_slopes, chebyshev_values, total_degree


def drawn(seed, rows=300, inputs=2, low=-2.0, high=3.0):
    return np.random.default_rng(seed).uniform(low, high, (rows, inputs))


def of(X, y, weight=None):
    return Surrogate.of(X, y, np.ones(len(y)) if weight is None else weight)


def slopes_of(function, X, step=1e-6):
    """Central differences, column by column."""
    columns = []
    for i in range(X.shape[1]):
        more, less = X.copy(), X.copy()
        more[:, i] *= 1 + step
        less[:, i] *= 1 - step
        columns.append((function(more) - function(less)) / (more[:, i] - less[:, i]))
    return np.column_stack(columns)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 3), st.integers(1, 4))
def test_a_polynomial_is_found_with_its_degree_and_derivatives(seed, inputs, degree):
    rng = np.random.default_rng(seed)
    powers, coef = total_degree(inputs, degree), rng.uniform(0.5, 2, len(total_degree(inputs, degree)))

    def polynomial(X):
        return (X[:, None, :] ** powers).prod(2) @ coef

    X = drawn(seed, inputs=inputs)
    y = polynomial(X)
    found = of(X, y)
    assert found.degree == degree
    assert found.error < 1e-7 * y.std()
    expected = slopes_of(polynomial, X)
    np.testing.assert_allclose(found.gradient(X), expected, atol=1e-5 * np.abs(expected).max())


def test_total_degrees_are_all_there_once():
    expected = {(a, b, c) for a in range(5) for b in range(5) for c in range(5) if a + b + c <= 4}
    found = [tuple(map(int, row)) for row in total_degree(3, 4)]
    assert set(found) == expected
    assert len(found) == len(expected)
    assert total_degree(2, 0).tolist() == [[0, 0]]


def test_chebyshev_polynomials_are_those_of_numpy_and_their_slopes_too():
    x = drawn(0, inputs=1, low=2, high=7)
    low, high = np.array([2.0]), np.array([7.0])
    scaled = (2 * x[:, 0] - 9) / 5
    for n in range(7):
        unit = np.eye(7)[n]
        np.testing.assert_allclose(chebyshev_values(x, low, high, 6)[0][:, n], chebyshev.chebval(scaled, unit))
        slope = chebyshev.chebval(scaled, chebyshev.chebder(unit))
        np.testing.assert_allclose(chebyshev_slopes(x, low, high, 6)[0][:, n], slope, atol=1e-12)


@pytest.mark.parametrize(
    ("low", "high", "function", "logarithmic"),
    [
        (1, 5, lambda X: np.log(X[:, 0]) * np.log(X[:, 1]) ** 2, True),
        (0.01, 100, lambda X: np.log(X[:, 0]) ** 2 + np.log(X[:, 1]), True),
        (0.01, 100, lambda X: X[:, 0] ** 2 + X[:, 0] * X[:, 1], False),
        (-2, 5, lambda X: X[:, 0] ** 2 + X[:, 0] * X[:, 1], False),
    ],
)
def test_the_scale_is_the_one_on_which_the_function_is_a_polynomial(low, high, function, logarithmic):
    X = drawn(1, low=low, high=high)
    found = of(X, function(X))
    assert (found.logarithmic == logarithmic).all()
    assert found.error < 1e-7 * function(X).std()
    expected = slopes_of(function, X)
    np.testing.assert_allclose(found.gradient(X), expected, rtol=1e-5, atol=1e-5 * np.abs(expected).mean())


def test_a_smooth_function_has_its_derivatives_too():
    X = drawn(2, rows=600, low=1, high=4)

    def function(X):
        return np.exp(-X[:, 0]) * np.sin(X[:, 1]) + X[:, 1] / X[:, 0]

    expected = slopes_of(function, X)
    assert np.abs(of(X, function(X)).gradient(X) - expected).max() < 1e-3 * np.abs(expected).max()


def test_rows_without_weight_do_not_matter():
    X = drawn(3, rows=400)
    y = X[:, 0] ** 2 - X[:, 1]
    weight = np.ones(400)
    weight[::5], y[::5] = 0, 1e3
    found = of(X, y, weight)
    assert found.error < 1e-6
    np.testing.assert_allclose(found.gradient(X), np.column_stack([2 * X[:, 0], -np.ones(400)]), atol=1e-5)


def test_the_error_is_in_the_units_of_the_weights():
    X, rng = drawn(4, rows=2000), np.random.default_rng(0)
    y = X[:, 0] + rng.normal(size=2000)
    assert of(X, y, np.full(2000, 10.0)).error == pytest.approx(10 * of(X, y).error)


@pytest.mark.parametrize("seed", range(5))
def test_noise_is_not_followed(seed):
    X = drawn(seed, rows=400)
    noise = 0.3 * np.random.default_rng(seed + 100).normal(size=400)
    found = of(X, 1 + X[:, 0] ** 2 + X[:, 0] * X[:, 1] + noise)
    assert found.degree in (2, 3)
    assert 0.8 < found.error / 0.3 < 1.25


@pytest.mark.parametrize("seed", range(5))
def test_pure_noise_is_not_explained(seed):
    found = of(drawn(seed), np.random.default_rng(seed + 100).normal(size=300))
    assert found.degree <= 3
    assert 0.7 < found.error < 1.4


@pytest.mark.parametrize(("rows", "inputs"), [(4, 1), (8, 2), (8, 30), (40, 60)])
def test_a_table_too_short_for_a_plane_gets_its_mean(rows, inputs):
    X = drawn(0, rows=rows, inputs=inputs)
    found = of(X, X[:, 0] + 5)
    assert found.degree == 0
    assert np.isfinite(found.error)
    assert (found.gradient(X) == 0).all()


def test_a_column_that_stays_the_same_does_no_harm():
    X = drawn(5)
    X[:, 1] = 2.0
    found = of(X, X[:, 0] ** 2)
    assert found.error < 1e-6
    np.testing.assert_allclose(found.gradient(X)[:, 0], 2 * X[:, 0], atol=1e-5)
