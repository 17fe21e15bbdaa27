"""What somebody who waits wants to know: how good, how fast, how long still."""

import time
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, RichProgressBar
from rich.console import Console


class Speed:
    """Images per second since the start of an epoch, and the time that the rest of the run will take."""

    def __init__(self, trainer: Trainer) -> None:
        self._trainer, self._start, self._first = trainer, time.perf_counter(), trainer.fit_loop.total_batch_idx

    def words(self) -> dict[str, str]:
        """Both, for people."""
        batches = self._trainer.fit_loop.total_batch_idx - self._first
        seconds = time.perf_counter() - self._start
        if batches < 1:
            return {}
        images = batches * self._trainer.datamodule.batch_size / self._trainer.accumulate_grad_batches  # type: ignore[attr-defined]
        left = int(self._trainer.num_training_batches) * int(self._trainer.max_epochs or 0) - batches - self._first - 1
        return {"images/s": f"{images / seconds:,.0f}", "left": duration(left * seconds / batches)}


class Bar(RichProgressBar):
    """A bar with images per second and the time left in the whole run."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        super().on_train_start(trainer, pl_module)
        self._speed = Speed(trainer)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock anew."""
        super().on_train_epoch_start(trainer, pl_module)
        self._speed = Speed(trainer)

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """What stands to the right of the bar."""
        values = {k: v for k, v in super().get_metrics(trainer, pl_module).items() if k != "v_num"}
        return {**values, **self._speed.words()} if trainer.training else values


class Lines(Callback):
    """A line after each epoch."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock; a run that goes on does so in the middle of an epoch."""
        self._speed = Speed(trainer)
        self._words: dict[str, str] = {}

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock anew."""
        self._speed = Speed(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock."""
        if not trainer.sanity_checking:
            self._words = self._speed.words()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say how it went."""
        if not trainer.is_global_zero:
            return
        words = {**{k: f"{v:.4g}" for k, v in trainer.progress_bar_metrics.items()}, **self._words}
        parts = [f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}", *(f"{k} {v}" for k, v in words.items())]
        self._console.print("  ".join(parts), soft_wrap=True)


def duration(seconds: float) -> str:
    """A time in hours, minutes and seconds."""
    minutes, rest = divmod(round(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
