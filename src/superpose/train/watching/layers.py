"""A callback that logs what flows through the layers."""

from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

from superpose.layers.group_rational import GroupRational
from superpose.layers.statistics import Recorder, layers_of, pooled
from superpose.train.task import Task


class WatchLayers(Callback):
    """Logs, every so many steps, the activations, gradients and coefficients of each layer.

    For a layer called NAME the columns are `mean/NAME`, `variance/NAME` and `rms/NAME` of what it gives, and
    `gradient/NAME`, the norm of the gradients of all its parameters; for a `GroupRational` also `numerator/NAME` and
    `denominator/NAME`, the norms of its coefficients, `min_q/NAME`, its smallest denominator over the inputs of the step
    (at least 1 in both forms), and `outside/NAME`, the share of these inputs outside the interval that its activation was
    fitted on. `gradient` alone is the norm over all parameters.

    A step is logged under the number of updates before it. All batches that are accumulated for it and all processes
    count. Activations are measured in float32, as autocast makes them; gradients before clipping and without the scale
    of float16. Only steps that are logged have hooks, and there `torch.compile` is set aside, for hooks do not run in
    compiled code; other steps pay nothing.

    Args:
        every_n_steps: Updates from one logged step to the next.
        modules: Which layers, see `superpose.layers.statistics.layers_of`; names begin inside the network of a `Task`, or
            else inside the LightningModule.

    Raises:
        ValueError: If `every_n_steps` is below 1, or, when a fit starts, nothing has one of the names.

    Example:
        >>> from superpose.train.watching import WatchLayers
        >>> callbacks = [WatchLayers(every_n_steps=100, modules=["blocks.*.mlp.act?"])]
    """

    def __init__(self, every_n_steps: int = 500, modules: Sequence[str] | None = None) -> None:
        if every_n_steps < 1:
            raise ValueError(f"every_n_steps must be at least 1, got {every_n_steps}.")
        self.every_n_steps, self.modules = every_n_steps, modules
        self._layers: dict[str, nn.Module] = {}
        self._recorder: Recorder | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find the layers."""
        self._layers = layers_of(network_of(pl_module), self.modules)
        self._recorder = None

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Begin to measure, in a step that is logged."""
        if trainer.global_step % self.every_n_steps:
            return
        self._recorder = self._recorder or Recorder(self._layers)
        self._recorder.attach()

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Log, once all parts of the step have run."""
        if self._recorder is None:
            return
        self._recorder.detach()
        ranks = trainer.strategy.all_gather(self._recorder.measured(pl_module.device))
        rows = pooled(ranks.reshape(-1, len(self._layers), Recorder.FIELDS))
        values: dict[str, float] = {}
        for name, seen in self._recorder.named(rows).items():
            values |= {f"mean/{name}": seen.mean, f"variance/{name}": seen.variance, f"rms/{name}": seen.rms}
            if isinstance(self._layers[name], GroupRational):
                values |= {f"min_q/{name}": seen.smallest_q, f"outside/{name}": seen.outside}
        values |= self._norms(trainer, pl_module, optimizer)
        self._recorder = None
        for logger in trainer.loggers:
            logger.log_metrics(values, step=trainer.global_step)

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """Take the hooks away until the next part of the step."""
        if self._recorder is not None:
            self._recorder.detach()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leave nothing behind."""
        if self._recorder is not None:
            self._recorder.detach()
            self._recorder = None

    def _norms(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> dict[str, float]:
        """Norms of gradients and coefficients, brought from the device at once."""
        norms = {f"gradient/{name}": gradient_norm(layer) for name, layer in self._layers.items()}
        norms["gradient"] = gradient_norm(pl_module)
        norms = {name: norm / scale_left(trainer, optimizer) for name, norm in norms.items()}
        for name, layer in self._layers.items():
            if isinstance(layer, GroupRational):
                norms[f"numerator/{name}"] = _whole(layer.weight_numerator.detach().norm())
                norms[f"denominator/{name}"] = _whole(layer.weight_denominator.detach().norm())
        values = torch.stack([norm.to(pl_module.device, torch.float32) for norm in norms.values()]).tolist()
        return dict(zip(norms, values, strict=True))


def network_of(module: LightningModule) -> nn.Module:
    """The network of the task that a module trains, or else the module itself."""
    task = getattr(module, "task", None)
    return task.model if isinstance(task, Task) else module


def gradient_norm(module: nn.Module, norm_type: float = 2.0) -> Tensor:
    """Norm of the gradients of all parameters; 0 where there are none."""
    return _whole(get_total_norm([p.grad for p in module.parameters() if p.grad is not None], norm_type))


def scale_left(trainer: Trainer, optimizer: Optimizer) -> float:
    """By what the gradients are still multiplied: fused optimizers take the scale of float16 away by themselves."""
    scaler = getattr(trainer.precision_plugin, "scaler", None)
    return scaler.get_scale() if scaler and getattr(optimizer, "_step_supports_amp_scaling", False) else 1.0


def _whole(value: Tensor) -> Tensor:
    """The value itself, where its parts lie on several devices."""
    return value.full_tensor() if hasattr(value, "full_tensor") else value
