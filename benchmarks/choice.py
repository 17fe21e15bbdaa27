"""Chooses a shape and a grid for a table by a held-out part, as a user without knowledge of the formula would."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from problems import TEST_SEED, Problem
from report import rmse

from superpose import KAN, BSpline, fit

TRAIN, HELD_OUT, TEST = 1000, 500, 10_000
GRIDS = (4, 8, 16, 32, 64)
ENOUGH = 1e-8
"""Held-out RMSE, relative to the targets' spread, at which no further shape is tried."""


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
    """Fit all shapes within a time limit, smaller ones first, and take the best on the held-out part."""
    began = time.perf_counter()
    x, y = problem.sample(TRAIN, seed)
    held_out = problem.sample(HELD_OUT, TEST_SEED // 2 + seed)
    spread = float(y.std())
    best: tuple[float, KAN] | None = None
    for number, widths in enumerate(shapes):
        share = (seconds - (time.perf_counter() - began)) / (len(shapes) - number)
        model = KAN(widths, BSpline(grids[0]), generator=torch.Generator().manual_seed(seed)).double()
        result = fit(model, x, y, validation=held_out, intervals=grids, max_time=max(share, 0.1), seed=seed)
        error = rmse(result.model, *held_out)
        if best is None or error < best[0]:
            best = error, result.model
        if error < ENOUGH * spread:
            break
    error, model = best
    test = rmse(model, *problem.sample(TEST, TEST_SEED + seed))
    return Choice(model.widths, model.layers[0].basis.size, test, error, time.perf_counter() - began)


def smaller_first(shapes: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """Without repetitions, by the number of edges."""
    return sorted(set(shapes), key=lambda widths: (edges(widths), len(widths)))


def edges(widths: Sequence[int]) -> int:
    """Number of functions in a network of these widths."""
    return sum(a * b for a, b in zip(widths[:-1], widths[1:], strict=True))
