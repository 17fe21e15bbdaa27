"""What the training command costs beside a plain loop, and what it costs to watch a training.

A small Kolmogorov-Arnold transformer learns from images of noise in memory: in a loop of a few lines, by Lightning's
Trainer as `superpose train` sets it up, and with the callbacks that watch. Times are those of one step.

    python benchmarks/training_speed.py
"""

import argparse
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback
from peers.rounds import Company, Times, settle_allocator, threads
from report import Report, options
from torch import nn

from superpose.data.chance import seeded
from superpose.data.views import Batch
from superpose.train.classification import Classification
from superpose.train.config import Machine
from superpose.train.module import Training
from superpose.train.optimization import Optimization
from superpose.train.run import placed, quiet
from superpose.train.watching import StopAtNonFinite, WatchLayers

DEFAULT_EVERY = WatchLayers().every_n_steps
SHAPE = {"img_size": 32, "patch_size": 4, "embed_dim": 192, "depth": 4, "num_heads": 3}
PLAN = Optimization(1, clip=1.0)
LOOP, TRAINER = "a loop of a few lines", "the Trainer"
CALLBACKS: dict[str, Callable[[], list[Callback]]] = {
    TRAINER: list,
    "with StopAtNonFinite": lambda: [StopAtNonFinite("nonfinite")],
    "with WatchLayers, every step": lambda: [WatchLayers(1)],
}


class Clock(Callback):
    """Seconds from the end of each step to the end of the next one."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_train_batch_end(self, *_: object) -> None:
        """Note the time."""
        self.ends.append(time.perf_counter())


def steps_of(ends: Sequence[float]) -> list[float]:
    """The times of all steps but the first two, which set things up."""
    return [after - before for before, after in zip(ends[1:], ends[2:], strict=False)]


def made() -> Classification:
    with seeded(0, 0):
        return Classification("kat_tiny_patch16_224", 10, model_arguments=SHAPE, smoothing=0.1)


def loop(batches: Sequence[Batch]) -> list[float]:
    """Seconds of the steps of a plain loop."""
    task = made().train()
    optimizer = torch.optim.AdamW(task.model.parameters(), PLAN.lr)
    ends = []
    for batch in batches:
        loss = task.loss(batch)["loss"]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(task.model.parameters(), 1.0)
        optimizer.step()
        ends.append(time.perf_counter())
    return steps_of(ends)


def trained(callbacks: Callable[[], list[Callback]], batches: Sequence[Batch]) -> list[float]:
    """Seconds of the steps of the Trainer."""
    clock = Clock()
    with quiet(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*(validation_step|many workers).*")
        trainer = Trainer(
            max_epochs=1, gradient_clip_val=PLAN.clip, logger=False, callbacks=[*callbacks(), clock],
            enable_progress_bar=False, enable_checkpointing=False, **placed(Machine(accelerator="cpu", devices=1)),
        )  # fmt: skip
        loader = torch.utils.data.DataLoader(list(batches), batch_size=None)
        trainer.fit(Training(made(), PLAN, log_every=50), loader)
    return steps_of(clock.ends)


def main(argv: Sequence[str] | None = None) -> None:
    parser = options(__doc__, seeds=1)
    parser.add_argument(
        "--threads", type=int, default=torch.get_num_threads(), help="default: as many as PyTorch takes"
    )
    parser.add_argument("--repeats", type=int, default=8, help="rounds (default 8)")
    given = parser.parse_args(argv)
    size, count = 64, 12
    if given.quick:
        given.repeats, given.threads, size, count = 1, 1, 2, 4
    with threads(given.threads):
        run(given, size, count)


def run(given: argparse.Namespace, size: int, count: int) -> None:
    report = Report("training_speed", "What a training costs beside its arithmetic", given)
    company = Company()
    settle_allocator()
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(count, size, 3, 32, 32, generator=generator)
    batches = [Batch(image, torch.arange(size) % 10) for image in images]
    arms = {LOOP: partial(loop, batches)}
    arms |= {name: partial(trained, callbacks, batches) for name, callbacks in CALLBACKS.items()}
    found: dict[str, list[float]] = {name: [] for name in arms}
    for number in range(given.repeats):
        for name in list(arms)[:: -1 if number % 2 else 1]:
            found[name] += arms[name]()
    report.text(
        f"A KAT of width {SHAPE['embed_dim']}, depth {SHAPE['depth']} and patch {SHAPE['patch_size']} learns {size} images of 32 "
        f"pixels a step, float32. {given.repeats} rounds in turns of {count} steps each, the first two of which do not count: "
        "medians with the quartiles."
    )
    base = median(found[TRAINER])
    report.table(
        ["", "ms for a step", f"to {TRAINER}"],
        [[name, Times(seconds).cell(), median(seconds) / base] for name, seconds in found.items()],
    )
    logged = median(found["with WatchLayers, every step"]) / base - 1
    report.text(
        f"A step that WatchLayers logs takes {logged:.0%} longer; with every {DEFAULT_EVERY}th step logged, its default, that "
        f"is {logged / DEFAULT_EVERY:.3%} of a training."
    )
    report.text(f"Meanwhile {company}.")
    report.close()


if __name__ == "__main__":
    main()
