"""Predictions for images larger than those a network is trained on."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor


def slide(
    predict: Callable[[Tensor], Tensor],
    images: Float[Tensor, "batch colours height width"],
    *,
    crop: int,
    stride: int,
) -> Float[Tensor, "batch classes height width"]:
    """Predictions for crops of an image, and their mean where crops overlap.

    Crops start every `stride` pixels; the last of a row or column is moved back into the image. An image smaller than a
    crop is one crop. ADE20K is usually judged on crops of 512 with a stride of 341.

    Args:
        predict: Gives values for every pixel of a batch of crops.
        images: The images, of one size.
        crop: Side of a crop in pixels.
        stride: Pixels from one crop to the next, at most `crop`.

    Raises:
        ValueError: If the stride is not from 1 to `crop`.

    Example:
        >>> slide(lambda x: x[:, :1] + x.mean(), torch.ones(1, 3, 5, 8), crop=4, stride=3).unique()
        tensor([2.])
    """
    if not 1 <= stride <= crop:
        raise ValueError(f"stride must be from 1 to crop, which is {crop}, got {stride}: pixels would be left out.")
    height, width = images.shape[-2:]
    total, count = None, images.new_zeros(height, width)
    for top in _starts(height, crop, stride):
        for left in _starts(width, crop, stride):
            window = (..., slice(top, top + crop), slice(left, left + crop))
            values = predict(images[window])
            if total is None:
                total = values.new_zeros(*values.shape[:2], height, width)
            total[window] += values
            count[window] += 1
    assert total is not None
    return total / torch.as_tensor(count, dtype=total.dtype)


def _starts(length: int, crop: int, stride: int) -> list[int]:
    last = max(length - crop, 0)
    return [*range(0, last, stride), last]
