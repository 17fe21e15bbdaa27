"""The library of functions: slopes, PyTorch and SymPy agree with the values, and domains say where there are some."""

import math
import pickle

import numpy as np
import pytest
import sympy
import torch

from superpose.symbolic.functions import LIBRARY, STANDARD, Function, chosen, power

every = pytest.mark.parametrize("function", LIBRARY.values(), ids=repr)


def inside(function, count=101):
    """Points in the domain, on both sides of zero where there are such."""
    low, high = max(function.domain[0], -2.9), min(function.domain[1], 2.9)
    t = np.linspace(low, high, count + 2)[1:-1] + 1e-3
    t = t[(t > function.domain[0]) & (t < function.domain[1])]
    if function.poles is not None:
        t = np.array([x for x in t.tolist() if not function.poles(x - 0.02, x + 0.02)])
    return t


@every
def test_slopes_are_finite_differences(function):
    t = inside(function)
    t = t[np.abs(t) > 0.01]  # abs and sign have a corner
    step = 1e-6
    finite = (function.value(t + step) - function.value(t - step)) / (2 * step)
    np.testing.assert_allclose(function.slope(t), finite, rtol=2e-5, atol=1e-7)


@every
def test_torch_has_the_same_values(function):
    t = inside(function)
    np.testing.assert_allclose(function.torch(torch.tensor(t)).numpy(), function.value(t), rtol=1e-10, atol=1e-12)


@every
def test_torch_has_the_same_slopes(function):
    t = torch.tensor(inside(function), requires_grad=True)
    try:
        (slope,) = torch.autograd.grad(function.torch(t).sum(), t)
    except (RuntimeError, NotImplementedError):
        assert function.name == "J0"  # PyTorch has no derivative of it
        return
    np.testing.assert_allclose(slope.numpy(), function.slope(t.detach().numpy()), rtol=1e-10, atol=1e-12)


@every
def test_sympy_has_the_same_values(function):
    x = sympy.Symbol("x", real=True)
    t = inside(function)
    values = sympy.lambdify(x, function.sympy(x), ["scipy", "numpy"])(t)
    np.testing.assert_allclose(values, function.value(t), rtol=1e-12, atol=1e-15)


@every
def test_it_is_finite_where_it_says_so_and_only_there(function):
    for low, high in [(-3.0, -2.0), (-0.9, -0.1), (-0.5, 0.5), (0.1, 0.9), (1.0, 2.0), (1.2, 1.4), (-2.0, 5.0)]:
        with np.errstate(all="ignore"):
            values = function.value(np.linspace(low, high, 2001))
        finite = bool(np.isfinite(values).all()) and np.abs(values).max() < 1e6
        if function.holds(low, high):
            assert finite
        elif function.name != "tan":  # its pole lies between the points
            assert not finite or function.poles is not None or (low, high) == (1.0, 2.0)


def test_a_tangent_with_a_pole_inside_does_not_hold():
    assert LIBRARY["tan"].holds(-1.5, 1.5)
    assert not LIBRARY["tan"].holds(1.5, 1.6)
    assert not LIBRARY["tan"].holds(-1.4, 1.5, margin=0.1)


@every
def test_symmetries_and_periods_are_true(function):
    t = inside(function)
    if function.symmetry is not None:
        sign = 1 if function.symmetry == "even" else -1
        np.testing.assert_allclose(function.value(-t), sign * function.value(t), rtol=1e-12, atol=1e-15)
    if function.period is not None:
        np.testing.assert_allclose(function.value(t + function.period), function.value(t), rtol=1e-9, atol=1e-9)


def test_powers():
    t = np.array([0.5, 2.0])
    np.testing.assert_allclose(power(-3).value(t), t**-3.0)
    np.testing.assert_allclose(power(0.5).value(t), np.sqrt(t))
    assert power(1.5).domain[0] == 0
    assert power(2) is power(2)
    assert repr(power(0.5)) == "sqrt"


def test_names_and_objects_choose():
    assert chosen(None) == STANDARD
    assert chosen(["sin", LIBRARY["exp"]]) == (LIBRARY["sin"], LIBRARY["exp"])
    assert chosen("sin") == (LIBRARY["sin"],)
    with pytest.raises(ValueError, match="no function 'sine'"):
        chosen(["sine"])
    with pytest.raises(TypeError, match="Function objects"):
        chosen([math.sin])


def test_functions_of_the_library_are_saved_by_name():
    assert pickle.loads(pickle.dumps(LIBRARY["sin"])) is LIBRARY["sin"]  # noqa: S301


def test_a_function_of_a_user_has_its_place():
    cube = Function("cube", lambda x: x**3, lambda x: 3 * x**2, lambda x: x**3, lambda x: x**3)
    assert chosen([cube, "sin"])[0] is cube
