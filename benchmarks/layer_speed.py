"""Speed of our layers beside the perceptron with as many parameters, other libraries, and what the machine can do.

A peer takes part when the folder that holds its package is given: efficient-kan's is `src` in its repository, FastKAN's
the repository itself, pykan's the `site-packages` it is installed in. Whatever they need besides comes from here.

    python benchmarks/layer_speed.py --efficient-kan FOLDER --fast-kan FOLDER --pykan FOLDER --data FOLDER
    python benchmarks/layer_speed.py --only flat limit --threads 1
"""

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from peers import fits, machine
from peers.columns import OURS, Column, Row, agreements, columns, identity, loaded, network, obstacle, peer_agreement
from peers.rounds import Company, Times, settle_allocator, threads
from peers.run import Run, verdict
from report import Report, options, shown

from superpose import info, which

ROWS = (
    Row((2, 5, 1), 5, 1000, {"MLP": (1.1, 1.0), "efficient-kan": (0.18, 0.08), "pykan": (0.12, 0.06)}),
    Row((4, 10, 10, 1), 20, 1000, {"MLP": (0.4, 0.25), "efficient-kan": (0.1, 0.05), "pykan": (0.05, 0.03)}),
    Row((784, 64, 10), 5, 1024, {"MLP": (0.7, 0.5), "efficient-kan": (0.08, 0.04), "pykan": (0.02, 0.01)}),
    Row((100, 1000, 100), 5, 1024, {"MLP": (0.45, 0.35), "efficient-kan": (0.15, 0.11), "pykan": (0.02, 0.015)}),
    Row((100, 1000, 100), 20, 1024, {"MLP": (0.18, 0.13)}),
    Row((100, 100, 100), 100, 1024, {"MLP": (0.06, 0.04), "efficient-kan": (0.008, 0.004), "pykan": (0.006, 0.003)}),
)
PLAIN_TARGET = 0.5
"""Ratio of the plain implementation to efficient-kan, for every row."""

FLAT_TARGET = 1.15
LEARNING_RATE = 1e-6


def speed(run: Run) -> None:
    """Training step and forward pass of every row, and the ratios that were promised."""
    measured: list[tuple[Row, dict[str, Times], dict[str, Times]]] = []
    checks: list[list[object]] = []
    names = [*OURS, "MLP", *run.modules]
    for row in map(run.small, ROWS[: 2 if run.quick else None]):
        try:
            present, note = _checked(run, row)
            checks.append(note)
            x, y = row.data()
            steps = run.times({column.name: column.step(x, y) for column in present})
            forwards = run.times({column.name: column.forward(x) for column in present})
        except Exception as error:  # noqa: BLE001 - the other rows are worth having
            run.failure(row.name, error)
            continue
        measured.append((row, steps, forwards))
        _progress(row, steps, forwards)
    report = run.report
    report.text("### What runs, and whether it is right")
    report.text(
        "Errors are those of outputs and all gradients of the very networks and data that are timed, against the "
        "reference in float64, relative to the largest entry. For the peers: the largest relative difference of the "
        "first layer in float64 with our coefficients and knots in both."
    )
    report.table(["widths, G", "parameters", "MLP", "superpose runs", "errors", "peers", "hidden values"], checks)
    for title, index in (("Training step", 1), ("Forward pass", 2)):
        report.text(f"### {title}, ms")
        report.table(
            ["widths, G", *names],
            [
                [found[0].name, *(found[index][n].cell() if n in found[index] else "-" for n in names)]
                for found in measured
            ],
        )
    _ratios(run, measured)


def _checked(run: Run, row: Row) -> tuple[list[Column], list[object]]:
    """The columns that run, all of them found right, and a line about them."""
    x, _ = row.data()
    ours, errors, peers = network(row), [], []
    every = columns(row, run.modules)
    obstacles = {column.name: obstacle(column, x) for column in every if column.name in OURS}
    errors += [f"{name} does not run: {why}" for name, why in obstacles.items() if why is not None]
    present = [column for column in every if obstacles.get(column.name) is None]
    found = agreements(ours, [column for column in present if column.name in OURS], x)
    for name, (double, single) in found.items():
        if not (double < 1e-10 and single <= max(1e-6, 10 * found["reference"][1])):
            raise AssertionError(f"{name} is wrong by {double:.1e} in float64, {single:.1e} in float32")
        errors.append(f"{name} {double:.0e}, in float32 {single:.0e}")
    for column in present:
        difference = peer_agreement(ours, column.name, column.model, x)
        if difference is not None:
            if not difference < 1e-10:
                raise AssertionError(f"{column.name} differs by {difference:.1e} on the first layer")
            peers.append(f"{column.name} {difference:.0e}")
    with torch.no_grad():
        runs = {decision.implementation: None for decision in which(ours, x)}
        inner = ours.layers[0](x)
    runs |= {decision.implementation: None for decision in which(ours, x)}
    hidden = f"{float((inner.abs() <= 1).float().mean()):.0%} inside the grid, deviation {float(inner.std()):.2f}"
    mlp = next(column for column in present if column.name == "MLP")
    size = f"{row.widths[0]}-{row.hidden}-{row.widths[-1]}, {sum(p.numel() for p in mlp.parameters)}"
    checks = "; ".join(errors), "; ".join(peers) or "-", hidden
    return present, [row.name, ours.num_parameters, size, ", ".join(runs), *checks]


