"""Formulas as C source."""

import re

import sympy
from sympy.printing.codeprinter import PrintMethodNotImplementedError

from superpose.symbolic.expression import Apply, Constant, Expression, Product, Sum, Variable, ordered

IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def c_source(root: Expression, name: str) -> str:
    """A C99 function `double name(const double *x)` of one row, with a line for every node; what is shared runs once.

    Args:
        root: The formula.
        name: What the function is called.

    Raises:
        ValueError: If the name is none in C, or a function of the formula has no C.

    Example:
        >>> from superpose.symbolic.expression import Constant, Variable, apply, times
        >>> print(c_source(times(Constant(2.0), apply("sin", Variable(0))), "f"))
        #include <math.h>
        <BLANKLINE>
        double f(const double *x) {
            const double v0 = 2.0;
            const double v1 = x[0];
            const double v2 = sin(v1);
            const double v3 = v0*v2;
            return v3;
        }
    """
    if not IDENTIFIER.fullmatch(name):
        raise ValueError(f"{name!r} is no name for a C function; take letters, digits and underscores, such as 'f'.")
    nodes = ordered(root)
    place = {id(node): f"v{n}" for n, node in enumerate(nodes)}
    lines = []
    for node in nodes:
        below = [place[id(child)] for child in node.children]
        lines.append(f"    const double {place[id(node)]} = {_value(node, below)};")
    body = "\n".join([*lines, f"    return {place[id(root)]};"])
    return f"#include <math.h>\n\ndouble {name}(const double *x) {{\n{body}\n}}"


def _value(node: Expression, below: list[str]) -> str:
    if isinstance(node, Variable):
        return f"x[{node.index}]"
    if isinstance(node, Constant):
        return repr(float(node.value))
    if isinstance(node, Sum):
        return " + ".join(below)
    if isinstance(node, Product):
        return "*".join(below)
    assert isinstance(node, Apply)
    # A real symbol, for the sake of Abs, sign and of roots of squares.
    written = node.function.sympy(sympy.Symbol(below[0], real=True))
    # J0 has a name of its own in math.h, and SymPy does not know it.
    written = written.replace(
        lambda part: part.func is sympy.besselj and part.args[0] == 0, lambda part: sympy.Function("j0")(part.args[1])
    )
    try:
        return str(sympy.ccode(written, strict=True, user_functions={"j0": "j0"}))
    except PrintMethodNotImplementedError:
        raise ValueError(
            f"the function {node.function!r} has no C; only formulas of functions that SymPy writes in C can be exported."
        ) from None
