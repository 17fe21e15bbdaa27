"""Test error against the number of intervals, for functions that are exact compositions of smooth ones.

A cubic spline with G intervals is good to G^-4, so a network of the function's own shape should be, too (Liu et al.
2024, arXiv 2404.19756, section 3.1, where the figure's slope is nearer -3). Each network is fitted on 5 intervals and
continued on finer and finer ones. The twin is a perceptron fitted by the same solver, at the same numbers of parameters.

    python benchmarks/scaling.py                 # everything
    python benchmarks/scaling.py --pykan PYTHON  # with pykan beside it, in an interpreter that has it
"""

import argparse
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from problems import BESSEL, EXP_SIN, HUNDRED, PRODUCT, TEST_SEED, Problem
from report import Report, options, peer, rmse, shown, slope, spread, timed

from superpose import KAN, MLP, BSpline, fit

GRIDS = (5, 10, 20, 50, 100)
TWINS = {5: ((6,), (3, 3)), 10: ((10,), (4, 4)), 20: ((18,), (6, 6)), 50: ((40,), (10, 10)), 100: ((78,), (15, 15))}
"""Hidden layers of perceptrons with about as many parameters as the 2-1-1 network with so many intervals."""
PERCEPTRON_STEPS = 200
PERCEPTRON_STARTS = 5
PEER_SEEDS = 3
NOTES = {
    PRODUCT.name: "x y = ((x + y)^2 - (x - y)^2) / 4 is made of parabolas, which cubic splines hold exactly on any grid: "
    "the error is where the optimisation ended, in one of the many other ways to write the product.",
    BESSEL.name: "The function has six waves on the domain; fewer than 20 intervals do not resolve them.",
}


@dataclass
class Curve:
    """Errors and seconds for each size, one entry per seed."""

    name: str
    errors: dict[int, list[float]] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    parameters: dict[int, int] = field(default_factory=dict)

    def add(self, size: int, error: float) -> None:
        self.errors.setdefault(size, []).append(error)

    def medians(self) -> list[float]:
        return [statistics.median(errors) for errors in self.errors.values()]

    def slopes(self) -> list[float]:
        return [slope(list(self.errors), errors) for errors in zip(*self.errors.values(), strict=True)]

    def row(self) -> list[str]:
        cells = [spread(errors) for errors in self.errors.values()]
        return [self.name, *cells, spread(self.slopes()) if len(self.errors) > 1 else "", spread(self.seconds)]


def kan_curve(
    problem: Problem, widths: Sequence[int], rows: int, grids: Sequence[int], seeds: int, **budget: int
) -> Curve:
    """A network continued from grid to grid, for each seed with data of its own."""
    curve = Curve(f"superpose {'-'.join(map(str, widths))}")
    for seed in range(seeds):
        x, y = problem.sample(rows, seed)
        test = problem.sample(max(rows, 3000), TEST_SEED + seed)
        model = KAN(widths, BSpline(grids[0]), generator=torch.Generator().manual_seed(seed)).double()
        seconds = 0.0
        for intervals in grids:
            result = fit(model, x, y, intervals=(intervals,), seed=seed, **budget)
            model, seconds = result.model, seconds + result.seconds
            curve.add(intervals, rmse(model, *test))
            curve.parameters[intervals] = model.num_parameters
        curve.seconds.append(seconds)
    return curve


def twin_curve(problem: Problem, rows: int, grids: Sequence[int], seeds: int, steps: int, layers: int) -> Curve:
    """Perceptrons of growing width, each fitted anew by Levenberg-Marquardt from the best of several starts."""
    curve = Curve(f"MLP, {layers} hidden, {'/'.join('x'.join(map(str, TWINS[grid][layers - 1])) for grid in grids)}")
    for seed in range(seeds):
        x, y = problem.sample(rows, seed)
        test = problem.sample(max(rows, 3000), TEST_SEED + seed)
        seconds = 0.0
        for grid in grids:
            widths = (problem.inputs, *TWINS[grid][layers - 1], 1)
            with timed() as clock:
                result = fit(best_twin(widths, x, y, seed), x, y, solver="lm", max_iter=steps, seed=seed)
            seconds += clock.seconds
            curve.add(grid, rmse(result.model, *test))
            curve.parameters[grid] = result.model.num_parameters
        curve.seconds.append(seconds)
    return curve


