"""The one LightningModule: it trains any `Task`."""

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

from lightning.pytorch import LightningModule
from timm.optim import create_optimizer_v2, param_groups_layer_decay, param_groups_weight_decay
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from superpose.data.chance import seeded
from superpose.train.task import Task

COEFFICIENTS = ("*weight_numerator", "*weight_denominator")
"""Names of the coefficients of rational functions; they have two dimensions, so timm's rules would let them decay."""
TRAINING, JUDGING = 0, 1
"""What randomness is for."""


@dataclass(frozen=True)
class Optimization:
    """How the weights are learned.

    Args:
        epochs: Passes over the training data.
        optimizer: timm's name of it.
        lr: Highest learning rate.
        weight_decay: Of everything but biases, normalisation, and what the network exempts.
        arguments: More arguments of the optimizer, such as `betas` or `eps`.
        layer_decay: Factor of the learning rate from each layer to the one before it; None for equal rates.
        decay_coefficients: Whether the coefficients of rational functions decay as well, as in the published runs.
        warmup_epochs: In these the learning rate rises in a line; afterwards it falls as half a cosine.
        warmup_lr: Learning rate of the first step.
        min_lr: Learning rate at the end.
        clip: Largest norm of the gradient; None for no limit.
        ema: Decay per step of the moving average of the weights, which is then what is judged and kept; None for none.
    """

    epochs: int
    optimizer: str = "adamw"
    lr: float = 1e-3
    weight_decay: float = 0.05
    arguments: dict[str, Any] | None = None
    layer_decay: float | None = None
    decay_coefficients: bool = True
    warmup_epochs: float = 0.0
    warmup_lr: float = 0.0
    min_lr: float = 0.0
    clip: float | None = None
    ema: float | None = None

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.lr <= 0 or not 0 <= self.warmup_epochs < self.epochs:
            raise ValueError(
                f"epochs and lr should be above 0 and warmup_epochs below epochs; got epochs {self.epochs}, lr {self.lr}, "
                f"warmup_epochs {self.warmup_epochs}."
            )


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
        optimizer = create_optimizer_v2(
            parameter_groups(self.task.model, o),  # type: ignore[arg-type]
            o.optimizer,
            o.lr,
            o.weight_decay,
            **(o.arguments or {}),
        )
        for group in optimizer.param_groups:
            group["lr"] *= group.get("lr_scale", 1.0)  # what timm's own schedulers would do
        steps = int(self.trainer.estimated_stepping_batches)
        scheduler = LambdaLR(optimizer, partial(lr_factor, optimization=o, steps=steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _log_losses(self, losses: dict[str, Tensor], batch_idx: int) -> None:
        """Log the mean over the accumulated batches and the processes, under the number of updates so far."""
        accumulate = self.trainer.accumulate_grad_batches
        for name, value in losses.items():
            self._sums[name] = self._sums.get(name, 0) + value.detach() / accumulate  # type: ignore[assignment]
        if (batch_idx + 1) % accumulate:
            return
        if self.global_step % self.log_every == 0:
            values = {f"train/{k}": self.trainer.strategy.reduce(v, reduce_op="mean") for k, v in self._sums.items()}
            self._write({**values, "lr": self.trainer.optimizers[0].param_groups[-1]["lr"]})
            self.log("train/loss", values["train/loss"], prog_bar=True, logger=False)
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


def parameter_groups(network: nn.Module, optimization: Optimization) -> list[dict[str, Any]]:
    """Parameters with and without decay, and by layers if their rates differ."""
    exempt = set(getattr(network, "no_weight_decay", set)())
    if not optimization.decay_coefficients:
        exempt |= set(COEFFICIENTS)
    if optimization.layer_decay is None:
        return param_groups_weight_decay(network, optimization.weight_decay, no_weight_decay_list=exempt)
    return param_groups_layer_decay(network, optimization.weight_decay, exempt, layer_decay=optimization.layer_decay)


def lr_factor(step: int, optimization: Optimization, steps: int) -> float:
    """Learning rate of a step as a share of the highest."""
    warmup = round(steps * optimization.warmup_epochs / optimization.epochs)
    if step < warmup:
        first = optimization.warmup_lr / optimization.lr
        return first + (1 - first) * step / warmup
    last = optimization.min_lr / optimization.lr
    return last + (1 - last) * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup))) / 2
