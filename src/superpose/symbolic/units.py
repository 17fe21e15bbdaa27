"""Units of inputs and target, and whether a formula agrees with them."""

import re
from collections.abc import Mapping, Sequence
from fractions import Fraction

from superpose.symbolic.expression import Apply, Constant, Expression, Product, Sum, Variable, ordered

Dimension = Mapping[str, Fraction]
"""Powers of base units; none at all for a pure number."""

SI = {
    "N": "kg m s^-2", "J": "kg m^2 s^-2", "W": "kg m^2 s^-3", "Pa": "kg m^-1 s^-2", "Hz": "s^-1", "C": "A s",
    "V": "kg m^2 s^-3 A^-1", "Ohm": "kg m^2 s^-3 A^-2", "F": "kg^-1 m^-2 s^4 A^2", "T": "kg s^-2 A^-1",
    "H": "kg m^2 s^-2 A^-2", "Wb": "kg m^2 s^-2 A^-1", "rad": "", "1": "",
}  # fmt: skip
"""Derived units; any other word is a base unit of its own."""

_TOKEN = re.compile(r"\s*([*/]|[A-Za-z_%°µΩ]+|1)\s*(?:(?:\^|\*\*)\s*\(?(-?\d+(?:/\d+)?)\)?)?")


def dimension(text: str) -> Dimension:
    """The dimension that a unit such as "kg m^2/s^2" has; "1" or nothing for a pure number.

    What stands after a slash is divided by, up to the next space or star.

    Raises:
        ValueError: If it cannot be read.

    Example:
        >>> dimension("kg m^2/s^2") == dimension("J")
        True
    """
    found: dict[str, Fraction] = {}
    place, sign = 0, 1
    while place < len(text.rstrip()):
        token = _TOKEN.match(text, place)
        if token is None:
            raise ValueError(f"the unit {text!r} cannot be read at {text[place:]!r}; write it as in 'kg m^2/s^2'.")
        word, exponent = token.group(1), Fraction(token.group(2) or 1)
        if word in "*/":
            sign = -1 if word == "/" else 1
        else:
            base = dimension(SI[word]) if word in SI else {word: Fraction(1)}
            for name, power in base.items():
                found[name] = found.get(name, Fraction(0)) + sign * exponent * power
            sign = 1
        place = token.end()
    return {name: power for name, power in found.items() if power}


def agrees(root: Expression, inputs: Sequence[Dimension], target: Dimension) -> bool:
    """Whether a formula adds only what has the same unit, and so on; fitted constants may have any unit.

    Args:
        root: The formula.
        inputs: Dimensions of the inputs.
        target: Dimension of the target.

    Example:
        >>> from superpose.symbolic.expression import Variable, times
        >>> agrees(times(Variable(0), Variable(1)), [dimension("m/s"), dimension("s")], dimension("m"))
        True
    """
    made: dict[int, Dimension | None] = {}
    for node in ordered(root):
        parts = [made[id(child)] for child in node.children]
        try:
            made[id(node)] = _combined(node, parts, inputs)
        except ArithmeticError:
            return False
    return _same(made[id(root)], target)


def _combined(node: Expression, parts: list[Dimension | None], inputs: Sequence[Dimension]) -> Dimension | None:
    """The dimension of a node, None for one that a fitted constant can give any; ArithmeticError for nonsense."""
    if isinstance(node, Variable):
        return inputs[node.index]
    if isinstance(node, Constant):
        return None if node.exact is None else {}
    if isinstance(node, Sum):
        known = [part for part in parts if part is not None]
        if any(not _same(part, known[0]) for part in known):
            raise ArithmeticError
        return known[0] if known else None
    if isinstance(node, Product):
        return None if any(part is None for part in parts) else _multiplied([part or {} for part in parts])
    assert isinstance(node, Apply)
    return _applied(node.function.name, parts[0])


def _applied(name: str, argument: Dimension | None) -> Dimension | None:
    if name == "abs" or argument is None:
        return argument
    if name == "sqrt" or name.startswith("x^"):
        power = Fraction(1, 2) if name == "sqrt" else Fraction(name[2:])
        return {unit: power * exponent for unit, exponent in argument.items()}
    if argument and name != "sign":
        raise ArithmeticError
    return {}


def _multiplied(parts: Sequence[Dimension]) -> Dimension:
    found: dict[str, Fraction] = {}
    for part in parts:
        for unit, power in part.items():
            found[unit] = found.get(unit, Fraction(0)) + power
    return {unit: power for unit, power in found.items() if power}


def _same(left: Dimension | None, right: Dimension | None) -> bool:
    return left is None or right is None or dict(left) == dict(right)
