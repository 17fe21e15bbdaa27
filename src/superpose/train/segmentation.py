"""The task of telling the class of every pixel."""

from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassJaccardIndex

from superpose.data.batches import IGNORED
from superpose.train.task import Task
from superpose.vision.sliding import slide

Batch = tuple[Float[Tensor, "batch colours height width"], Int[Tensor, "batch rows columns"]]


class Segmentation(Task):
    """Telling the class of every pixel with a network that returns a dict of logits, such as `UPerNet`.

    A batch is normalised images and maps of classes, 255 where a pixel counts for nothing, as `ADE20K` and
    `collate_alike` make them. The loss is the cross-entropy of `"out"`, the mean over the pixels that count, and 0.4
    times that of `"aux"`. `mIoU` is the mean over all classes that occur of intersection over union, both counted over
    the whole data set; `accuracy` is the share of right pixels.

    Args:
        model: Gives logits at the size of its images: `"out"`, and perhaps `"aux"` in training.
        num_classes: Number of classes.
        crop: Side of the crops in which images are judged, `slide`; whole images if None.
        stride: Pixels from one crop to the next; two thirds of `crop` if None.
        auxiliary_weight: What the auxiliary loss counts.

    Example:
        >>> import timm
        >>> from superpose.vision.segmentation import UPerNet
        >>> vit = timm.create_model("vit_tiny_patch16_224", depth=4, dynamic_img_size=True)
        >>> task = Segmentation(UPerNet(vit, 3, channels=8), 3)
        >>> parts = task.loss((torch.rand(2, 3, 40, 40), torch.zeros(2, 40, 40).long()))
        >>> sorted(parts)
        ['aux', 'loss', 'out']
    """

    monitor: ClassVar[str] = "mIoU"
    mode: ClassVar[Literal["min", "max"]] = "max"

    def __init__(
        self,
        model: nn.Module,
        num_classes: int,
        *,
        crop: int | None = None,
        stride: int | None = None,
        auxiliary_weight: float = 0.4,
    ) -> None:
        super().__init__()
        self.model = model
        self.num_classes = num_classes
        self.crop = crop
        self.stride = max(1, 2 * crop // 3) if crop is not None and stride is None else stride
        self.auxiliary_weight = auxiliary_weight
        # torchmetrics.segmentation.MeanIoU averages over images; the mIoU of the field is that of the summed counts.
        self.metrics = MetricCollection(
            {
                "mIoU": MulticlassJaccardIndex(num_classes, ignore_index=IGNORED),
                "accuracy": MulticlassAccuracy(num_classes, average="micro", ignore_index=IGNORED),
            }
        )

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The cross-entropies, and their weighted sum."""
        images, classes = batch
        parts = {name: _cross_entropy(logits, classes) for name, logits in self.model(images).items()}
        auxiliary = self.auxiliary_weight * parts["aux"] if "aux" in parts else 0.0
        return {"loss": parts["out"] + auxiliary, **parts}

    @torch.no_grad()
    def judge(self, batch: Batch | tuple[list[Tensor], list[Tensor]]) -> None:
        """Compare the most likely classes with the true ones, at the size of the map; one by one if sizes differ."""
        images, classes = batch
        if isinstance(images, list) or isinstance(classes, list):
            for image, own in zip(images, classes, strict=True):
                self.judge((image.unsqueeze(0), own.unsqueeze(0)))
            return
        logits = self.predict(images)
        if logits.shape[-2:] != classes.shape[-2:]:
            logits = F.interpolate(logits, size=classes.shape[-2:], mode="bilinear", align_corners=False)
        self.metrics.update(logits.argmax(1), classes)

    def predict(
        self, images: Float[Tensor, "batch colours height width"]
    ) -> Float[Tensor, "batch classes height width"]:
        """Logits of every pixel, crop by crop if there is a size of crops."""
        if self.crop is None or self.stride is None:
            return self.model(images)["out"]
        return slide(lambda x: self.model(x)["out"], images, crop=self.crop, stride=self.stride)


def _cross_entropy(logits: Tensor, classes: Tensor) -> Tensor:
    """The mean over the pixels that count; zero if none does."""
    total = F.cross_entropy(logits, classes, ignore_index=IGNORED, reduction="sum")
    return total / (classes != IGNORED).sum().clamp(min=1)
