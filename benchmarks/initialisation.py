"""Two ways to start a network: which one is the right default?

`variance_preserving` (Glorot's rule for edge functions) against `power_law` (Rigas et al. 2025, arXiv 2509.03417), in
networks of growing depth, by the training error after a fixed number of steps of each solver. One start each: the best of
several starts would hide what is measured.

    python benchmarks/initialisation.py
"""

import math
import statistics
from collections.abc import Sequence
from itertools import chain

import torch
from problems import BESSEL, EXP_SIN, FOUR_VARIABLES, Problem
from report import Report, options, rmse, shown, spread

from superpose import KAN, BSpline, fit
from superpose.layers import power_law, variance_preserving

INITS = {"variance_preserving": variance_preserving, "power_law": power_law}
PROBLEMS = (EXP_SIN, FOUR_VARIABLES, BESSEL)
STEPS = {"adam": 100, "lbfgs": 100, "lm": 15}
HIDDEN = 8
DEPTHS = (2, 3, 4, 6)
ROWS = 1000


def errors(problem: Problem, depth: int, solver: str, steps: int, init: str, seeds: int) -> list[float]:
    """Training RMSE of each seed, as a share of the targets' spread."""
    found = []
    for seed in range(seeds):
        x, y = problem.sample(ROWS, seed)
        widths = (problem.inputs, *[HIDDEN] * (depth - 1), 1)
        generator = torch.Generator().manual_seed(seed)
        model = KAN(widths, BSpline(5), init=INITS[init], generator=generator).double()
        result = fit(model, x, y, solver=solver, max_iter=steps, starts=1, seed=seed)
        found.append(rmse(result.model, x, y) / float(y.std()))
    return found


def check() -> None:
    """What is measured is right: both start from the same network, and differ in their parameters alone."""
    models = [KAN((2, 3, 1), init=init, generator=torch.Generator().manual_seed(0)) for init in INITS.values()]
    assert repr(models[0]) == repr(models[1])
    assert not torch.equal(models[0].layers[0].coef, models[1].layers[0].coef)


def main(argv: Sequence[str] | None = None) -> None:
    given = options(__doc__, seeds=5).parse_args(argv)
    check()
    report = Report("initialisation", "How networks start: variance_preserving against power_law", given)
    problems, depths = (PROBLEMS[:1], DEPTHS[:1]) if given.quick else (PROBLEMS, DEPTHS)
    rows, logs = [], {solver: {depth: [] for depth in depths} for solver in STEPS}
    for problem in problems:
        for depth in depths:
            for solver, steps in STEPS.items():
                pair = [
                    errors(problem, depth, solver, 2 if given.quick else steps, init, given.seeds) for init in INITS
                ]
                log = math.log(statistics.median(pair[1]) / statistics.median(pair[0]))
                logs[solver][depth].append(log)
                rows.append([problem.name, depth, solver, spread(pair[0]), spread(pair[1]), f"{math.exp(log):.2f}"])
                print("  " + ", ".join(shown(cell) for cell in rows[-1]), flush=True)
    report.text(
        f"Layers of width {HIDDEN}, {ROWS} points, 5 intervals. Training RMSE as a share of the targets' spread after "
        + ", ".join(f"{steps} steps of {solver}" for solver, steps in STEPS.items())
        + ". A ratio above 1 speaks for variance_preserving."
    )
    report.table(["function", "layers", "solver", *INITS, "power_law / variance_preserving"], rows)
    report.text("Geometric mean of the ratio over the functions:")
    report.table(
        ["solver", *(f"{depth} layers" for depth in depths), "all"],
        [
            [
                solver,
                *(f"{_mean(found):.2f}" for found in by_depth.values()),
                f"{_mean([*chain(*by_depth.values())]):.2f}",
            ]
            for solver, by_depth in logs.items()
        ],
    )
    report.close()


def _mean(logs: list[float]) -> float:
    return math.exp(sum(logs) / len(logs))


if __name__ == "__main__":
    main()
