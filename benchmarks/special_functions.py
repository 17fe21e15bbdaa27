"""Fifteen special functions of two variables, against the best networks published for them.

The comparison is Table 1 of Liu et al. 2024 (arXiv 2404.19756): the lowest test RMSE over shapes, grids and seeds, for
KANs and for perceptrons. The paper does not say where it sampled; the ranges here are our own, printed in the report,
and away from singularities. Shapes have no more edges than the paper's best; a held-out part chooses among them.

    python benchmarks/special_functions.py
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.special as sp
import torch
from choice import GRIDS, HELD_OUT, TEST, TRAIN, Choice, choose, edges, smaller_first
from problems import Problem
from report import Report, options, shown, spread

SECONDS = 30.0


@dataclass(frozen=True)
class Published:
    """A function, and the paper's best KAN, its shape, and the paper's best perceptron."""

    problem: Problem
    widths: tuple[int, ...]
    kan: float
    mlp: float


def two(name: str, first: tuple[float, float], second: tuple[float, float], function) -> Problem:
    """A problem from a NumPy function of two columns."""
    return Problem(name, (first, second), lambda x: torch.from_numpy(np.asarray(function(*x.numpy().T), dtype=float)))


def harmonic(order: int, degree: int):
    """Real part of a spherical harmonic of azimuth and polar angle, in SciPy's normalisation."""
    norm = math.sqrt((2 * degree + 1) / (4 * math.pi) * math.factorial(degree - order) / math.factorial(degree + order))
    return lambda azimuth, polar: norm * sp.lpmv(order, degree, np.cos(polar)) * np.cos(order * azimuth)


def legendre(order: int):
    return lambda degree, x: sp.lpmv(order, degree, x)


TURN, HALF_TURN = (0.0, 2 * math.pi), (0.0, math.pi)
AMPLITUDE, MODULUS = (0.0, 1.5), (0.0, 0.95)
ORDER, ARGUMENT, DEGREE, INSIDE = (0.0, 2.0), (1.0, 5.0), (0.0, 2.0), (-0.5, 0.9)
FUNCTIONS = (
    Published(
        two("ellipj sn(u, m)", (0.0, 3.0), MODULUS, lambda u, m: sp.ellipj(u, m)[0]), (2, 3, 2, 1, 1), 1.33e-4, 6.48e-4
    ),
    Published(two("ellipkinc(phi, m)", AMPLITUDE, MODULUS, sp.ellipkinc), (2, 2, 1, 1, 1), 1.24e-4, 5.52e-4),
    Published(two("ellipeinc(phi, m)", AMPLITUDE, MODULUS, sp.ellipeinc), (2, 2, 1, 1), 8.26e-5, 3.04e-4),
    Published(two("jv(v, x)", ORDER, ARGUMENT, sp.jv), (2, 3, 1, 1, 1), 1.64e-3, 5.52e-3),
    Published(two("yv(v, x)", ORDER, ARGUMENT, sp.yv), (2, 2, 2, 1), 1.49e-5, 3.45e-4),
    Published(two("kv(v, x)", ORDER, ARGUMENT, sp.kv), (2, 2, 1), 2.52e-5, 1.67e-4),
    Published(two("iv(v, x)", ORDER, ARGUMENT, sp.iv), (2, 4, 3, 2, 1, 1), 9.28e-3, 1.07e-2),
    Published(two("lpmv(0, v, x)", DEGREE, INSIDE, legendre(0)), (2, 2, 1), 5.25e-5, 1.74e-2),
    Published(two("lpmv(1, v, x)", DEGREE, INSIDE, legendre(1)), (2, 4, 1), 6.90e-4, 1.50e-3),
    Published(two("lpmv(2, v, x)", DEGREE, INSIDE, legendre(2)), (2, 3, 2, 1), 2.26e-4, 9.43e-4),
    Published(two("Re sph_harm(0, 1)", TURN, HALF_TURN, harmonic(0, 1)), (2, 1, 1), 2.21e-7, 1.25e-6),
    Published(two("Re sph_harm(1, 1)", TURN, HALF_TURN, harmonic(1, 1)), (2, 3, 2, 1), 1.22e-4, 6.70e-4),
    Published(two("Re sph_harm(0, 2)", TURN, HALF_TURN, harmonic(0, 2)), (2, 1, 1), 1.95e-7, 2.85e-6),
    Published(two("Re sph_harm(1, 2)", TURN, HALF_TURN, harmonic(1, 2)), (2, 2, 1, 1), 1.50e-5, 1.84e-3),
    Published(two("Re sph_harm(2, 2)", TURN, HALF_TURN, harmonic(2, 2)), (2, 2, 3, 2, 1), 9.45e-5, 6.21e-4),
)
SMALL = ((2, 1, 1), (2, 2, 1), (2, 2, 1, 1), (2, 3, 1), (2, 2, 2, 1), (2, 4, 1), (2, 3, 2, 1), (2, 5, 1), (2, 4, 2, 1))


