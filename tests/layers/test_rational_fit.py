"""Fitted rationals against published fits, exact cases, and the theory of best approximation."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import erf, expit

from superpose.layers.rational_fit import ACTIVATIONS, RationalFit, fit_rational

# Written with SciPy, so that a name cannot stand for the wrong function.
KNOWN = {
    "identity": lambda x: x,
    "silu": lambda x: x * expit(x),
    "swish": lambda x: x * expit(x),
    "gelu": lambda x: x * (1 + erf(x / np.sqrt(2))) / 2,
    "gelu_tanh": lambda x: x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))) / 2,
    "relu": lambda x: np.maximum(x, 0),
    "leaky_relu": lambda x: np.where(x < 0, 0.01 * x, x),
    "tanh": np.tanh,
    "sigmoid": expit,
    "mish": lambda x: x * np.tanh(np.log1p(np.exp(x))),
}
# Largest errors of the published coefficients (init.json of KAT) on their interval, in the form each was fitted for.
PUBLISHED = {
    ("swish", "sum_abs"): 1.2e-6,
    ("gelu", "sum_abs"): 4.1e-3,
    ("gelu", "abs_sum"): 2.9e-3,
    ("relu", "sum_abs"): 0.030,
    ("leaky_relu", "sum_abs"): 0.030,
    ("tanh", "sum_abs"): 4e-5,
    ("sigmoid", "sum_abs"): 1.9e-5,
}


def _evaluate(fit, x):
    """P / Q from the definition, in NumPy."""
    powers = np.arange(1, len(fit.denominator) + 1)
    b = np.array(fit.denominator)
    if fit.form == "sum_abs":
        q = 1 + (np.abs(b) * np.abs(x)[:, None] ** powers).sum(1)
    else:
        q = 1 + np.abs((b * x[:, None] ** powers).sum(1))
    return np.polynomial.polynomial.polyval(x, fit.numerator) / q


def test_every_activation_is_known():
    assert KNOWN.keys() == ACTIVATIONS.keys()


@pytest.mark.parametrize("form", ["sum_abs", "abs_sum"])
@pytest.mark.parametrize("name", KNOWN)
def test_the_errors_it_states_are_those_of_its_coefficients(name, form):
    fit = fit_rational(name, (-5.0, 7.0), form=form)
    x = np.linspace(-5, 7, 54_321)
    error = np.abs(_evaluate(fit, x) - KNOWN[name](x))
    assert error.max() == pytest.approx(fit.max_error, rel=1e-3, abs=1e-13)
    assert np.sqrt(np.mean(error**2)) == pytest.approx(fit.rms_error, rel=1e-2, abs=1e-13)
    assert (fit.form, fit.interval, fit.degrees, fit.name) == (form, (-5.0, 7.0), (5, 4), name)


@pytest.mark.parametrize(("name", "form"), PUBLISHED)
def test_closer_than_the_published_coefficients(name, form):
    assert fit_rational(name, (-3, 3), form=form).max_error < 0.45 * PUBLISHED[name, form]


# The largest errors that the docstring promises for other intervals.
@pytest.mark.parametrize(
    ("name", "end", "bound"),
    [
        ("silu", 6, 9.1e-5),
        ("silu", 8, 5.3e-4),
        ("silu", 10, 1.8e-3),
        ("gelu", 6, 3.2e-3),
        ("gelu", 8, 3.4e-3),
        ("gelu", 10, 6.8e-3),
    ],
)
def test_wider_intervals(name, end, bound):
    assert fit_rational(name, (-end, end)).max_error < bound


def test_the_error_alternates_as_a_best_approximation_must():
    """With all powers in use, m + n + 2 extremes of equal size and changing sign prove that none is better."""
    fit = fit_rational(lambda x: torch.exp(-x), (0.0, 2.0), (2, 1))
    assert fit.denominator[0] > 0
    x = np.linspace(0, 2, 20_001)
    error = _evaluate(fit, x) - np.exp(-x)
    extremes = np.flatnonzero(np.abs(error) > 0.995 * fit.max_error)
    signs = np.sign(error[extremes])
    assert 1 + np.count_nonzero(np.diff(signs)) == 2 + 1 + 2


def test_what_is_rational_is_found():
    def function(x):
        return (1 + 2 * x - x**3) / (1 + 0.5 * x.abs() + 0.25 * x**2)

    fit = fit_rational(function, (-4, 4), (3, 2))
    np.testing.assert_allclose(fit.numerator, [1, 2, 0, -1], atol=1e-8)
    np.testing.assert_allclose(fit.denominator, [0.5, 0.25], atol=1e-8)
    assert fit_rational(function, (-4, 4)).max_error < 1e-6  # with factors to spare, which have no one value


def test_a_function_that_writes_into_its_input_is_fitted_as_any_other():
    one, other = fit_rational(torch.nn.SiLU(inplace=True)), fit_rational("silu")
    assert (one.numerator, one.max_error) == (other.numerator, other.max_error)


def test_identity_is_exact():
    fit = fit_rational("identity")
    assert fit.numerator == (0, 1, 0, 0, 0, 0)
    assert fit.denominator == (0, 0, 0, 0)
    x = torch.tensor([1e-30, -3.7, 123.0])
    assert torch.equal(fit(x), x)


def test_no_random_search_finds_a_better_one(generator):
    """The optimum is global: thousands of perturbed coefficients are all worse."""
    fit = fit_rational("silu", (-6, 6), (3, 2))
    x = np.linspace(-6, 6, 2001)
    rng = np.random.default_rng(0)
    for scale in np.geomspace(1e-4, 1, 2000):
        trial = RationalFit(
            tuple(np.array(fit.numerator) * (1 + scale * rng.normal(size=4)) + scale * rng.normal(size=4) * 0.01),
            tuple(np.abs(np.array(fit.denominator) + scale * rng.normal(size=2) * 0.1)),
        )
        assert np.abs(_evaluate(trial, x) - KNOWN["silu"](x)).max() > 0.998 * fit.max_error


@settings(max_examples=15, deadline=None)
@given(
    low=st.floats(-10, 5),
    width=st.floats(0.1, 15),
    factor=st.floats(1e-4, 1e4),
    form=st.sampled_from(["sum_abs", "abs_sum"]),
)
def test_any_interval_and_scale(low, width, factor, form):
    """More terms do not fit worse, and a factor of the function is a factor of the error."""
    high = low + width
    fit = fit_rational("tanh", (low, high), form=form)
    small = fit_rational("tanh", (low, high), (2, 0), form=form)
    assert fit.max_error <= 1.01 * small.max_error + 1e-12
    scaled = fit_rational(lambda x: factor * torch.tanh(x), (low, high), form=form)
    assert scaled.max_error <= factor * (1.01 * fit.max_error + 1e-8)


def test_calls_agree_in_any_shape_and_precision():
    fit = fit_rational("gelu")
    x = torch.linspace(-3, 3, 6).reshape(2, 3)
    assert fit(x).dtype == torch.float32
    torch.testing.assert_close(fit(x).double(), fit(x.double()), atol=1e-6, rtol=1e-5)
    assert fit(x[0, 0]).shape == ()
    assert str(fit) == "gelu within 3.4e-03 on [-8, 8]"


def test_bad_requests_are_explained():
    with pytest.raises(ValueError, match="no activation is called 'glu'; choose one of identity, silu"):
        fit_rational("glu")
    with pytest.raises(ValueError, match="low < high, got"):
        fit_rational("silu", (3, -3))
    with pytest.raises(ValueError, match="low < high, got"):
        fit_rational("silu", (0, float("inf")))
    with pytest.raises(ValueError, match="degrees must be at least 0"):
        fit_rational("silu", degrees=(5, -1))
    with pytest.raises(ValueError, match="form is 'signed'; choose one of sum_abs, abs_sum"):
        fit_rational("silu", form="signed")
    with pytest.raises(ValueError, match="not finite"):
        fit_rational(torch.log)
    with pytest.raises(ValueError, match="one finite number for each"):
        fit_rational(torch.sum)
