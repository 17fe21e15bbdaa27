"""The task of finding things: boxes and masks."""

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torchmetrics import MetricCollection
from torchmetrics.detection import MeanAveragePrecision

from superpose.train.task import Task

Images = list[Tensor]
Targets = list[dict[str, Any]]


class AveragePrecision(MeanAveragePrecision):
    """COCO's average precision of boxes, and of masks where there are any, as scalars under COCO's names.

    `box_AP` is the mean over IoU thresholds from 0.5 to 0.95 and over classes, `box_AP50` and `box_AP75` that at one
    threshold, `box_APs`, `box_APm`, `box_APl` that for things of less than 32^2, less than 96^2 and more pixels; the same
    for `mask_`. One is -1 where there is nothing to find. Computed by pycocotools through torchmetrics.

    Args:
        masks: Whether masks are judged as well as boxes.
    """

    NAMES: ClassVar[dict[str, str]] = {
        "map": "AP", "map_50": "AP50", "map_75": "AP75", "map_small": "APs", "map_medium": "APm", "map_large": "APl",
    }  # fmt: skip

    def __init__(self, masks: bool = True) -> None:
        super().__init__(iou_type=("bbox", "segm") if masks else "bbox", backend="pycocotools")
        self.kinds = {"box": "bbox_", "mask": "segm_"} if masks else {"box": ""}

    def compute(self) -> dict[str, Tensor]:
        """The scores, by name."""
        scores = super().compute()
        return {
            f"{kind}_{name}": scores[prefix + theirs]
            for kind, prefix in self.kinds.items()
            for theirs, name in self.NAMES.items()
        }


class Detection(Task):
    """Finding things on images with a detector of torchvision, such as those of `superpose.vision.detection`.

    A batch is a list of images with values in [0, 1] and a list of targets, as `CocoInstances` and `collate_lists` make
    them. The loss is the sum of the detector's own, none of which has a weight. `judge` counts crowds as COCO does.

    Args:
        model: The detector: in training it returns a dict of losses, else one dict of what it found for each image.
        masks: Whether it finds masks, and they are judged.

    Example:
        >>> import timm
        >>> from superpose.vision.detection import retinanet
        >>> vit = timm.create_model("vit_tiny_patch16_224", depth=1, dynamic_img_size=True)
        >>> task = Detection(retinanet(vit, 2, channels=8, min_size=64), masks=False)
        >>> target = {"boxes": torch.tensor([[8.0, 8.0, 40.0, 40.0]]), "labels": torch.tensor([1])}
        >>> sorted(task.loss(([torch.rand(3, 64, 64)], [target])))
        ['bbox_regression', 'classification', 'loss']
    """

    monitor: ClassVar[str] = "box_AP"
    mode: ClassVar[Literal["min", "max"]] = "max"

    def __init__(self, model: nn.Module, *, masks: bool = True) -> None:
        super().__init__()
        self.model = model
        self.num_classes = getattr(model, "num_classes", None)
        self.masks = masks
        self.metrics = MetricCollection([AveragePrecision(masks)])

    def loss(self, batch: tuple[Images, Targets]) -> dict[str, Tensor]:
        """The detector's losses, and their sum."""
        parts = self.model(*batch)
        return {"loss": torch.stack(list(parts.values())).sum(), **parts}

    @torch.no_grad()
    def judge(self, batch: tuple[Images, Targets]) -> None:
        """Compare what the detector finds with what there is."""
        if self.model.training:
            raise ValueError("a detector finds nothing in training mode; call task.eval() before task.judge(batch).")
        images, targets = batch
        self.metrics.update(
            [self._found(found) for found in self.model(images)], [self._wanted(target) for target in targets]
        )

    def _found(self, found: dict[str, Tensor]) -> dict[str, Tensor]:
        judged = {name: found[name] for name in ("boxes", "scores", "labels")}
        # A detector gives the probability of each pixel, with an axis for one channel.
        return judged | {"masks": found["masks"].squeeze(1) >= 0.5} if self.masks else judged

    def _wanted(self, target: dict[str, Any]) -> dict[str, Tensor]:
        names = ["boxes", "labels", *(name for name in ("iscrowd", "area") if name in target)]
        wanted = {name: torch.as_tensor(target[name]) for name in names}
        return wanted | {"masks": torch.as_tensor(target["masks"]).bool()} if self.masks else wanted
