"""Batches of images of different sizes."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

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


def collate_alike(items: Sequence[tuple[Tensor, Tensor]]) -> tuple[Any, Any]:
    """Images and maps of classes in one tensor each, or in lists if they differ in size.

    They are not padded to one size, as what a transformer makes of an image would depend on its neighbours in the batch.

    Args:
        items: Images (3, height, width) and maps (height, width).

    Example:
        >>> images, classes = collate_alike([(torch.zeros(3, 4, 5), torch.zeros(4, 5)) for _ in range(2)])
        >>> images.shape, classes.shape
        (torch.Size([2, 3, 4, 5]), torch.Size([2, 4, 5]))
        >>> images, classes = collate_alike([(torch.zeros(3, h, 5), torch.zeros(h, 5)) for h in (4, 6)])
        >>> [tuple(image.shape) for image in images]
        [(3, 4, 5), (3, 6, 5)]
    """
    images, classes = collate_lists(items)
    alike = all(len({tensor.shape for tensor in tensors}) == 1 for tensors in (images, classes))
    return (torch.stack(images), torch.stack(classes)) if alike else (images, classes)
