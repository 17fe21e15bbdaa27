"""Chooses a shape and a grid for a table by a held-out part, as a user without knowledge of the formula would."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count, cycle

import torch
from problems import TEST_SEED, Problem
from report import rmse

from superpose import KAN, BSpline, fit

TRAIN, HELD_OUT, TEST = 1000, 500, 10_000
GRIDS = (4, 8, 16, 32, 64)
STARTS, FINALISTS = 16, 4
SEEDS_APART = 1000
ENOUGH = 1e-8
"""Held-out RMSE, relative to the targets' spread, at which nothing further is tried."""


@dataclass(frozen=True)
class Choice:
    """The network chosen and its error on a test table that had no part in the choice."""

    widths: tuple[int, ...]
    intervals: int
    test: float
    held_out: float
    seconds: float

    def __str__(self) -> str:
        return f"{'-'.join(map(str, self.widths))}, {self.intervals}"


def choose(
    problem: Problem, shapes: Sequence[tuple[int, ...]], seed: int, seconds: float, *, grids: Sequence[int] = GRIDS
) -> Choice:
    """Try all shapes on a coarse grid, go on with the best of them to finer ones, and take the best on the held-out part.

    At most two thirds of the time limit go to the first round. A shape in which the error vanishes ends it. What time is
    left goes to fresh starts of the best shapes.
    """
    began = time.perf_counter()
    x, y = problem.sample(TRAIN, seed)
    held_out = problem.sample(HELD_OUT, TEST_SEED // 2 + seed)
    enough = ENOUGH * float(y.std())

    def left() -> float:
        return seconds - (time.perf_counter() - began)

    def fitted(model: KAN, intervals: Sequence[int], limit: float, drawn: int = seed) -> tuple[float, KAN]:
        result = fit(
            model, x, y, validation=held_out, intervals=intervals, starts=STARTS, max_time=max(limit, 0.1), seed=drawn
        )
        return rmse(result.model, *held_out), result.model

    tried: list[tuple[float, KAN]] = []
    for number, widths in enumerate(shapes):
        model = KAN(widths, BSpline(grids[0]), generator=torch.Generator().manual_seed(seed)).double()
        tried.append(fitted(model, grids[:2], (left() - seconds / 3) / (len(shapes) - number)))
        if tried[-1][0] < enough:
            break
    tried.sort(key=lambda found: found[0])
    best, finalists = tried[0], tried[:FINALISTS] if len(grids) > 2 else []
    for number, (error, model) in enumerate(finalists):
        if best[0] < enough or left() <= 0:
            break
        best = min(
            best, (error, model), fitted(model, grids[2:], left() / (len(finalists) - number)), key=lambda f: f[0]
        )
    shapes_again = cycle(dict.fromkeys(model.widths for _, model in finalists))
    for again in count(1):
        if not finalists or best[0] < enough or left() < seconds / 10:
            break
        drawn = SEEDS_APART * again + seed
        model = KAN(next(shapes_again), BSpline(grids[0]), generator=torch.Generator().manual_seed(drawn)).double()
        best = min(best, fitted(model, grids, left() / 2, drawn), key=lambda found: found[0])
    error, model = best
    test = rmse(model, *problem.sample(TEST, TEST_SEED + seed))
    return Choice(model.widths, model.layers[0].basis.size, test, error, time.perf_counter() - began)


def smaller_first(shapes: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """Without repetitions, by the number of edges."""
    return sorted(set(shapes), key=lambda widths: (edges(widths), len(widths)))


def edges(widths: Sequence[int]) -> int:
    """Number of functions in a network of these widths."""
    return sum(a * b for a, b in zip(widths[:-1], widths[1:], strict=True))
