"""Replacing edges: after every step the formula is what its symbols and the edges that are left say."""

import numpy as np
import pytest
import torch

from superpose import KAN, BSpline, fit
from superpose.symbolic.expression import Constant, Variable, affine, apply, free_constants, plus, times
from superpose.symbolic.functions import LIBRARY, chosen
from superpose.symbolic.match import matches
from superpose.symbolic.network import edges, network_expression
from superpose.symbolic.program import Program
from superpose.symbolic.replacement import (
    Clock,
    Rows,
    State,
    _condensed,
    _digits,
    at_once,
    choices,
    drawn,
    fitted,
    race,
    replaced,
    written,
)

FUNCTIONS = chosen(["sin", "x^2", "exp", "tanh"])


@pytest.fixture(scope="module")
def case():
    """A network that is near the truth, and rows."""
    generator = torch.Generator().manual_seed(0)
    X = torch.rand(400, 2, generator=generator, dtype=torch.float64) * 2 - 1
    y = torch.exp(torch.sin(torch.pi * X[:, :1]) + X[:, 1:] ** 2)
    model = fit(KAN((2, 1, 1), BSpline(8), generator=generator).double(), X[:300], y[:300]).model
    x, target = X.numpy(), y[:, 0].numpy()
    return network_expression(model), Rows(x[:300], target[:300], x[300:], target[300:])


def test_a_symbol_takes_the_place_of_one_edge_and_of_no_other(case):
    root, rows = case
    for edge in edges(root):
        t = Program(edge.argument)(rows.X)
        match = matches(t, edge.function.value(t), FUNCTIONS)[0]
        other = replaced(root, edge.function.place, match)
        assert [e.function.place for e in edges(other)] == [
            e.function.place for e in edges(root) if e.function.place != edge.function.place
        ]
        if edge.function.place == (1, 0, 0):  # the last: what is before it stays, so values are those of the match
            scale = Program(other)(rows.X) - Program(root)(rows.X)
            expected = match(t) - edge.function.value(t)
            ratio = np.dot(scale, expected) / np.dot(expected, expected)
            np.testing.assert_allclose(scale, ratio * expected, atol=1e-9)


def test_steps_of_a_race_are_what_loops_say(case, looped):
    root, rows = case
    found = choices(root, rows.X, FUNCTIONS, Clock())
    for choice in found:
        root = replaced(root, choice.place, choice.promising(0.01)[0])
        state = fitted(root, rows, 25)
        root = state.root
        expected = looped(root, rows.X_held)
        np.testing.assert_allclose(Program(root)(rows.X_held), expected, rtol=1e-9)
        assert state.held_out == pytest.approx(np.mean((expected - rows.y_held) ** 2))
    assert edges(root) == []
    assert state.held_out < 1e-6


def test_all_ways_find_the_truth(case):
    root, rows = case
    found = choices(root, rows.X, FUNCTIONS, Clock())
    taken = [(choice.place, choice.promising(0.01)[0]) for choice in found]
    states = [
        at_once(root, taken, rows),
        drawn(root, found, rows, [0.1, 0.01], Clock(), 0)[0],
        race(root, found, rows, 1e-2, Clock())[0],
    ]
    for state in states:
        assert fitted(state.root, rows, 200).held_out < 1e-20
        assert state.symbols == {(0, 0, 0): r"\sin{\left(x \right)}", (0, 0, 1): "x^{2}", (1, 0, 0): "e^{x}"}


def test_a_race_without_time_has_no_winner(case):
    root, rows = case
    found = choices(root, rows.X, FUNCTIONS, Clock(1e-9))
    assert all(match.function is None for choice in found for match in choice.found)
    assert race(root, found, rows, 0.0, Clock(1e-9)) == []
    assert drawn(root, found, rows, [0.1], Clock(1e-9), 0) == []


def test_what_does_not_move_becomes_columns():
    X = np.random.default_rng(0).uniform(0.5, 1, (20, 2))
    still = apply("exp", apply("sin", Variable(0)))
    root = plus(
        times(Constant(2.0), still), apply("tanh", plus(still, times(Constant(3.0), apply("log", Variable(1)))))
    )
    short, wide, places = _condensed(root, X)
    assert wide.shape == (20, 4)
    np.testing.assert_allclose(Program(short)(wide), Program(root)(X))
    assert sorted(map(repr, (node.function for node in places.values()))) == ["exp", "log"]
    assert [c.value for c in free_constants(short)] == [c.value for c in free_constants(root)]


def test_what_cancels_ranks_behind(case):
    _, rows = case
    honest = affine(1.0, apply("x^2", Variable(0)), 0.1)
    waves = affine(-2e4, apply("cos", affine(0.01, Variable(0), 0.0)), 2e4)
    assert _digits(honest, rows.X) == 0
    assert _digits(waves, rows.X) > 5
    assert State(waves, 1.0, {}, 5.0).rank(0.0) > State(waves, 1.0).rank(0.0)


def test_symbols_are_written_without_constants():
    t = np.linspace(-1, 1, 50)
    assert written(matches(t, np.exp(2 * t), [LIBRARY["exp"]])[0]) == "e^{x}"
    assert written(matches(t, 3 * t, [])[0]) == "x"