def _progress(row: Row, steps: Mapping[str, Times], forwards: Mapping[str, Times]) -> None:
    line = ", ".join(f"{name} {steps[name].median * 1e3:.3g} | {forwards[name].median * 1e3:.3g}" for name in steps)
    print(f"... {row.name}: {line}", flush=True)


def _ratios(run: Run, measured: Sequence[tuple[Row, Mapping[str, Times], Mapping[str, Times]]]) -> None:
    """Ours over the others, beside the targets."""
    rivals = ["MLP", *run.modules]
    met, promised, lines = 0, 0, []
    for row, steps, forwards in measured:
        pairs = [("superpose", rival, row.targets.get(rival)) for rival in rivals]
        pairs.append(("plain", "efficient-kan", (PLAIN_TARGET, PLAIN_TARGET)))
        for part, times in enumerate((steps, forwards)):
            cells = []
            for ours, rival, targets in pairs:
                if ours not in times or rival not in times:
                    cells.append("-")
                    continue
                ratio = times[ours].median / times[rival].median
                cells.append(shown(ratio) if targets is None else verdict(ratio, targets[part]))
                promised += targets is not None
                met += targets is not None and ratio <= targets[part]
            lines.append([row.name, ("step", "forward")[part], *cells])
    run.report.text("### Ratios of medians")
    run.report.table(["widths, G", "part", *(f"to {rival}" for rival in rivals), "plain to efficient-kan"], lines)
    run.report.text(f"{met} of the {promised} targets that could be tried are met.")


def optimiser(run: Run) -> None:
    """The step that reads all gradients and writes all parameters, as training does."""
    names = ["superpose", "MLP", *(name for name in run.modules if name == "efficient-kan")]
    lines = []
    for row in map(run.small, ROWS[: 2 if run.quick else None]):
        x, y = row.data()
        present = columns(row, run.modules, most=names.__contains__)
        times = run.times(
            {c.name: c.step(x, y, torch.optim.Adam(c.parameters, LEARNING_RATE, fused=True)) for c in present}
        )
        ratio = times["superpose"].median / times["MLP"].median
        lines.append([row.name, *(times[name].cell() for name in names), ratio])
    run.report.text("Zero gradients, forward, loss, backward and `torch.optim.Adam(fused=True)`, ms.")
    run.report.table(["widths, G", *names, "superpose to MLP"], lines)


def calls(run: Run) -> None:
    """What a call costs when there is next to nothing to compute."""
    row = replace(ROWS[0], batch=1)
    x, y = row.data()
    present = [c for c in columns(row, run.modules) if c.name not in OURS or obstacle(c, x) is None]
    forwards = run.times({column.name: column.forward(x) for column in present})
    steps = run.times({column.name: column.step(x, y) for column in present})
    run.report.text(f"{row.name} with a batch of one, microseconds.")
    run.report.table(
        ["", *forwards],
        [[name, *(t.cell(1e6) for t in times.values())] for name, times in (("forward", forwards), ("step", steps))],
    )


def flat(run: Run) -> None:
    """The same widths on finer and finer grids."""
    sizes = (5, 20) if run.quick else (5, 10, 20, 50, 100, 200)
    rows = {size: run.small(replace(ROWS[-1], intervals=size)) for size in sizes}
    x, y = rows[sizes[0]].data()
    ours = {size: Column(str(size), network(row)) for size, row in rows.items()}
    steps = run.times({column.name: column.step(x, y) for column in ours.values()})
    forwards = run.times({column.name: column.forward(x) for column in ours.values()})
    lines = []
    for title, times in (("step", steps), ("forward", forwards)):
        lines.append([f"{title}, ms", *(t.cell() for t in times.values())])
        lines.append([f"{title}, to G = 5", *(t.median / times["5"].median for t in times.values())])
    run.report.text("100-100-100, batch 1024, superpose.")
    run.report.table(["G", *map(str, sizes)], lines)
    last = str(sizes[-1])
    run.report.text(
        f"Step at G = {last} over that at G = 5: {verdict(steps[last].median / steps['5'].median, FLAT_TARGET)}."
    )


