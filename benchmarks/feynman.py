"""Twenty-seven formulas of the Feynman set in dimensionless form, against the best networks published for them.

The comparison is Table 2 of Liu et al. 2024 (arXiv 2404.19756): the lowest test RMSE over depths, grids and seeds, of
KANs in a shape made by hand, pruned and unpruned, and of perceptrons. The paper does not say where it sampled; the ranges
here are our own, printed in the report, and away from singularities. A held-out part chooses among a fixed list of shapes
and the paper's pruned one.

    python benchmarks/feynman.py
"""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import sympy
import torch
from choice import GRIDS, HELD_OUT, TEST, TRAIN, Choice, choose, smaller_first
from problems import Problem
from report import Report, options, shown, spread
from torch import Tensor

SECONDS = 60.0
TURN = (0.0, 2 * math.pi)


@dataclass(frozen=True)
class Formula:
    """A formula as text and as code, with the paper's figures.

    Attributes:
        name: Its number in the Feynman lectures.
        text: The formula in SymPy's notation.
        code: The same in PyTorch, of the variables in the order of `ranges`.
        ranges: Where each variable is sampled.
        pruned: The paper's best pruned shape.
        published: Lowest test RMSE of the paper's human-constructed, pruned and unpruned KANs and of its perceptrons.
    """

    name: str
    text: str
    code: Callable[..., Tensor]
    ranges: dict[str, tuple[float, float]]
    pruned: tuple[int, ...]
    published: tuple[float, float, float, float]

    @property
    def problem(self) -> Problem:
        return Problem(self.name, tuple(self.ranges.values()), lambda x: self.code(*x.unbind(1)))


def _bell(distance: Tensor, width: Tensor) -> Tensor:
    return (-distance.square() / (2 * width.square())).exp() / (math.sqrt(2 * math.pi) * width)