def best_twin(widths: Sequence[int], x: torch.Tensor, y: torch.Tensor, seed: int) -> MLP:
    """The best of several perceptrons after short fits."""
    generator = torch.Generator().manual_seed(seed)
    models = [MLP(widths, generator=generator).double() for _ in range(PERCEPTRON_STARTS)]
    fits = [fit(model, x, y, solver="lm", max_iter=PERCEPTRON_STEPS // 10, starts=1) for model in models]
    return min(fits, key=lambda found: found.loss).model


def peer_curve(
    python: str, problem: Problem, widths: Sequence[int], rows: int, grids: Sequence[int], seeds: int, quick: bool
) -> Curve:
    """The reference implementation on the same tables."""
    curve = Curve("pykan")
    for seed in range(seeds):
        x, y = problem.sample(rows, seed)
        x_test, y_test = problem.sample(max(rows, 3000), TEST_SEED + seed)
        job = {"widths": list(widths), "grids": list(grids), "steps": 2 if quick else 50, "seed": seed}
        result = peer(python, job, {"x": x.numpy(), "y": y.numpy(), "x_test": x_test.numpy(), "y_test": y_test.numpy()})
        curve.name = f"pykan {result['version']} {'-'.join(map(str, widths))}"
        for grid, error in zip(grids, result["rmse"], strict=True):
            curve.add(grid, error)
        curve.seconds.append(sum(result["seconds"]))
    return curve


def tabulate(report: Report, problem: Problem, rows: int, curves: Sequence[Curve], grids: Sequence[int]) -> None:
    report.text(f"## {problem.name}, {rows} points")
    report.table(
        ["test RMSE at intervals", *map(str, grids), "slope", "seconds in all"], [curve.row() for curve in curves]
    )


def draw(path: Path, curves: Sequence[Curve]) -> None:
    """Errors against parameters, with the range over the seeds as a band."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    axes = figure.add_subplot()
    for curve, colour in zip(curves, ("#0b6e4f", "#b5651d", "#7a5195", "#555555"), strict=False):
        sizes = [curve.parameters[grid] for grid in curve.errors]
        label = " ".join(curve.name.split(", ")[:2]).replace("superpose", "KAN")
        axes.loglog(sizes, curve.medians(), "o-", color=colour, label=label, markersize=4)
        low, high = zip(*((min(errors), max(errors)) for errors in curve.errors.values()), strict=True)
        axes.fill_between(sizes, low, high, color=colour, alpha=0.15, linewidth=0)
    sizes, medians = list(curves[0].parameters.values()), curves[0].medians()
    grids = list(curves[0].errors)
    guide = [0.3 * medians[0] * (grid / grids[0]) ** -4 for grid in grids]
    axes.loglog(sizes, guide, ":", color="black", linewidth=1, label="intervals$^{-4}$")
    axes.set(xlabel="parameters", ylabel="test RMSE", title="exp(sin πx + y²), 3000 points")
    axes.set_xticks([30, 50, 100, 200, 300], labels=["30", "50", "100", "200", "300"])
    axes.minorticks_off()
    axes.spines[["top", "right"]].set_visible(b=False)
    axes.grid(visible=True, which="major", alpha=0.3)
    axes.legend(frameon=False, fontsize="small")
    figure.savefig(path, dpi=150)


def check() -> None:
    """What is measured is right: known values of the functions, and a slope that is known."""
    x = torch.tensor([[0.5, 1.0]], dtype=torch.float64)
    assert abs(float(EXP_SIN.function(x)) - 7.38905609893065) < 1e-12
    assert abs(float(BESSEL.function(x[:, :1])) + 0.24593576445134832) < 1e-12
    assert abs(float(HUNDRED.function(torch.full((1, 100), 0.5, dtype=torch.float64))) - 1.6487212707001282) < 1e-12
    assert abs(slope(GRIDS, [grid**-4.0 for grid in GRIDS]) + 4) < 1e-12


def main(argv: Sequence[str] | None = None) -> None:
    parser = options(__doc__, seeds=10)
    parser.add_argument(
        "--pykan", metavar="PYTHON", help="interpreter that has pykan, for a line of its own (minutes a seed)"
    )
    parser.add_argument("--only", choices=("main", "few", "others"), help="one of the parts")
    given = parser.parse_args(argv)
    check()
    report = Report("scaling", "Test error against intervals", given)
    quick = given.quick
    budget = {"max_iter": 2, "starts": 1} if quick else {}
    if given.only in (None, "main"):
        _main_part(report, given)
    if given.only in (None, "few"):
        grids = (5, 10) if quick else GRIDS
        tabulate(report, EXP_SIN, 100, [kan_curve(EXP_SIN, (2, 1, 1), 100, grids, given.seeds, **budget)], grids)
        report.text("More intervals than points: pykan 0.0 logs 1.65 at 100 intervals (tutorial Example_8).")
    if given.only in (None, "others"):
        for problem, widths, rows, grids in (
            (PRODUCT, (2, 2, 1), 3000, (5, 10, 20)),
            (BESSEL, (1, 1), 3000, (20, 50, 100, 200)),
            (HUNDRED, (100, 1, 1), 3000, (3, 5, 10, 20)),
        ):
            rows, grids = (200, grids[:1] if problem is HUNDRED else grids[:2]) if quick else (rows, grids)
            seeds = min(given.seeds, 5)
            tabulate(report, problem, rows, [kan_curve(problem, widths, rows, grids, seeds, **budget)], grids)
            if problem.name in NOTES:
                report.text(NOTES[problem.name])
    report.close()


def _main_part(report: Report, given: argparse.Namespace) -> None:
    rows, grids = (300, (5, 10)) if given.quick else (3000, GRIDS)
    with timed() as clock:
        curves = [kan_curve(EXP_SIN, (2, 1, 1), rows, grids, given.seeds)]
    steps = 5 if given.quick else PERCEPTRON_STEPS
    curves += [twin_curve(EXP_SIN, rows, grids, given.seeds, steps, layers) for layers in (1, 2)]
    if given.pykan:
        seeds = min(given.seeds, PEER_SEEDS)
        curves.append(peer_curve(given.pykan, EXP_SIN, (2, 1, 1), rows, grids, seeds, given.quick))
        curves[-1].parameters = curves[0].parameters
    tabulate(report, EXP_SIN, rows, curves, grids)
    if len(grids) == len(GRIDS):
        targets = (7e-3, 3.4e-4, 1.9e-5, 4.5e-7, 3.0e-8)
        errors = curves[0].errors
        within = [sum(error <= target for error in errors[grid]) for grid, target in zip(grids, targets, strict=True)]
        report.table(
            ["target", *map(shown, targets)], [["seeds that reach it", *(f"{n} of {given.seeds}" for n in within)]]
        )
    report.text(f"All {given.seeds} seeds of the network took {clock.seconds:.0f} s.")
    path = report.figure("scaling.png")
    if path is not None:
        draw(path, curves)


if __name__ == "__main__":
    main()
