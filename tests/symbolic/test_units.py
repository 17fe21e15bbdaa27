"""Units, and formulas that agree with them or not."""

from fractions import Fraction

import pytest

from superpose.symbolic.expression import Constant, Variable, apply, exactly, plus, times
from superpose.symbolic.functions import power
from superpose.symbolic.units import agrees, dimension


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("1", {}),
        ("m", {"m": 1}),
        ("kg m^2/s^2", {"kg": 1, "m": 2, "s": -2}),
        ("kg*m**2 / s**2", {"kg": 1, "m": 2, "s": -2}),
        ("N m", {"kg": 1, "m": 2, "s": -2}),
        ("1/s", {"s": -1}),
        ("Hz^-1", {"s": 1}),
        ("m^(1/2)", {"m": Fraction(1, 2)}),
        ("J/s/m^2", {"kg": 1, "s": -3}),
        ("m/m", {}),
        ("apples/day", {"apples": 1, "day": -1}),
    ],
)
def test_units_are_read(text, expected):
    assert dimension(text) == expected


@pytest.mark.parametrize("text", ["m^", "3", "m+s", "m^x"])
def test_a_unit_that_cannot_be_read_says_where(text):
    with pytest.raises(ValueError, match="cannot be read at"):
        dimension(text)


MASS, SPEED, TIME, ANGLE = (dimension(unit) for unit in ("kg", "m/s", "s", "rad"))
m, v, t, u = (Variable(n) for n in range(4))
INPUTS = [MASS, SPEED, TIME, ANGLE]


@pytest.mark.parametrize(
    ("root", "target", "expected"),
    [
        (times(exactly(Fraction(1, 2)), m, apply("x^2", v)), "J", True),
        (times(exactly(Fraction(1, 2)), m, v), "J", False),
        (plus(v, t), "m/s", False),
        (plus(v, Constant(2.0)), "m/s", True),
        (plus(v, exactly(2)), "m/s", False),
        (plus(u, exactly(2)), "1", True),
        (apply("sin", u), "1", True),
        (apply("sin", t), "1", False),
        (apply("sin", times(Constant(3.0), t)), "1", True),
        (apply("sqrt", apply("x^2", v)), "m/s", True),
        (apply(power(Fraction(-3, 2)), t), "s^(-3/2)", True),
        (apply("abs", v), "m/s", True),
        (apply("sign", v), "1", True),
        (times(Constant(1.5), v), "apples", True),
    ],
)
def test_formulas_agree_with_units_or_not(root, target, expected):
    assert agrees(root, INPUTS, dimension(target)) is expected
