"""Random formulas of every kind of node, and what loops say of them."""

import numpy as np
import pytest

from superpose.symbolic.expression import (
    Apply,
    Constant,
    Product,
    Sum,
    Variable,
    affine,
    apply,
    exactly,
    ordered,
    plus,
    times,
)
from superpose.symbolic.functions import LIBRARY
from superpose.symbolic.program import Program

TAME = ("sin", "cos", "tanh", "atan", "gaussian", "erf", "logistic", "asinh", "abs", "J0", "x^2", "exp")
"""Functions that go anywhere; the others get arguments of their own."""


@pytest.fixture
def random_formula():
    """Makes a random formula and rows for it; None for those where rounding decides."""

    def make(seed):
        root, X = _random_formula(seed)
        return (root, X) if _is_tame(root, X) else None

    return make


@pytest.fixture
def looped():
    """Gives the values of a formula, row by row and node by node."""
    return lambda root, X: np.array([_value(root, row, {}) for row in X])


def _random_formula(seed):
    """A network-shaped formula: units, layers of symbols with their constants, product nodes, shared nodes, units."""
    draw = np.random.default_rng(seed)
    inputs = int(draw.integers(1, 4))
    X = draw.uniform(-1, 1, (50, inputs))
    nodes = [
        plus(times(exactly(int(draw.integers(1, 3))), Variable(n)), Constant(draw.normal())) for n in range(inputs)
    ]
    for _ in range(draw.integers(1, 4)):
        sums = []
        for _ in range(draw.integers(1, 4)):
            some = [node for node in nodes if draw.random() < 0.8] or nodes[:1]
            sums.append(plus(*(_random_edge(node, X, draw) for node in some)))
        arity = int(draw.integers(1, 3)) if len(sums) > 1 else 1
        nodes = [times(*sums[:arity]), *sums[arity:]]
    root = affine(float(draw.normal()), plus(*nodes), float(draw.normal()))
    return root, X


def _random_edge(node, X, draw):
    """A symbol of any function, its inner constants such that it is defined and tame at the rows."""
    values = Program(node)(X)
    name = str(draw.choice(list(LIBRARY)))
    function = LIBRARY[name]
    low, high = (0.3, 0.9) if function.domain[0] == 0 or function.poles else (-0.8, 0.8)
    if draw.random() < 0.3 and name in TAME and np.abs(values).max() < 5:
        return times(Constant(float(draw.normal())), apply(name, node))
    scale = (high - low) / max(np.ptp(values), 0.05) * draw.choice([-1, 1])
    ends = sorted((scale * values.min(), scale * values.max()))
    inner = affine(float(scale), node, float((low + high) / 2 - sum(ends) / 2))
    return affine(float(draw.normal()), apply(name, inner), float(draw.normal()))


def _value(node, row, known):
    if id(node) not in known:
        below = [_value(child, row, known) for child in node.children]
        if isinstance(node, Variable):
            value = row[node.index]
        elif isinstance(node, Constant):
            value = node.value
        elif isinstance(node, Sum):
            value = 0.0
            for part in below:
                value += part
        elif isinstance(node, Product):
            value = 1.0
            for part in below:
                value *= part
        else:
            assert isinstance(node, Apply)
            value = float(node.function.value(np.array([below[0]]))[0])
        known[id(node)] = value
    return known[id(node)]


def _is_tame(root, X):
    """Whether rounding does not decide: no sums of much larger parts that cancel, no steps next to a corner."""
    values = Program(root)(X)
    if not np.isfinite(values).all() or np.abs(values).max() > 1e6:
        return False
    for node in ordered(root):
        with np.errstate(all="ignore"):
            found = Program(node)(X)
        cornered = isinstance(node, Apply) and node.function.name in ("sign", "abs")
        if cornered and np.abs(Program(node.argument)(X)).min() < 1e-6:
            return False
        if not np.isfinite(found).all() or np.abs(found).max() > 1e4:
            return False
    return True