FORMULAS = (
    Formula("I.6.2", "exp(-t**2/(2*s**2))/sqrt(2*pi*s**2)", _bell,
            {"t": (-2, 2), "s": (0.5, 2)}, (2, 2, 1, 1), (7.66e-5, 2.86e-5, 4.60e-5, 1.45e-4)),
    Formula("I.6.2b", "exp(-(t-t1)**2/(2*s**2))/sqrt(2*pi*s**2)", lambda t, t1, s: _bell(t - t1, s),
            {"t": (-1.5, 1.5), "t1": (-1.5, 1.5), "s": (0.5, 2)}, (3, 2, 2, 1, 1), (1.22e-3, 4.45e-4, 1.25e-3, 7.40e-4)),
    Formula("I.9.18", "a/((b-1)**2+(c-d)**2+(e-f)**2)",
            lambda a, b, c, d, e, f: a / ((b - 1).square() + (c - d).square() + (e - f).square()),
            {"a": (0.1, 2), "b": (-1, 0), "c": (-1, 1), "d": (-1, 1), "e": (-1, 1), "f": (-1, 1)},
            (6, 4, 1, 1), (1.48e-3, 8.62e-3, 6.56e-3, 1.59e-3)),
    Formula("I.12.11", "1+a*sin(t)", lambda a, t: 1 + a * t.sin(),
            {"a": (-1, 1), "t": TURN}, (2, 2, 1), (2.07e-3, 1.39e-3, 9.13e-4, 6.71e-4)),
    Formula("I.13.12", "a*(1/b-1)", lambda a, b: a * (1 / b - 1),
            {"a": (0, 2), "b": (0.5, 2)}, (2, 2, 1), (7.22e-3, 4.81e-3, 2.72e-3, 1.42e-3)),
    Formula("I.15.3x", "(1-a)/sqrt(1-b**2)", lambda a, b: (1 - a) / (1 - b * b).sqrt(),
            {"a": (-1, 1), "b": (-0.9, 0.9)}, (2, 2, 1, 1, 1), (7.35e-3, 1.58e-3, 1.14e-3, 8.54e-4)),
    Formula("I.16.6", "(a+b)/(1+a*b)", lambda a, b: (a + b) / (1 + a * b),
            {"a": (-0.9, 0.9), "b": (-0.9, 0.9)}, (2, 2, 1), (1.06e-3, 1.19e-3, 1.53e-3, 6.20e-4)),
    Formula("I.18.4", "(1+a*b)/(1+a)", lambda a, b: (1 + a * b) / (1 + a),
            {"a": (0, 2), "b": (0, 2)}, (2, 2, 1), (3.92e-4, 1.50e-4, 1.32e-3, 3.68e-4)),
    Formula("I.26.2", "asin(n*sin(t))", lambda n, t: (n * t.sin()).asin(),
            {"n": (0, 0.95), "t": (-math.pi / 2, math.pi / 2)}, (2, 2, 2, 1, 1), (1.22e-1, 7.90e-4, 8.63e-4, 1.24e-3)),
    Formula("I.27.6", "1/(1+a*b)", lambda a, b: 1 / (1 + a * b),
            {"a": (0, 2), "b": (0, 2)}, (2, 1, 1), (2.22e-4, 1.94e-4, 2.14e-4, 2.46e-4)),
    Formula("I.29.16", "sqrt(1+a**2-2*a*cos(t1-t2))", lambda a, t1, t2: (1 + a * a - 2 * a * (t1 - t2).cos()).sqrt(),
            {"a": (0, 0.8), "t1": TURN, "t2": TURN}, (3, 2, 3, 1), (2.36e-1, 3.99e-3, 3.20e-3, 4.64e-3)),
    Formula("I.30.3", "sin(n*t/2)**2/sin(t/2)**2", lambda n, t: ((n * t / 2).sin() / (t / 2).sin()).square(),
            {"n": (0, 4), "t": (0.5, math.pi)}, (2, 3, 2, 3, 1, 1), (3.85e-1, 1.03e-3, 1.11e-2, 1.50e-2)),
    Formula("I.30.5", "asin(a/n)", lambda a, n: (a / n).asin(),
            {"a": (-1, 1), "n": (1.1, 3)}, (2, 1, 1, 1, 1, 1), (2.23e-4, 3.49e-5, 6.92e-5, 9.45e-5)),
    Formula("I.37.4", "1+a+2*sqrt(a)*cos(d)", lambda a, d: 1 + a + 2 * a.sqrt() * d.cos(),
            {"a": (0.1, 2), "d": TURN}, (2, 2, 1), (7.57e-5, 4.91e-6, 3.41e-4, 5.67e-4)),
    Formula("I.40.1", "n0*exp(-a)", lambda n0, a: n0 * (-a).exp(),
            {"n0": (0, 2), "a": (0, 3)}, (2, 2, 1, 1, 1, 2, 1), (3.45e-3, 5.01e-4, 3.12e-4, 3.99e-4)),
    Formula("I.44.4", "n*log(a)", lambda n, a: n * a.log(),
            {"n": (0, 2), "a": (0.5, 3)}, (2, 2, 1), (2.30e-5, 2.43e-5, 1.10e-4, 3.99e-4)),
    Formula("I.50.26", "cos(a)+alpha*cos(a)**2", lambda a, alpha: a.cos() + alpha * a.cos().square(),
            {"a": TURN, "alpha": (0, 1)}, (2, 3, 2, 1), (1.52e-4, 5.82e-4, 4.90e-4, 1.53e-3)),
    Formula("II.2.42", "(a-1)*b", lambda a, b: (a - 1) * b,
            {"a": (0, 2), "b": (-1, 1)}, (2, 2, 2, 1), (8.54e-4, 7.22e-4, 1.22e-3, 1.81e-4)),
    Formula("II.6.15a", "c*sqrt(a**2+b**2)/(4*pi)", lambda a, b, c: c * (a * a + b * b).sqrt() / (4 * math.pi),
            {"a": (0.1, 2), "b": (0.1, 2), "c": (0, 2)}, (3, 2, 1, 1), (2.61e-3, 3.28e-3, 1.35e-3, 5.92e-4)),
    Formula("II.11.7", "n0*(1+a*cos(t))", lambda n0, a, t: n0 * (1 + a * t.cos()),
            {"n0": (0, 2), "a": (-1, 1), "t": TURN}, (3, 3, 1, 1), (7.10e-3, 8.52e-3, 5.03e-3, 5.92e-4)),
    Formula("II.11.27", "n*alpha/(1-n*alpha/3)", lambda n, alpha: n * alpha / (1 - n * alpha / 3),
            {"n": (0, 1), "alpha": (0, 2)}, (2, 2, 1), (2.67e-5, 4.40e-5, 1.43e-5, 7.18e-5)),
    Formula("II.35.18", "n0/(exp(a)+exp(-a))", lambda n0, a: n0 / (2 * a.cosh()),
            {"n0": (0, 2), "a": (-2, 2)}, (2, 1, 1, 1), (4.13e-4, 1.58e-4, 7.71e-5, 7.92e-5)),
    Formula("II.36.38", "a+alpha*b", lambda a, alpha, b: a + alpha * b,
            {"a": (-1, 1), "alpha": (-1, 1), "b": (-1, 1)}, (3, 2, 1), (2.85e-3, 1.15e-3, 3.03e-3, 2.15e-3)),
    Formula("II.38.3", "a/b", lambda a, b: a / b,
            {"a": (0, 2), "b": (0.5, 2)}, (2, 2, 1, 1, 1), (1.47e-4, 8.78e-5, 6.43e-4, 5.26e-4)),
    Formula("III.9.52", "a*sin((b-c)/2)**2/((b-c)/2)**2",
            lambda a, b, c: a * torch.special.sinc((b - c) / (2 * math.pi)).square(),
            {"a": (0, 2), "b": (-math.pi, math.pi), "c": (-math.pi, math.pi)},
            (3, 3, 2, 1, 1, 1), (4.43e-2, 3.90e-3, 2.11e-2, 9.07e-4)),
    Formula("III.10.19", "sqrt(1+a**2+b**2)", lambda a, b: (1 + a * a + b * b).sqrt(),
            {"a": (-2, 2), "b": (-2, 2)}, (2, 1, 2, 1), (2.54e-3, 1.18e-3, 8.16e-4, 1.67e-4)),
    Formula("III.17.37", "beta*(1+alpha*cos(t))", lambda beta, alpha, t: beta * (1 + alpha * t.cos()),
            {"beta": (0, 2), "alpha": (-1, 1), "t": TURN}, (3, 3, 1), (1.10e-3, 5.03e-4, 4.12e-4, 6.80e-4)),
)  # fmt: skip