def data(run: Run) -> None:
    """Whether our speed depends on where the hidden values lie, which is near zero in a fresh network."""
    lines = []
    for row in map(run.small, (ROWS[3], ROWS[5])):
        x, y = row.data()
        spread = {"as initialised": None, "deviation 0.6": 0.6, "deviation 5": 5.0}
        present = {name: Column(name, network(row)) for name in spread}
        with torch.no_grad():
            for name, column in present.items():
                layer = column.model.layers[0]
                scale = 1.0 if spread[name] is None else spread[name] / float(layer(x).std())
                for p in layer.parameters():
                    p.mul_(scale)
        steps = run.times({name: column.step(x, y) for name, column in present.items()})
        forwards = run.times({name: column.forward(x) for name, column in present.items()})
        lines.append([f"{row.name}, step", *(t.cell() for t in steps.values())])
        lines.append([f"{row.name}, forward", *(t.cell() for t in forwards.values())])
    run.report.text(
        "superpose, ms; the first layer is scaled so that its outputs, the second layer's inputs, spread so far."
    )
    run.report.table(["widths, G", *spread], lines)


SECTIONS: dict[str, tuple[str, Callable[[Run], None]]] = {
    "speed": ("Networks beside each other", speed),
    "optimiser": ("With an optimiser", optimiser),
    "flat": ("Flat in the number of intervals", flat),
    "data": ("Where the hidden values lie", data),
    "limit": ("Against the machine's matrix product", machine.limit),
    "memory": ("Memory", machine.memory),
    "fits": ("Fits", fits.fits),
    "cold": ("Cold start", fits.cold),
    "calls": ("What a call costs", calls),
}


def main(argv: Sequence[str] | None = None) -> None:
    parser = options(__doc__, seeds=1)
    parser.add_argument(
        "--threads", type=int, default=torch.get_num_threads(), help="default: as many as PyTorch takes"
    )
    parser.add_argument("--repeats", type=int, default=30, help="rounds (default 30)")
    parser.add_argument(
        "--processor-time", action="store_true", help="for a busy machine: processor time, of one thread (not of fits)"
    )
    parser.add_argument("--only", nargs="+", choices=SECTIONS, metavar="SECTION", help=f"some of {', '.join(SECTIONS)}")
    parser.add_argument("--data", default=os.environ.get("SUPERPOSE_DATA"), help="folder of tables with 537_houses")
    for name, option in (("efficient-kan", "efficient-kan"), ("FastKAN", "fast-kan"), ("pykan", "pykan")):
        parser.add_argument(f"--{option}", dest=name, type=Path, metavar="FOLDER", help=f"folder with {name}'s package")
    given = parser.parse_args(argv)
    if given.processor_time:
        given.threads = 1
    if given.quick:  # one thread, for other tests may run beside this one
        given.repeats, given.data, given.threads = 2, None, 1
    with threads(given.threads):
        failed = run_sections(given)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def run_sections(given: argparse.Namespace) -> list[str]:
    """Write the report; what failed is in it, and comes back."""
    report = Report("layer_speed", "Speed of the layers", given)
    if given.only and given.out is None:
        report.out = None  # a part does not take the place of the whole
    paths = {name: vars(given)[name] for name in ("efficient-kan", "FastKAN", "pykan") if vars(given)[name] is not None}
    modules = {name: loaded(name, path) for name, path in paths.items()}
    run = Run(report, given, modules, paths)
    settle_allocator()
    _explain(run)
    for name in given.only or SECTIONS:
        title, section = SECTIONS[name]
        report.text(f"## {title}")
        company = Company()
        try:
            section(run)
        except Exception as error:  # noqa: BLE001 - the other sections are worth having
            run.failure(name, error)
        report.text(f"Meanwhile {company}.")
    report.close()
    return run.failed


def _explain(run: Run) -> None:
    """What is measured, and how."""
    peers = ", ".join(identity(name, module, run.paths[name]) for name, module in run.modules.items())
    run.report.text(
        f"superpose has {info().implementations['bspline_linear']}. Beside it: {peers or 'no other library'}. PyTorch "
        f"computes with {torch.backends.cpu.get_cpu_capability()}. k = 3, float32, grids on [-1, 1], batch 1024 (1000 for "
        "the first two rows), x even over [-1, 1] and without gradient. A training step lets gradients go, runs forward, "
        "takes the mean square against random targets and runs backward, without an optimiser; the forward pass is "
        "without a graph. superpose is what is chosen by itself, plain and reference the same network by those "
        "implementations, so that one of them may be the same thing timed twice; the MLP has one hidden layer, SiLU, and "
        "PyTorch's own modules, as many parameters as ours come nearest. efficient-kan goes without its factor on each "
        "spline, which makes it faster; FastKAN has G + 3 functions; pykan has `speed()`, so no symbolic branch and "
        "nothing saved."
    )
    run.report.text(
        f"All columns of a table are timed in one process, in turns: {run.repeats} rounds after warm-up, forwards and backwards "
        "through the columns; a turn is a call that does not count and then 5 ms of calls or one call. Calls above 0.25 s sit out "
        "rounds, but have five turns or more. **Cells are medians over the turns with the quartiles in brackets**, whatever the "
        "header says of seeds."
        + (" **Processor time of one thread, since others used the machine.**" if run.given.processor_time else "")
    )


if __name__ == "__main__":
    main()
