"""Batches of images of different sizes."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

IGNORED = 255
"""The class of pixels that count for nothing."""


def collate_lists(items: Iterable[tuple[Tensor, Any]]) -> tuple[list[Tensor], list[Any]]:
    """A list of images and a list of their targets, as detectors take them.

    Example:
        >>> images, targets = collate_lists([(torch.zeros(3, 4, 5), "a"), (torch.zeros(3, 6, 7), "b")])
        >>> [tuple(image.shape) for image in images], targets
        ([(3, 4, 5), (3, 6, 7)], ['a', 'b'])
    """
    images, targets = zip(*items, strict=True)
    return list(images), list(targets)


def collate_padded(items: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Images and maps of classes in one tensor each, padded below and on the right with zeros and ignored pixels.

    Args:
        items: Images (3, height, width) and maps (height, width).

    Raises:
        ValueError: If one of several images is not of its map's size, so that padding would shift the two.

    Example:
        >>> images, classes = collate_padded([(torch.zeros(3, h, 2), torch.zeros(h, 2).long()) for h in (1, 2)])
        >>> images.shape, classes.tolist()
        (torch.Size([2, 3, 2, 2]), [[[0, 0], [255, 255]], [[0, 0], [0, 0]]])
    """
    for image, classes in items:
        if len(items) > 1 and image.shape[-2:] != classes.shape[-2:]:
            raise ValueError(
                f"an image of {tuple(image.shape[-2:])} and its map of {tuple(classes.shape[-2:])} pixels cannot be "
                "padded together with others; take batches of one, or resize both."
            )
    return _stacked([image for image, _ in items], 0), _stacked([classes for _, classes in items], IGNORED)


def _stacked(tensors: list[Tensor], fill: int) -> Tensor:
    height, width = (max(tensor.shape[axis] for tensor in tensors) for axis in (-2, -1))
    return torch.stack([F.pad(x, (0, width - x.shape[-1], 0, height - x.shape[-2]), value=fill) for x in tensors])