def shapes(formula: Formula) -> list[tuple[int, ...]]:
    """A fixed list for any formula of so many variables, and the paper's pruned shape."""
    n = len(formula.ranges)
    listed = [
        (n, 1, 1), (n, 2, 1), (n, 2, 1, 1), (n, 3, 1), (n, 2, 2, 1), (n, n, 1), (n, 3, 2, 1), (n, 4, 2, 1), (n, 5, 1),
    ]  # fmt: skip
    return smaller_first([formula.pruned, *listed])


def check() -> None:
    """What is measured is right: the code of each formula gives what its text says."""
    for formula in FORMULAS:
        names = [sympy.Symbol(name, real=True) for name in formula.ranges]
        expression = sympy.sympify(formula.text, locals={str(name): name for name in names})
        assert expression.free_symbols == set(names), formula.name
        x, y = formula.problem.sample(200, 0)
        expected = torch.as_tensor(sympy.lambdify(names, expression, "numpy")(*x.numpy().T))
        assert torch.allclose(y[:, 0], expected, rtol=1e-9, atol=1e-12), formula.name
        assert bool(y.isfinite().all())


def row(formula: Formula, found: Sequence[Choice]) -> list[object]:
    errors = [choice.test for choice in found]
    ordered = sorted(found, key=lambda choice: choice.test)
    ranges = ", ".join(f"{name} {low:.3g} to {high:.3g}" for name, (low, high) in formula.ranges.items())
    columns = ("human KAN", "pruned KAN", "KAN", "MLP")
    best = min(range(4), key=formula.published.__getitem__)
    won = statistics.median(errors) < formula.published[best]
    return [
        formula.name, f"`{formula.text}`", ranges, float(formula.problem.sample(TEST, 0)[1].std()), spread(errors),
        str(ordered[len(ordered) // 2]), f"{formula.published[best]:.2e} ({columns[best]})", "yes" if won else "no",
        f"{statistics.median(choice.seconds for choice in found):.0f}",
    ]  # fmt: skip


COLUMNS = (
    "formula", "f", "ranges", "its spread", "test RMSE", "widths, intervals", "paper's best of all", "better", "seconds",
)  # fmt: skip


def main(argv: Sequence[str] | None = None) -> None:
    parser = options(__doc__, seeds=5)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="limit for all shapes of a formula together")
    parser.add_argument("--only", help="formulas whose name contains this")
    given = parser.parse_args(argv)
    check()
    report = Report("feynman", "Twenty-seven Feynman formulas", given)
    chosen = [formula for formula in FORMULAS if given.only is None or given.only in formula.name]
    seconds, grids, seeds, most = given.seconds, GRIDS, given.seeds, None
    if given.quick:
        chosen, seconds, grids, seeds, most = chosen[:1], 0.1, GRIDS[:1], 1, 2
    report.text(
        f"{TRAIN} points to fit, {HELD_OUT} to choose among shapes and grids ({', '.join(map(str, grids))} intervals), {TEST} "
        f"to test; {seconds:g} s for each formula and seed. RMSE in the units of the formula. The paper's figures are the "
        "lowest of its shapes, grids and 3 seeds, judged on its test set."
    )
    rows = []
    for formula in chosen:
        found = [choose(formula.problem, shapes(formula)[:most], seed, seconds, grids=grids) for seed in range(seeds)]
        rows.append(row(formula, found))
        print("  " + ", ".join(shown(cell) for cell in rows[-1]), flush=True)
    report.table(COLUMNS, rows)
    report.text(
        f"The median is below the paper's best of all columns for {sum(r[-2] == 'yes' for r in rows)} of {len(rows)} formulas."
    )
    report.close()


if __name__ == "__main__":
    main()
