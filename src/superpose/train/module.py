"""The one LightningModule: it trains any `Task`."""

from functools import partial
from typing import Any

from lightning.pytorch import LightningModule
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from superpose.data.chance import seeded
from superpose.train.optimization import Optimization, lr_factor, make_optimizer
from superpose.train.task import Task

TRAINING, JUDGING = 0, 1
"""What randomness is for."""


class Training(LightningModule):
    """Trains a task.

    Args:
        task: What is learned.
        optimization: How.
        seed: Chooses all that a step leaves to chance.
        log_every: Steps between two logged losses.
    """

    def __init__(self, task: Task, optimization: Optimization, *, seed: int = 0, log_every: int = 50) -> None:
        super().__init__()
        self.task, self.optimization, self.seed, self.log_every = task, optimization, seed, log_every
        self._sums: dict[str, Tensor] = {}

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """The loss; its randomness depends on the seed, the step, and the process alone."""
        with seeded(self.seed, TRAINING, self.trainer.current_epoch, batch_idx, self.global_rank):
            losses = self.task.loss(batch)
        self._log_losses(losses, batch_idx)
        return losses["loss"]

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Judge with the same randomness each time."""
        with seeded(self.seed, JUDGING, batch_idx, self.global_rank):
            self.task.judge(batch)

    test_step = validation_step

    def on_validation_epoch_end(self) -> None:
        """Log what the held-out data say."""
        self._log_metrics("val")

    def on_test_epoch_end(self) -> None:
        """Log what the test data say."""
        self._log_metrics("test")

    def configure_optimizers(self) -> Any:
        """Timm's optimizer, and the learning rate of each step."""
        o = self.optimization
        optimizer = make_optimizer(self.task.model, o)
        for group in optimizer.param_groups:
            group["lr"] *= group.get("lr_scale", 1.0)  # what timm's own schedulers would do
        steps = int(self.trainer.estimated_stepping_batches)
        scheduler = LambdaLR(optimizer, partial(lr_factor, optimization=o, steps=steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _log_losses(self, losses: dict[str, Tensor], batch_idx: int) -> None:
        """Log the mean over the accumulated batches and the processes, under the number of updates so far.

        An epoch ends with its last loss on the screen, as many steps as there may be between two that are written.
        """
        accumulate = self.trainer.accumulate_grad_batches
        for name, value in losses.items():
            self._sums[name] = self._sums.get(name, 0) + value.detach() / accumulate  # type: ignore[assignment]
        if (batch_idx + 1) % accumulate:
            return
        written = self.global_step % self.log_every == 0
        if written or self.trainer.is_last_batch:
            values = {f"train/{k}": self.trainer.strategy.reduce(v, reduce_op="mean") for k, v in self._sums.items()}
            self.log("train/loss", values["train/loss"], prog_bar=True, logger=False)
        if written:
            self._write({**values, "lr": self.trainer.optimizers[0].param_groups[-1]["lr"]})
        self._sums = {}

    def _log_metrics(self, stage: str) -> None:
        values = {f"{stage}/{name}": value for name, value in self.task.metrics.compute().items()}
        self.task.metrics.reset()
        for name, value in values.items():  # for what watches a metric; all processes have the same values
            shown = name == f"{stage}/{self.task.monitor}"
            self.log(name, value, prog_bar=shown, logger=False, sync_dist=True)
        if not self.trainer.sanity_checking:
            self._write(values)

    def _write(self, values: dict[str, Any]) -> None:
        values = {name: float(value) for name, value in values.items()}
        for logger in self.loggers:
            logger.log_metrics({**values, "epoch": self.current_epoch}, step=self.global_step)
