"""The search: exact formulas in seconds, whatever the table, and always an answer in time."""

import time

import numpy as np
import pytest

from superpose.symbolic import search as module
from superpose.symbolic.expression import Constant, Variable, apply, plus, times, used_variables
from superpose.symbolic.functions import STANDARD, chosen
from superpose.symbolic.search import LARGEST, Job, Pool, search

RNG = np.random.default_rng(0)


def drawn(low, high, inputs=2, rows=240, seed=0):
    return np.random.default_rng(seed).uniform(low, high, (rows, inputs))


def run(X, y, max_time=10.0, networks=False, show=lambda line: None, functions=STANDARD):
    """A search with a quarter of the rows held out."""
    held = np.zeros(len(y), dtype=bool)
    held[np.random.default_rng(5).permutation(len(y))[: max(2, len(y) // 4)]] = True
    names = [f"x{n + 1}" for n in range(X.shape[1])]
    job = Job(functions, networks, 1, 0, show)
    return search(X[~held], y[~held], X[held], y[held], names, job, max_time=max_time)


PROBLEMS = {
    "gravity": (1, 5, 4, lambda X: X[:, 0] * X[:, 1] / (4 * np.pi * X[:, 2] * X[:, 3] ** 2), 10),
    "decay": (1, 5, 2, lambda X: X[:, 0] * np.exp(-X[:, 1] / 2), 6),
    "curves": (-3, 3, 3, lambda X: np.sin(X[:, 0]) + X[:, 1] ** 2 + np.exp(X[:, 2] / 2), 12),
    "bell": (-2, 2, 2, lambda X: np.exp(-((X[:, 0] - X[:, 1]) ** 2) / 2) / np.sqrt(2 * np.pi), 14),
    "quotient": (-3, 3, 2, lambda X: X[:, 0] / (1 + X[:, 1] ** 2), 9),
    "wave": (-2, 2, 1, lambda X: np.sin(30 * X[:, 0]) + 2, 8),
    "mixed": (-3, 3, 3, lambda X: X[:, 0] * X[:, 1] + X[:, 2], 5),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_an_exact_formula_is_found_in_seconds(name):
    low, high, inputs, function, most = PROBLEMS[name]
    X, fresh = drawn(low, high, inputs), drawn(low, high, inputs, seed=1)
    front = run(X, function(X), max_time=20)
    np.testing.assert_allclose(front.best(fresh), function(fresh), atol=1e-9 * np.abs(function(fresh)).max())
    assert front.best.complexity <= most
    assert front.best.free == 0, "all constants are nice"
    assert front.stopped == "finished"
    assert front.seconds < 15


@pytest.mark.parametrize("value", [0.0, 3.25, -1e30, 1e-30])
def test_a_constant_target_is_a_constant(value):
    front = run(drawn(-1, 1, rows=60), np.full(60, value))
    assert len(front) == 1
    np.testing.assert_allclose(front.best(np.zeros((3, 2))), value)
    assert used_variables(front.best.root) == []


@pytest.mark.parametrize("rows", [8, 9, 12, 20])
@pytest.mark.parametrize("inputs", [1, 3, 12])
def test_a_tiny_table_gives_some_formula(rows, inputs):
    X = drawn(1, 5, inputs, rows)
    front = run(X, X[:, 0] + 0.1 * np.random.default_rng(1).normal(size=rows), max_time=1)
    assert len(front) >= 1
    assert np.isfinite(front.best(X)).all()


def test_twelve_rows_are_enough_for_a_simple_law():
    X = drawn(1, 5, rows=16)
    front = run(X, X[:, 0] * np.exp(-X[:, 1] / 2))
    fresh = drawn(1, 5, seed=1)
    np.testing.assert_allclose(front.best(fresh), fresh[:, 0] * np.exp(-fresh[:, 1] / 2), rtol=1e-9)


def test_more_columns_than_rows_are_no_obstacle():
    X = drawn(-1, 1, 60, 40)
    assert np.isfinite(run(X, X[:, 3] ** 2).best(X)).all()


@pytest.mark.parametrize("of_inputs", [1e-30, 1.0, 1e30])
@pytest.mark.parametrize("of_target", [1e-30, 1e30])
def test_units_do_not_matter(of_inputs, of_target):
    X = drawn(1, 5)
    y = X[:, 0] ** 2 * np.exp(-X[:, 1] / 2)
    front = run(of_inputs * X, of_target * y)
    fresh = drawn(1, 5, seed=1)
    expected = of_target * fresh[:, 0] ** 2 * np.exp(-fresh[:, 1] / 2)
    np.testing.assert_allclose(front.best(of_inputs * fresh), expected, rtol=1e-8)


def test_columns_that_say_nothing_new_are_not_used():
    X = drawn(1, 5)
    y = X[:, 0] * np.exp(-X[:, 1] / 2)
    front = run(np.column_stack([np.full(240, 7.0), X[:, 0], X, X[:, 1]]), y)
    assert used_variables(front.best.root) == [1, 3]
    assert front.best.complexity == 6


def test_columns_that_all_stay_the_same_leave_the_mean():
    front = run(np.full((60, 2), 3.0), RNG.normal(size=60))
    assert all(used_variables(formula.root) == [] for formula in front)


def test_whole_numbers_are_numbers():
    X = np.random.default_rng(2).integers(-4, 5, (200, 2)).astype(float)
    front = run(X, X[:, 0] ** 2 + X[:, 0] * X[:, 1])
    fresh = drawn(-4, 4, seed=3)
    np.testing.assert_allclose(front.best(fresh), fresh[:, 0] ** 2 + fresh[:, 0] * fresh[:, 1], atol=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_pure_noise_gives_something_simple(seed):
    X = drawn(-2, 2, 3, seed=seed)
    front = run(X, np.random.default_rng(seed + 20).normal(size=240), max_time=3)
    assert front.best.complexity <= 8


def test_under_heavy_noise_the_formula_is_simple_and_near():
    X = drawn(1, 5, rows=400)
    y = X[:, 0] * np.exp(-X[:, 1] / 2)
    front = run(X, y + y.std() * np.random.default_rng(4).normal(size=400), max_time=4)
    assert front.best.complexity <= 20
    assert np.mean((front.best(X) - y) ** 2) < 0.15 * y.var()


def test_one_percent_of_noise_does_not_hide_a_law():
    X = drawn(1, 5, 3, rows=400)
    y = X[:, 0] * X[:, 1] / X[:, 2] ** 2
    front = run(X, y + 0.01 * y.std() * np.random.default_rng(4).normal(size=400))
    np.testing.assert_allclose(front.best(X), y, rtol=0.02)
    assert front.best.complexity <= 10


def test_the_same_seed_gives_the_same_formulas():
    X = drawn(-2, 2, 2, rows=120)
    y = np.sin(X[:, 0] * X[:, 1]) + 0.1 * np.random.default_rng(4).normal(size=120)
    one, two = (run(X, y, max_time=60, functions=chosen(["x^2", "sin"])) for _ in range(2))
    assert [repr(f.sympy) for f in one] == [repr(f.sympy) for f in two]
    assert one.stopped == two.stopped == "finished"


@pytest.mark.parametrize("inputs", [2, 4])
@pytest.mark.parametrize("max_time", [0.01, 1.0])
def test_time_is_kept(inputs, max_time):
    X = drawn(-2, 2, inputs, rows=400)
    y = np.cos(X[:, 0] * np.exp(X[:, 1])) * np.tanh(X.sum(1)) + X[:, -1] * np.sin(X[:, 0] ** 2)
    began = time.perf_counter()
    front = run(X, y, max_time=max_time)
    assert time.perf_counter() - began < max_time + 5
    assert len(front) >= 1
    assert front.stopped == "time"


def test_networks_come_last_and_keep_the_time():
    X, lines = drawn(-2, 2, 2, rows=150), []
    y = np.cos(X[:, 0] * np.exp(X[:, 1])) * np.tanh(X.sum(1) + X[:, 0] ** 2)
    began = time.perf_counter()
    run(X, y, max_time=8, networks=True, show=lines.append)
    assert time.perf_counter() - began < 8 + 8
    assert lines[-1].startswith("networks")


@pytest.mark.parametrize("place", ["reductions", "additives", "sparse_formulas", "refit", "snapped", "tidied"])
def test_ctrl_c_gives_the_best_so_far(monkeypatch, place):
    X = drawn(-2, 2, 2)
    y, calls = X[:, 0] * np.sin(X[:, 1]) + X[:, 1] + 0.01 * RNG.normal(size=240), []

    def interrupted(*args, **kwargs):
        calls.append(place)
        raise KeyboardInterrupt

    monkeypatch.setattr(module, place, interrupted)
    front = run(X, y)
    assert calls
    assert front.stopped == "interrupted"
    assert np.isfinite(front.best(X)).all()


def test_ctrl_c_after_a_good_formula_keeps_it(monkeypatch):
    X = drawn(-2, 2, 2)
    y, consider = X[:, 0] ** 2 + np.sin(X[:, 1]) + 0.01 * RNG.normal(size=240), Pool.consider

    def considered(pool, root):
        if pool.best < 0.02**2:
            raise KeyboardInterrupt
        return consider(pool, root)

    monkeypatch.setattr(Pool, "consider", considered)
    monkeypatch.setattr(Pool, "solved", False)
    front = run(X, y)
    assert front.stopped == "interrupted"
    assert front.best.held_out < 0.02**2


def pool_of(y=None, rows=500):
    X = drawn(-2, 2, 2, rows)
    return Pool(X, X[:, 0] ** 2 if y is None else y, time.perf_counter() + 60)


def test_a_pool_keeps_what_is_good_and_lists_the_best_of_every_length():
    pool = pool_of()
    assert pool.best == np.inf
    assert not pool.solved
    pool.keep(Constant(1.0))
    assert pool.consider(times(Constant(0.5), apply("x^2", Variable(0)))) < 1e-20
    assert pool.solved
    assert pool.explained
    pool.consider(plus(apply("x^2", Variable(0)), times(Constant(0.1), Variable(1))))
    assert [used_variables(root) for root in pool.front()] == [[], [0]]
    assert not pool.late


def test_a_pool_turns_away_monsters_and_what_is_not_defined():
    pool = pool_of()
    monster = plus(*(apply("sin", times(Constant(float(n)), Variable(0))) for n in range(1, LARGEST)))
    assert pool.consider(monster) == np.inf
    pool.keep(apply("log", Variable(0)))
    assert pool.front() == []


def test_noise_decides_when_the_data_are_explained():
    noise = 0.1 * np.random.default_rng(1).normal(size=500)
    X = drawn(-2, 2, 2, 500)
    pool = Pool(X, X[:, 0] ** 2 + noise, time.perf_counter() + 60, noise=0.1)
    pool.keep(times(Constant(0.9), apply("x^2", Variable(0))))
    assert not pool.explained
    pool.keep(apply("x^2", Variable(0)))
    assert pool.explained
    assert not pool.solved