def shapes(published: Published) -> list[tuple[int, ...]]:
    """The paper's best shape, and those of a fixed list that have no more edges."""
    most = edges(published.widths)
    return smaller_first([published.widths, *(widths for widths in SMALL if edges(widths) <= most)])


def check() -> None:
    """What is measured is right: values from tables and closed forms."""
    known = {
        "ellipkinc(phi, m)": ((1.0, 0.0), 1.0),
        "ellipeinc(phi, m)": ((1.0, 0.0), 1.0),
        "ellipj sn(u, m)": ((1.0, 0.0), math.sin(1.0)),
        "jv(v, x)": ((0.5, 2.0), math.sin(2.0) / math.sqrt(math.pi)),
        "yv(v, x)": ((0.5, 2.0), -math.cos(2.0) / math.sqrt(math.pi)),
        "kv(v, x)": ((0.5, 2.0), math.exp(-2.0) * math.sqrt(math.pi) / 2),
        "iv(v, x)": ((0.5, 2.0), math.sinh(2.0) / math.sqrt(math.pi)),
        "lpmv(0, v, x)": ((2.0, 0.5), -0.125),
        "lpmv(1, v, x)": ((2.0, 0.5), -1.5 * math.sqrt(0.75)),
        "lpmv(2, v, x)": ((2.0, 0.5), 2.25),
        "Re sph_harm(1, 1)": ((0.3, 0.4), -math.sqrt(3 / (8 * math.pi)) * math.sin(0.4) * math.cos(0.3)),
        "Re sph_harm(2, 2)": ((0.3, 0.4), math.sqrt(15 / (32 * math.pi)) * math.sin(0.4) ** 2 * math.cos(0.6)),
    }
    for published in FUNCTIONS:
        if published.problem.name in known:
            point, value = known[published.problem.name]
            found = float(published.problem.function(torch.tensor([point], dtype=torch.float64)))
            assert abs(found - value) < 1e-12, (published.problem.name, found, value)


def row(published: Published, found: Sequence[Choice]) -> list[object]:
    problem = published.problem
    target = float(problem.sample(TEST, 0)[1].std())
    ranges = ", ".join(f"{low:.3g} to {high:.3g}" for low, high in problem.ranges)
    errors = [choice.test for choice in found]
    middle = sorted(found, key=lambda choice: choice.test)[len(found) // 2]
    won = statistics.median(errors) < min(published.kan, published.mlp)
    seconds = statistics.median(choice.seconds for choice in found)
    name = "-".join(map(str, published.widths))
    return [
        problem.name, ranges, target, spread(errors), str(middle), f"{published.kan:.2e}, {name}", f"{published.mlp:.2e}",
        "yes" if won else "no", f"{seconds:.0f}",
    ]  # fmt: skip


COLUMNS = (
    "function", "ranges", "its spread", "test RMSE", "widths, intervals", "paper's best KAN", "paper's best MLP", "better than both",
    "seconds",
)  # fmt: skip


def main(argv: Sequence[str] | None = None) -> None:
    parser = options(__doc__, seeds=3)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="limit for all shapes of a function together")
    parser.add_argument("--only", help="functions whose name contains this")
    given = parser.parse_args(argv)
    check()
    report = Report("special_functions", "Fifteen special functions", given)
    chosen = [f for f in FUNCTIONS if given.only is None or given.only in f.problem.name]
    seconds, grids, seeds, most = given.seconds, GRIDS, given.seeds, None
    if given.quick:
        chosen, seconds, grids, seeds, most = chosen[:1], 0.1, GRIDS[:1], 1, 2
    report.text(
        f"{TRAIN} points to fit, {HELD_OUT} to choose among shapes and grids ({', '.join(map(str, grids))} intervals), {TEST} "
        f"to test; {seconds:g} s for each function and seed. RMSE in the units of the function. The paper's columns are the "
        "lowest of its shapes, grids and 3 seeds, judged on its test set."
    )
    rows = []
    for published in chosen:
        found = [
            choose(published.problem, shapes(published)[:most], seed, seconds, grids=grids) for seed in range(seeds)
        ]
        rows.append(row(published, found))
        print("  " + ", ".join(shown(cell) for cell in rows[-1]), flush=True)
    report.table(COLUMNS, rows)
    report.text(
        f"The median is below the paper's best KAN and MLP for {sum(r[-2] == 'yes' for r in rows)} of {len(rows)} functions."
    )
    report.close()


if __name__ == "__main__":
    main()
