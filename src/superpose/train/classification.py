"""Classification of images."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import timm
import torch
from timm.data import Mixup
from torch import Tensor
from torch.nn.functional import cross_entropy
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy

from superpose import vision as vision  # registers our models with timm
from superpose.data.views import Batch
from superpose.train.task import Task


class CrossEntropy(Metric):
    """Mean cross entropy of logits, without smoothing."""

    higher_is_better = False
    full_state_update = False
    total: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add a batch."""
        self.total += cross_entropy(preds, target, reduction="sum")
        self.count += len(target)

    def compute(self) -> Tensor:
        """The mean over all that was added."""
        return (self.total / self.count).float()


@dataclass(frozen=True)
class Mixing:
    """How images are blended with each other.

    Args:
        mixup: Parameter of the beta distribution of mixup (Zhang et al. 2018, arXiv 1710.09412); 0 for none.
        cutmix: That of CutMix (Yun et al. 2019, arXiv 1905.04899); 0 for none.
        switch: Probability of CutMix where both may happen.
        probability: Of either.

    Raises:
        ValueError: If a number is out of its range.
    """

    mixup: float = 0.0
    cutmix: float = 0.0
    switch: float = 0.5
    probability: float = 1.0

    def __post_init__(self) -> None:
        if not (self.mixup >= 0 and self.cutmix >= 0):
            raise ValueError(f"mixup and cutmix should be at least 0, got {self.mixup} and {self.cutmix}.")
        if not (0 <= self.switch <= 1 and 0 <= self.probability <= 1):
            raise ValueError(
                f"switch and probability should lie between 0 and 1, got {self.switch} and {self.probability}."
            )


class Classification(Task):
    """A network of timm that names what is in an image, and the cross entropy.

    Args:
        model: Name of a model that timm knows; ours are among them.
        num_classes: Number of classes, at least 2.
        model_arguments: More arguments of `timm.create_model`, such as `drop_path_rate` or `img_size`.
        smoothing: Label smoothing (Szegedy et al. 2016), from 0 to below 1.
        mixing: Mixup and CutMix, which need an even number of images in each batch.

    Raises:
        ValueError: If timm knows no such model, or it takes no such arguments, or a number is out of its range.

    Example:
        >>> task = Classification("test_vit", 10)
        >>> sorted(task.loss(Batch(torch.zeros(2, 3, 160, 160), torch.tensor([3, 4]))))
        ['loss']
    """

    monitor: ClassVar[str] = "top1"
    mode: ClassVar[Literal["min", "max"]] = "max"

    def __init__(
        self,
        model: str,
        num_classes: int,
        *,
        model_arguments: dict[str, Any] | None = None,
        smoothing: float = 0.0,
        mixing: Mixing = Mixing(),
    ) -> None:
        super().__init__()
        if not timm.is_model(model):
            raise ValueError(f"timm knows no model {model!r}; timm.list_models() has all of them.")
        if num_classes < 2:
            raise ValueError(f"num_classes should be at least 2, for there must be a choice; got {num_classes}.")
        if not 0 <= smoothing < 1:
            raise ValueError(f"smoothing should be at least 0 and below 1, got {smoothing}.")
        try:
            self.model = timm.create_model(model, num_classes=num_classes, **(model_arguments or {}))
        except TypeError as error:
            raise ValueError(f"model_arguments {model_arguments} do not suit {model}: {error}.") from error
        self.num_classes, self.smoothing = num_classes, smoothing
        self._mixup = None
        self.takes_pairs = bool(mixing.mixup or mixing.cutmix)
        if self.takes_pairs:
            self._mixup = Mixup(
                mixup_alpha=mixing.mixup,
                cutmix_alpha=mixing.cutmix,
                prob=mixing.probability,
                switch_prob=mixing.switch,
                label_smoothing=smoothing,
                num_classes=num_classes,
            )
        self.metrics = MetricCollection(
            {
                "top1": MulticlassAccuracy(num_classes, average="micro"),
                "top5": MulticlassAccuracy(num_classes, top_k=min(5, num_classes), average="micro"),
                "loss": CrossEntropy(),
            }
        )

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The cross entropy to smoothed or mixed classes."""
        images, labels = batch
        if self._mixup is not None:
            images, soft = self._mixup(images, labels)
            return {"loss": cross_entropy(self.model(images), soft)}
        return {"loss": cross_entropy(self.model(images), labels, label_smoothing=self.smoothing)}

    def judge(self, batch: Batch) -> None:
        """Count what is right."""
        images, labels = batch
        self.metrics.update(self.model(images).float(), labels)
