"""Layers beside what the machine can do: its matrix product, and the memory of a perceptron."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from peers.columns import OURS, Column, Row, columns, network, obstacle
from peers.fresh import fresh
from peers.rounds import Call, brief, threads
from peers.run import Run, verdict

from superpose import which

LARGE = Row((100, 1000, 100), 5, 1024)
IMAGES = Row((784, 64, 10), 5, 8192)

LIMIT_TARGETS = {"forward": 0.85, "backward": 0.75}
MEMORY_TARGET = 1.2


def limit(run: Run) -> None:
    """Useful multiply-adds in a second beside those of a matrix product."""
    run.report.text(
        "Useful are k + 2 multiply-adds per edge and sample (k + 1 coefficients and the base weight), two operations each: "
        "once forward; backward once for the gradient of the coefficients of both layers and once for the gradient "
        "of the second layer's input, the first layer's input needing none unless it is said. Finding the interval, "
        "evaluating B-splines and silu, and changing units count as nothing. The matrix product is `torch.mm` into "
        "memory that is there; 'the layers as products' are the two with basis and base values as one wide matrix."
    )
    for count in sorted({1, torch.get_num_threads()}):
        with threads(count):
            _limit(run, count)


def _limit(run: Run, count: int) -> None:
    row = run.small(LARGE)
    x, cotangent = row.data()
    held = x.clone().requires_grad_()
    column = Column("superpose", network(row))
    products = {f"{n} x {n} x {n}": (n, n, n) for n in ((64, 128) if run.quick else (1024, 2048, 4096))}
    num = row.intervals + 4
    layers = [(row.batch, i * num, o) for i, o in zip(row.widths, row.widths[1:], strict=False)]
    once = 2 * 5 * row.batch
    work = {
        "forward": once * sum(row.edges),
        "backward": once * (sum(row.edges) + row.edges[1]),
        "backward with input gradient": once * 2 * sum(row.edges),
    }
    parts = {
        "forward": column.forward(x),
        "backward": column.backward(x, cotangent),
        "backward with input gradient": column.backward(held, cotangent),
    }
    tried = {name: product([sizes]) for name, sizes in products.items()} | {"the layers as products": product(layers)}
    times = run.times(tried | parts)
    work |= {name: 2 * m * k * n for name, (m, k, n) in products.items()}
    work["the layers as products"] = sum(2 * m * k * n for m, k, n in layers)
    rate = {name: work[name] / times[name].median / 1e9 for name in times}
    best, own = max(rate[name] for name in products), rate["the layers as products"]
    run.report.text(
        f"{row.name}, batch {row.batch}, float32, {count} thread{'s' * (count > 1)}, {which(column.model, x)[0].implementation}."
    )
    run.report.table(
        ["", "ms", "useful Gflop", "Gflop/s", "of the best square product", "of the layers as products", "target"],
        [
            [
                name, times[name].cell(), work[name] / 1e9, rate[name], f"{rate[name] / best:.0%}", f"{rate[name] / own:.0%}",
                f"{LIMIT_TARGETS[name]:.0%}: {'met' if rate[name] / best >= LIMIT_TARGETS[name] else '**missed**'}"
                if name in LIMIT_TARGETS else "",
            ]
            for name in times
        ],
    )  # fmt: skip


def product(shapes: Sequence[tuple[int, int, int]]) -> Call:
    """Matrix products of these sizes, one after the other, into memory that is there."""
    generator = torch.Generator().manual_seed(0)
    held = [
        (torch.randn(m, k, generator=generator), torch.randn(k, n, generator=generator), torch.empty(m, n))
        for m, k, n in shapes
    ]

    def run() -> None:
        for a, b, out in held:
            torch.mm(a, b, out=out)

    return Call(run)


def memory(run: Run) -> None:
    """Growth of the resident set in a training step."""
    row = replace(IMAGES, batch=256) if run.quick else IMAGES
    x, _ = row.data()
    ours = Column("superpose", network(row))
    names = ["superpose", "MLP"]
    if not run.quick:
        names += [c.name for c in columns(row, {}) if c.name in OURS[1:] and obstacle(c, x) is None]
        names += [name for name in run.modules if name == "efficient-kan"]
    growth = {}
    for name in names:
        job = {"what": "memory", "column": name, "path": str(run.paths[name]) if name in run.paths else None}
        job |= {
            "widths": row.widths,
            "intervals": row.intervals,
            "batch": row.batch,
            "threads": torch.get_num_threads(),
        }
        growth[name] = sorted(fresh(job)["growth"] for _ in range(1 if run.quick else 3))
    middle = {name: values[len(values) // 2] for name, values in growth.items()}
    run.report.text(
        f"{row.name}, batch {row.batch}, {which(ours.model, x[:64])[0].implementation}. Peak of the resident set during "
        "one step less what it was before, each in fresh processes, after a step on 64 samples and with gradients let go."
    )
    run.report.table(
        ["", *names],
        [
            ["MB, median", *map(brief, middle.values())],
            ["MB, lowest to highest", *(f"{brief(v[0])} to {brief(v[-1])}" for v in growth.values())],
            ["to MLP", *(value / middle["MLP"] for value in middle.values())],
        ],
    )
    run.report.text(f"To the MLP: {verdict(middle['superpose'] / middle['MLP'], MEMORY_TARGET)}.")
