"""Making formulas simpler: every move is smaller or as small, and what does not matter goes first."""

import numpy as np
import pytest

from superpose.symbolic.expression import Constant, Variable, affine, apply, complexity, plus, times
from superpose.symbolic.functions import STANDARD, chosen
from superpose.symbolic.program import Program
from superpose.symbolic.reduction import exchanged, improved, reduced, simpler
from superpose.symbolic.replacement import Clock, Rows, fitted

a, b = Variable(0), Variable(1)


def rows(target, noise=0.0):
    draw = np.random.default_rng(0)
    X = draw.uniform(-1, 1, (300, 2))
    y = target(X) + noise * draw.normal(size=300)
    return Rows(X[:200], y[:200], X[200:], y[200:])


def test_moves_make_other_formulas():
    root = affine(2.0, apply("sin", affine(3.0, a, 0.3)), 1.0)
    X = np.random.default_rng(0).uniform(-1, 1, (100, 2))
    moves = list(simpler(root, X, STANDARD))
    assert len(moves) >= 6
    assert all(other is not root for other in moves)
    assert min(complexity(other) for other in moves) < complexity(root) - 4
    assert all(np.isfinite(Program(other)(X)).all() for other in moves)


def test_a_superfluous_term_goes_first():
    table = rows(lambda X: np.exp(X[:, 0]) + X[:, 1])
    root = plus(apply("exp", a), times(Constant(1.0), b), times(Constant(0.3), apply("sin", times(Constant(2.0), b))))
    state = fitted(root, table, 50)
    path = list(reduced(state, table, STANDARD, 1e-20, Clock()))
    assert [s.size for s in path] == sorted((s.size for s in path), reverse=True)
    assert path[-1].size == 1
    exact = [s for s in path if s.held_out < 1e-20]
    assert complexity(exact[-1].root) == 4


def test_the_wrong_function_is_exchanged():
    table = rows(lambda X: 2 * np.sin(2 * X[:, 0]) + X[:, 1])
    root = plus(times(Constant(2.0), apply("tanh", times(Constant(2.0), a))), times(Constant(1.0), b))
    state = fitted(root, table, 50)
    assert state.held_out > 1e-4
    better = improved(state, table, chosen(["tanh", "sin", "exp", "atan"]), 1e-20, Clock())
    assert better.held_out < 1e-20


def test_functions_are_exchanged_for_what_looks_like_them():
    X = np.linspace(-1, 1, 100)[:, None]
    root = apply("tanh", times(Constant(0.8), a))
    found = list(exchanged(root, X, chosen(["tanh", "sin", "atan"])))
    assert found
    for other in found:
        assert np.abs(Program(other)(X) - Program(root)(X)).max() < 0.05


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_it_ends_at_a_constant(noise):
    table = rows(lambda X: X[:, 0] * X[:, 1], noise)
    path = list(reduced(fitted(times(Constant(1.0), a, b), table, 20), table, STANDARD, 1e-20, Clock()))
    assert path[-1].size == 1


def test_it_stops_when_time_is_over():
    table = rows(lambda X: X[:, 0])
    assert list(reduced(fitted(apply("sin", a), table, 5), table, STANDARD, 0.0, Clock(1e-12))) == []
