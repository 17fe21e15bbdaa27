"""Discs, squares and triangles on noise: a small problem of detection and segmentation that needs no download."""

from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import tv_tensors
from torchvision.ops import masks_to_boxes

from superpose.data.batches import collate_alike, collate_lists

CLASSES = ("disc", "square", "triangle")


class Shapes(Dataset):
    """Images of one to four shapes of any colour on coloured noise, with their boxes and masks.

    An item is the same whenever it is asked for. It is an image, uint8 (3, size, size), with a target as from
    `CocoInstances`: `boxes`, `labels` (1 disc, 2 square, 3 triangle) and `masks`. A shape may hide up to half of another.

    Args:
        count: Number of images.
        size: Side of an image in pixels.
        seed: Data sets of different seeds have different images.
        semantic: Give the class of every pixel, int64 (size, size) with 0 for the ground, instead of the dict.

    Raises:
        ValueError: If there is no image, or its side is below 16.

    Example:
        >>> image, target = Shapes(10, size=64)[0]
        >>> tuple(image.shape), sorted(target)
        ((3, 64, 64), ['boxes', 'labels', 'masks'])
        >>> Shapes(10, size=64, semantic=True)[0][1].unique()
        tensor([0, 2])
    """

    def __init__(self, count: int, size: int = 96, *, seed: int = 0, semantic: bool = False) -> None:
        if count < 1 or size < 16:
            raise ValueError(f"there must be an image of 16 pixels or more, got {count} of {size}.")
        self.count, self.size, self.seed, self.semantic = count, size, seed, semantic
        self.collate = collate_alike if semantic else collate_lists

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        if not 0 <= index < self.count:
            raise IndexError(f"there are {self.count} images, and no image {index}.")
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + index)
        image = torch.randint(0, 256, (3, self.size, self.size), generator=generator) // 2
        labels: list[int] = []
        areas: list[int] = []
        masks = torch.zeros(0, self.size, self.size, dtype=torch.bool)
        for _ in range(int(torch.randint(1, 5, (), generator=generator))):
            label = int(torch.randint(1, 4, (), generator=generator))
            mask = _shape(label, self.size, generator)
            colour = torch.randint(128, 256, (3, 1, 1), generator=generator)
            if bool(((masks & ~mask).sum((1, 2)) < torch.tensor(areas) / 2).any()):
                continue
            image = torch.where(mask, colour, image)
            masks = torch.cat([masks & ~mask, mask[None]])
            labels.append(label)
            areas.append(int(mask.sum()))
        picture = tv_tensors.Image(image.byte())
        if self.semantic:
            classes = (masks * torch.tensor(labels).view(-1, 1, 1)).sum(0)
            return picture, tv_tensors.Mask(classes)
        boxes = masks_to_boxes(masks) + torch.tensor([0, 0, 1, 1])
        return picture, {
            "boxes": tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=(self.size, self.size)),
            "labels": torch.tensor(labels),
            "masks": tv_tensors.Mask(masks.byte()),
        }


def _shape(label: int, size: int, generator: torch.Generator) -> Bool[Tensor, "size size"]:
    """One shape at a random place, wholly inside."""
    radius = size * (0.1 + 0.1 * float(torch.rand((), generator=generator)))
    y, x = (radius + (size - 2 * radius) * torch.rand(2, generator=generator)).tolist()
    axis = torch.arange(size) + 0.5
    down, right = axis[:, None] - y, axis[None, :] - x
    if label == 1:
        return down**2 + right**2 <= radius**2
    if label == 2:
        return torch.maximum(down.abs(), right.abs()) <= 0.9 * radius
    return (down <= 0.8 * radius) & (down >= 2 * right.abs() - radius)
