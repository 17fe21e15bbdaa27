"""Symbols for curves: every function is found with its constants, and none where it is not defined."""

import numpy as np
import pytest

from superpose.symbolic.expression import Variable
from superpose.symbolic.functions import LIBRARY, STANDARD
from superpose.symbolic.match import matches
from superpose.symbolic.program import Program

t = np.linspace(-1, 1, 300)
every = pytest.mark.parametrize("function", STANDARD, ids=repr)


def curve(function):
    """The function with constants about it, defined from -1 to 1."""
    a, b = 1.3, 0.4
    if function.swallows == "scale":
        a, b = 1.0, 1.7 if function.domain[0] == 0 or function.poles is not None else 0.4
    if function.name in ("asin", "atanh"):
        a, b = 0.55, 0.2
    if function.name in ("J0", "tan"):
        a = 5.0 if function.name == "J0" else 0.9
    return 1.7 * function.value(a * t + b) - 0.3


@every
def test_it_is_found_with_its_constants(function):
    f = curve(function)
    found = matches(t, f, STANDARD)
    errors = [match.error for match in found]
    assert errors == sorted(errors)
    own = next(match for match in found if match.function is function)
    if function.name != "sign":  # where it jumps, no curve says exactly
        assert own.error < 1e-6
        assert own.error <= 2 * found[0].error + 1e-9
        np.testing.assert_allclose(own(t), f, atol=1e-5)
        np.testing.assert_allclose(Program(own.of(Variable(0)))(t[:, None]), own(t), rtol=1e-9, atol=1e-12)


@every
def test_noise_does_not_hide_it(function):
    f = curve(function)
    noisy = f + 0.01 * f.std() * np.random.default_rng(0).normal(size=len(t))
    own = next(match for match in matches(t, noisy, [function]) if match.function is function)
    assert own.error < 0.02 if function.name != "sign" else own.error < 0.2


def test_the_order_of_points_does_not_matter():
    order = np.random.default_rng(0).permutation(len(t))
    f = np.exp(t)
    one, other = (matches(t[o], f[o], [LIBRARY["exp"]])[0] for o in (slice(None), order))
    assert one.function is LIBRARY["exp"]
    assert one.error == other.error


def test_a_line_is_a_line():
    found = matches(t, 3 * t - 1)
    line = next(match for match in found if match.function is None)
    assert line.error < 1e-12
    assert line.outer == pytest.approx((3.0, -1.0))


def test_what_is_not_defined_on_the_data_is_left_out():
    for match in matches(t, t**2 + t, STANDARD):
        assert np.isfinite(match(t)).all()
        assert np.isfinite(match(np.array([-1.0009, 1.0009]))).all()  # and a margin beyond


def test_weights_say_which_points_count():
    f = np.where(t < 0, np.sin(3 * t), 5 + 0 * t)
    own = matches(t, f, [LIBRARY["sin"]], weight=np.where(t < 0, 1.0, 1e-12))
    assert min(match.error for match in own) < 1e-4


def test_a_constant_and_a_single_place_have_no_trouble():
    assert matches(t, np.full_like(t, 2.0))[0].error < 1e-12
    found = matches(np.zeros(5), np.arange(5.0))
    assert [match.function for match in found] == [None]
