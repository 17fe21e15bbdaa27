"""What is learned: a network, its loss, and what judges it."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal

from torch import Tensor, nn
from torchmetrics import MetricCollection


class Task(nn.Module, ABC):
    """A network together with its loss and what judges it; the Trainer does everything else.

    One `Task` is one way to learn: classification, masked autoencoding, detection, segmentation. Its arguments are what
    a configuration file gives under `task`. Randomness may come from the global state: a training step, or a step of
    the validation, has seeded it from its own number.
    """

    model: nn.Module
    """The network: what is optimised. It may have timm's `no_weight_decay` and `group_matcher`."""
    metrics: MetricCollection
    """What `judge` updates; computed, logged and reset after each pass over the validation or test data."""
    monitor: ClassVar[str] = "loss"
    """Name of the metric that chooses the best weights."""
    mode: ClassVar[Literal["min", "max"]] = "min"
    """Whether that metric is better small or large."""
    takes_pairs: bool = False
    """Whether a batch of training data must have an even number of samples."""

    @abstractmethod
    def loss(self, batch: Any) -> dict[str, Tensor]:
        """The parts of the loss on a batch of training data, scalars; `"loss"` is minimised, all are logged."""

    @abstractmethod
    def judge(self, batch: Any) -> None:
        """Update `metrics` with a batch of validation or test data; in evaluation mode, without gradients."""
