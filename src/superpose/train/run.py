"""A run: from a configuration to a folder with weights, measurements and all that is needed to repeat it."""

import hashlib
import json
import logging
import platform
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, WeightAveraging
from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console
from torch.optim.swa_utils import get_ema_multi_avg_fn

import superpose
from superpose.storage import write_whole
from superpose.train.checkpoints import LAST, Files, SaveBest, SaveLast
from superpose.train.config import Config, Machine
from superpose.train.module import Training
from superpose.train.progress import Bar, Lines
from superpose.train.sharding import ShardedTraining, sharded
from superpose.train.table import Curves, MetricsTable

CONFIG, ENVIRONMENT, METRICS = "config.yaml", "env.json", "metrics.csv"
PACKAGES = ("torch", "torchvision", "timm", "lightning", "torchmetrics", "numpy")
HARMLESS = (
    "Checkpoint directory .* exists and is not empty",  # it holds the configuration
    "The '.*dataloader' does not have many workers",  # images in memory need none
    r"Detected call of `lr_scheduler.step\(\)` before `optimizer.step\(\)`",  # half precision skips its first steps
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",  # Lightning's own code under a newer PyTorch
)
"""Warnings of Lightning about what is meant to be so."""


def train(config: Config, console: Console, resume: Path | None = None) -> Path:
    """Do what a configuration says, or go on with it.

    What fails before the training begins leaves no folder behind, and the run that it was to go on with as it is.

    Args:
        config: The configuration.
        console: Where to tell how it goes.
        resume: Folder of a run to go on with.

    Returns:
        The folder of the run.

    Raises:
        ValueError: If the configuration cannot work, or there is no checkpoint to go on from.
        KeyboardInterrupt: If it was interrupted; what has been saved is complete.
    """
    folder = new_folder(config) if resume is None else resume
    step = None if resume is None else steps_done(resume)
    with quiet():
        trainer, module = assemble(config, folder, console, step)
    checkpoint = None if resume is None else folder / LAST
    on_interrupt = signal.getsignal(signal.SIGINT)
    try:
        with quiet():
            trainer.fit(module, datamodule=config.data, ckpt_path=checkpoint, weights_only=True)
    except SystemExit:  # what Lightning makes of Ctrl-C
        signal.signal(signal.SIGINT, on_interrupt)
        if not trainer.interrupted:
            raise
        more = f" Go on with:\n  superpose train --resume {folder}" if (folder / LAST).is_file() else ""
        console.print(f"\nInterrupted.{more}", soft_wrap=True)
        raise KeyboardInterrupt from None
    return folder


class Beginning(Callback):
    """Writes down what a run is, once the data are open and the checkpoint is loaded.

    A run that goes on keeps its old configuration until a step has been done with the new one.

    Args:
        folder: Of the run.
        config: The configuration.
        curves: Is told when the training begins.
        console: Is told the folder.
        resumed: Whether the run goes on.
    """

    def __init__(self, folder: Path, config: Config, curves: Curves, console: Console, *, resumed: bool) -> None:
        self._folder, self._config, self._curves, self._console = folder, config, curves, console
        self._resumed, self._is_written = resumed, False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Make the folder: that of the first process, as each has its own clock."""
        self._curves.begin(trainer.strategy.broadcast(self._folder))
        if is_first():
            self._folder.mkdir(parents=True, exist_ok=True)
            self._console.print(f"{'Going on with' if self._resumed else 'Writing to'} {self._folder}", soft_wrap=True)
        if not self._resumed:
            self._write()

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Write after the first step that worked."""
        if not self._is_written:
            self._write()

    def _write(self) -> None:
        self._is_written = True
        if is_first():
            write_whole(self._folder / CONFIG, self._config.text.encode())
            write_whole(self._folder / ENVIRONMENT, json.dumps(environment(), indent=1).encode())


def assemble(config: Config, folder: Path, console: Console, step: int | None = None) -> tuple[Trainer, Training]:
    """The Trainer and what it trains, anew or to go on after so many steps."""
    o, machine, records = config.optimization, config.machine, config.records
    kind = ShardedTraining if machine.strategy == "fsdp2" else Training
    module = kind(config.task, o, seed=config.seed, log_every=records.log_every)
    curves = Curves(folder)
    callbacks: list[Callback] = [
        Beginning(folder, config, curves, console, resumed=step is not None),
        SaveBest(folder, f"val/{config.task.monitor}", config.task.mode),
        SaveLast(folder, records.save_every),
        Bar() if console.is_terminal else Lines(console),
        *config.callbacks,
    ]
    if o.ema is not None:
        if machine.strategy == "fsdp2" or machine.precision == "64-true":
            raise ValueError(
                f"averaged weights (optimization.ema) are neither sharded nor of double precision; change machine.strategy "
                f"{machine.strategy} or machine.precision {machine.precision}."
            )
        callbacks.append(WeightAveraging(multi_avg_fn=get_ema_multi_avg_fn(o.ema)))
    if machine.compile:
        config.task.model.compile()
    trainer = Trainer(
        max_epochs=o.epochs,
        gradient_clip_val=o.clip,
        logger=[MetricsTable(folder / METRICS, step or 0), curves],
        callbacks=callbacks,
        enable_progress_bar=console.is_terminal,
        **placed(machine),
    )
    return trainer, module


def placed(machine: Machine) -> dict[str, Any]:
    """Arguments of the Trainer about where things happen."""
    sharding = machine.strategy == "fsdp2"
    return {
        "accelerator": machine.accelerator,
        "devices": machine.devices,
        "num_nodes": machine.nodes,
        "strategy": sharded(machine.devices, machine.nodes) if sharding else machine.strategy,
        "precision": machine.precision,
        "accumulate_grad_batches": machine.accumulate,
        "plugins": [Files()],
        "enable_model_summary": False,
        "use_distributed_sampler": False,  # the orders of superpose.data divide the data themselves
        "num_sanity_val_steps": 0,
        "log_every_n_steps": 1,  # `Training` logs by itself
    }


def is_first() -> bool:
    """Whether this is the process that writes and talks."""
    return rank_zero_only.rank == 0


def new_folder(config: Config) -> Path:
    """Where a new run goes: named by the time, to the microsecond as many may start at once, and the configuration."""
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%S-%f")
    return (
        Path(config.records.folder)
        / config.records.name
        / f"{now}-{hashlib.sha256(config.text.encode()).hexdigest()[:8]}"
    )


def steps_done(folder: Path) -> int:
    """Steps of the checkpoint of a run.

    Raises:
        ValueError: If there is none.
    """
    path = folder / LAST
    if not path.is_file():
        raise ValueError(f"{path} does not exist, so there is nothing to go on from; start without --resume.")
    return torch.load(path, weights_only=True, mmap=True)["global_step"]


def environment() -> dict[str, Any]:
    """What a run depends on beside its configuration."""
    gpus = [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())]
    return {
        "command": sys.argv,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "gpus": gpus,
        "versions": {"superpose": superpose.__version__, **{name: version(name) for name in PACKAGES}},
    }


@contextmanager
def quiet() -> Iterator[None]:
    """Leave out what Lightning says about things that are meant to be so."""
    logs = [logging.getLogger(f"lightning.{part}") for part in ("pytorch", "fabric")]
    levels = [log.level for log in logs]
    for log in logs:
        log.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            for message in HARMLESS:
                warnings.filterwarnings("ignore", message)
            yield
    finally:
        for log, level in zip(logs, levels, strict=True):
            log.setLevel(level)
