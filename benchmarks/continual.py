"""Continual learning: parts of a function are shown one after the other. What is left of the first ones at the end?

In one dimension the parts are five Gaussian peaks side by side (Liu et al. 2024, arXiv 2404.19756, section 2.3; pykan's
tutorial Example_8 logs a training RMSE of 4e-6 for each). In two dimensions they are five bells in a square, and splines
of one variable no longer belong to one place: the table shows what happens, whatever it is.

    python benchmarks/continual.py
"""

import math
from collections.abc import Callable, Sequence

import torch
from report import Report, options, shown, spread
from torch import Tensor

from superpose import KAN, MLP, BSpline, fit
from superpose.models import Network

CENTRES = (-0.8, -0.4, 0.0, 0.4, 0.8)
SQUARE = ((-0.5, -0.5), (-0.5, 0.5), (0.0, 0.0), (0.5, -0.5), (0.5, 0.5))
Parts = list[tuple[Tensor, Tensor, Tensor, Tensor]]


def peaks(x: Tensor) -> Tensor:
    return torch.stack([torch.exp(-300 * (x - centre).square()) for centre in CENTRES]).sum(0)


def bells(x: Tensor) -> Tensor:
    centres = torch.tensor(SQUARE, dtype=x.dtype)
    return torch.exp(-20 * (x.unsqueeze(1) - centres).square().sum(-1)).sum(1, keepdim=True)


def parts_on_a_line(seed: int) -> Parts:
    """For each peak 100 even points to fit and 1000 random ones to test."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for centre in CENTRES:
        x = torch.linspace(centre - 0.2, centre + 0.2, 100, dtype=torch.float64).unsqueeze(1)
        test = centre - 0.2 + 0.4 * torch.rand(1000, 1, generator=generator, dtype=torch.float64)
        found.append((x, peaks(x), test, peaks(test)))
    return found


def parts_in_a_square(seed: int) -> Parts:
    """For each bell 400 random points of a square around it to fit and 1000 to test."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for centre in SQUARE:
        x, test = (
            torch.tensor(centre) + torch.rand(rows, 2, generator=generator, dtype=torch.float64) * 0.6 - 0.3
            for rows in (400, 1000)
        )
        found.append((x, bells(x), test, bells(test)))
    return found


def fixed_kan(widths: Sequence[int], intervals: int, seed: int) -> KAN:
    """A network on fixed grids over [-1, 1] without base functions, which act everywhere at once."""
    model = KAN(widths, BSpline(intervals), generator=torch.Generator().manual_seed(seed)).double()
    for layer in model.layers:
        layer.weight.requires_grad_(requires_grad=False).zero_()
    if len(model.layers) == 1:  # what is linear may start from nothing
        torch.nn.init.zeros_(model.layers[0].coef)
    return model


def perceptron(widths: Sequence[int], seed: int) -> MLP:
    return MLP(widths, generator=torch.Generator().manual_seed(seed)).double()


def errors(model: Network, parts: Parts) -> list[float]:
    with torch.no_grad():
        return [float((model(test) - y).square().mean().sqrt()) for _, _, test, y in parts]


def learn(model: Network, parts: Parts, solver: str, steps: int) -> tuple[list[float], list[float], float, int]:
    """Test error on each part right after it was shown and after the last; seconds; trainable parameters."""
    then, seconds = [], 0.0
    for number, (x, y, _, _) in enumerate(parts):
        result = fit(model, x, y, solver=solver, max_iter=steps, move=False)
        model, seconds = result.model, seconds + result.seconds
        then.append(errors(model, parts)[number])
    return then, errors(model, parts), seconds, model.num_parameters


def table(
    report: Report,
    make_parts: Callable[[int], Parts],
    contenders: Sequence[tuple[str, Callable[[int], Network], str, int]],
    seeds: int,
) -> None:
    """One row per network: the error on all parts then and at the end, and the worst ratio of the two."""
    rows = []
    for name, make, solver, steps in contenders:
        runs = [learn(make(seed), make_parts(seed), solver, steps) for seed in range(seeds)]
        worst = [max(end / then for then, end in zip(run[0], run[1], strict=True)) for run in runs]
        rows.append([
            f"{name}, {runs[0][3]} parameters", f"{solver}, {steps}",
            spread([max(run[0]) for run in runs]), spread([max(run[1]) for run in runs]), spread(worst),
            f"{sum(ratio <= 2 for ratio in worst)} of {seeds}", spread([run[2] for run in runs]),
        ])  # fmt: skip
        print("  " + ", ".join(shown(cell) for cell in rows[-1]), flush=True)
    columns = (
        "network", "solver, steps a part", "test RMSE right after its own part, worst of 5", "after the last part, worst of 5",
        "worst ratio", "seeds within 2x", "seconds",
    )  # fmt: skip
    report.table(columns, rows)


def check() -> None:
    """What is measured is right: heights of the functions at their centres and between."""
    x = torch.tensor([[0.0], [0.2]], dtype=torch.float64)
    assert torch.allclose(peaks(x)[:, 0], torch.tensor([1.0, 2 * math.exp(-12)], dtype=torch.float64), rtol=1e-9)
    assert abs(float(bells(torch.zeros(1, 2, dtype=torch.float64))) - 1 - 4 * math.exp(-10)) < 1e-12


def main(argv: Sequence[str] | None = None) -> None:
    given = options(__doc__, seeds=5).parse_args(argv)
    check()
    report = Report("continual", "Continual learning", given)
    most = (lambda steps: 3) if given.quick else (lambda steps: steps)
    report.text(
        "## Five peaks on a line\n\n`fit(..., move=False)` leaves units and grids as they are; the KAN has no base functions."
    )
    table(report, parts_on_a_line, [
        ("KAN 1-1, 200 intervals", lambda seed: fixed_kan((1, 1), 200, seed), "adam", most(500)),
        ("KAN 1-1, 200 intervals", lambda seed: fixed_kan((1, 1), 200, seed), "lbfgs", most(100)),
        ("MLP 1-10-10-1", lambda seed: perceptron((1, 10, 10, 1), seed), "lm", most(100)),
        ("MLP 1-10-10-1", lambda seed: perceptron((1, 10, 10, 1), seed), "adam", most(500)),
        ("MLP 1-66-1", lambda seed: perceptron((1, 66, 1), seed), "lm", most(100)),
    ], given.seeds)  # fmt: skip
    report.text(
        "## Five bells in a square\n\nNeighbouring bells share rows and columns, so they share the functions of one variable."
    )
    table(report, parts_in_a_square, [
        ("KAN 2-5-1, 20 intervals", lambda seed: fixed_kan((2, 5, 1), 20, seed), "adam", most(500)),
        ("KAN 2-5-1, 20 intervals", lambda seed: fixed_kan((2, 5, 1), 20, seed), "lbfgs", most(100)),
        ("MLP 2-16-16-1", lambda seed: perceptron((2, 16, 16, 1), seed), "adam", most(500)),
        ("MLP 2-16-16-1", lambda seed: perceptron((2, 16, 16, 1), seed), "lm", most(50)),
    ], given.seeds)  # fmt: skip
    report.close()


if __name__ == "__main__":
    main()
