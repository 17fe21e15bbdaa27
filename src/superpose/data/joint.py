"""Transforms of images together with their boxes, masks or maps of classes: those of torchvision, put in order."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2

from superpose.data.batches import IGNORED
from superpose.data.chance import seeded
from superpose.data.order import Key

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet."""


def detection_transforms(
    train: bool, size: int | None = None, scales: tuple[float, float] = (0.1, 2.0)
) -> v2.Transform:
    """Images with values in [0, 1] for torchvision's detectors, which normalise and resize themselves; in training, flipped.

    Args:
        train: Whether to change images at random.
        size: In training, the side of square crops of images that were resized by a random factor (large-scale jitter,
            Ghiasi et al. 2021, arXiv 2012.07177, as ViTDet trains); give the detector the same `min_size` and
            `max_size`. Images stay whole if None.
        scales: The range of that factor, where 1 fits the image into the crop.

    Example:
        >>> image = tv_tensors.Image(torch.zeros(3, 40, 60, dtype=torch.uint8))
        >>> boxes = tv_tensors.BoundingBoxes([[0, 0, 60, 40]], format="XYXY", canvas_size=(40, 60))
        >>> x, target = detection_transforms(True, 32)(image, {"boxes": boxes, "labels": torch.tensor([1])})
        >>> x.shape, x.dtype, target["boxes"].canvas_size
        (torch.Size([3, 32, 32]), torch.float32, (32, 32))
    """
    to_unit = v2.ToDtype({tv_tensors.Image: torch.float32, "others": None}, scale=True)
    if not train:
        return to_unit
    steps: list[v2.Transform] = [v2.RandomHorizontalFlip()]
    if size is not None:
        steps += [v2.ScaleJitter((size, size), scales), v2.RandomCrop((size, size), pad_if_needed=True)]
    return v2.Compose([*steps, v2.SanitizeBoundingBoxes(labels_getter=_per_thing), to_unit])


def segmentation_transforms(
    train: bool,
    size: int = 512,
    *,
    scales: tuple[float, float] = (0.5, 2.0),
    mean: tuple[float, float, float] = MEAN,
    std: tuple[float, float, float] = STD,
) -> v2.Transform:
    """Normalised images with their maps of classes: in training, random crops; else whole, with the map untouched.

    In training, the shorter side becomes `size` times a random factor, a crop is taken, flipped, and its colours
    changed. For judging, the shorter side of the image becomes `size`, and the map keeps its own size, at which
    predictions are to be compared with it.

    Args:
        train: Whether to change images at random.
        size: Side of a crop, and length of the shorter side of a whole image.
        scales: Range of the factor.
        mean: Of the values of each colour, which are in [0, 1].
        std: Likewise.

    Example:
        >>> image, classes = tv_tensors.Image(torch.zeros(3, 40, 60).byte()), tv_tensors.Mask(torch.zeros(40, 60).long())
        >>> [tuple(x.shape) for x in segmentation_transforms(True, 32)(image, classes)]
        [(3, 32, 32), (32, 32)]
        >>> [tuple(x.shape) for x in segmentation_transforms(False, 32)(image, classes)]
        [(3, 32, 48), (40, 60)]
    """
    finish = [
        v2.ToDtype({tv_tensors.Image: torch.float32, "others": None}, scale=True),
        v2.Normalize(list(mean), list(std)),
    ]
    if not train:
        return v2.Compose([_ImageAlone(v2.Resize(size)), *finish])
    least, most = round(size * scales[0]), round(size * scales[1])
    return v2.Compose(
        [
            v2.RandomResize(least, most + 1),
            v2.RandomCrop(
                (size, size), pad_if_needed=True, fill={tv_tensors.Image: 0, tv_tensors.Mask: IGNORED, "others": 0}
            ),
            v2.RandomHorizontalFlip(),
            v2.RandomPhotometricDistort(),
            *finish,
        ]
    )


class JointViews(Dataset[tuple[Tensor, Any]]):
    """Some of the items of a data set, each through transforms whose randomness depends on seed, epoch and index alone.

    Args:
        dataset: Items of an image and what belongs to it, by index, and `collate`, which makes a batch of a list of them.
        indices: Which of them.
        transforms: Joint transforms, which may draw from the global random states.
        seed: Chooses all that they leave to chance.
    """

    def __init__(self, dataset: Any, indices: Sequence[int], transforms: Callable[..., Any], seed: int) -> None:
        self.dataset, self.indices, self.transforms, self.seed = dataset, indices, transforms, seed
        self.collate = dataset.collate

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, key: Key) -> tuple[Tensor, Any]:
        epoch, index = key
        item = self.dataset[int(self.indices[index])]
        with seeded(self.seed, epoch, index):
            return self.transforms(*item)


class _ImageAlone(v2.Transform):
    """A transform of the image that leaves the map as it is."""

    def __init__(self, inner: v2.Transform) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, image: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        return self.inner(image), classes


def _per_thing(inputs: Any) -> tuple[Tensor, ...]:
    """What of a target has one row for every box."""
    return tuple(inputs[1][name] for name in ("labels", "iscrowd", "area") if name in inputs[1])
