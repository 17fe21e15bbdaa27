"""Fast waves: their frequency comes out of a periodogram, which explains what least squares explains."""

import numpy as np
import pytest

from superpose.symbolic.expression import Variable
from superpose.symbolic.program import Program
from superpose.symbolic.refit import mean_square, refit
from superpose.symbolic.view import View
from superpose.symbolic.waves import TURNS, _best_wave, wave_formulas


def view_of(X, y):
    return View.of(X, y, tuple(map(Variable, range(X.shape[1]))))


@pytest.mark.parametrize(
    ("low", "function"),
    [
        (-2, lambda X: 3 + 2 * np.sin(25 * X[:, 0] + 1)),
        (-2, lambda X: np.cos(17 * X[:, 0] * X[:, 1]) - 1),
        (0.5, lambda X: 0.1 * np.sin(40 * X[:, 0] / X[:, 1])),
        (0.5, lambda X: 5 * np.sin(12 * X[:, 1] ** 2 - 2) + 7),
    ],
)
def test_a_wave_is_found_exactly_after_a_refit(low, function):
    X = np.random.default_rng(0).uniform(low, 2, (400, 2))
    y = function(X)
    fitted = min((refit(root, X, y) for root in wave_formulas(view_of(X, y))), key=lambda each: each.loss)
    fresh = np.random.default_rng(1).uniform(low, 2, (200, 2))
    np.testing.assert_allclose(Program(fitted.root)(fresh), function(fresh), atol=1e-6 * function(X).std())


def test_a_wave_is_near_before_any_refit():
    X = np.random.default_rng(0).uniform(-2, 2, (400, 1))
    y = 3 + 2 * np.sin(30 / np.ptp(X) * X[:, 0] + 1)
    assert mean_square(next(wave_formulas(view_of(X, y))), X, y) < 1e-20


def test_a_wave_under_noise_is_found():
    X = np.random.default_rng(0).uniform(-2, 2, (400, 1))
    y = np.sin(30 * X[:, 0]) + 0.3 * np.random.default_rng(1).normal(size=400)
    best = refit(next(wave_formulas(view_of(X, y))), X, y)
    assert best.loss < 1.05 * 0.3**2


@pytest.mark.parametrize("seed", range(3))
def test_the_gain_is_that_of_least_squares_at_the_best_of_all_frequencies(seed):
    rng = np.random.default_rng(seed)
    m, t = rng.uniform(0, 3, 80), rng.normal(size=80)
    gains = []
    for turns in range(1, TURNS + 1):
        phase = turns / np.ptp(m) * m
        design = np.column_stack([np.ones(80), np.cos(phase), np.sin(phase)])
        left = t - design @ np.linalg.lstsq(design, t, rcond=None)[0]
        gains.append(1 - left @ left / np.sum((t - t.mean()) ** 2))
    gain, coef, frequency = _best_wave(m, t)
    assert gain == pytest.approx(max(gains))
    assert frequency * np.ptp(m) == pytest.approx(1 + int(np.argmax(gains)))
    fitted = coef[0] + coef[1] * np.cos(frequency * m) + coef[2] * np.sin(frequency * m)
    assert 1 - np.var(t - fitted) / np.var(t) == pytest.approx(gain)


def test_noise_is_no_wave():
    X, y = np.random.default_rng(0).uniform(0, 2, (200, 2)), np.random.default_rng(1).normal(size=200)
    assert list(wave_formulas(view_of(X, y))) == []


@pytest.mark.parametrize("inputs", [0, 5])
def test_no_inputs_and_too_many_have_no_waves(inputs):
    X = np.random.default_rng(0).uniform(0, 2, (50, inputs))
    assert list(wave_formulas(view_of(X, np.sin(np.arange(50.0))))) == []


def test_a_monomial_that_does_not_vary_has_no_wave():
    assert _best_wave(np.ones(10), np.arange(10.0))[0] == 0.0
