"""Images as tensors: each through a transform in worker processes, or small ones all together in memory."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from superpose.data.chance import seeded, uniforms
from superpose.data.images import Images
from superpose.data.order import Key

DRAWS = 3
"""Random numbers an image takes: whether it is flipped, and where it is cropped."""
STRONGEST = 30
"""Largest magnitude of RandAugment."""


class Batch(NamedTuple):
    """Images and the numbers of their classes."""

    images: Float[Tensor, "batch channels height width"]
    labels: Int[Tensor, " batch"]


class Views(Dataset[tuple[Tensor, int]]):
    """Some of the images, each through a transform whose randomness depends on seed, epoch and index alone.

    Args:
        images: Where they come from.
        indices: Which of them.
        transform: Makes a tensor of an image; may draw from the global random states.
        seed: Chooses all that the transform leaves to chance.
        mode: Pillow's mode to convert images to, `RGB` or `L`.
    """

    def __init__(
        self,
        images: Images,
        indices: Sequence[int] | np.ndarray,
        transform: Callable[[Image.Image], Tensor],
        seed: int,
        mode: str = "RGB",
    ) -> None:
        self.images, self.indices, self.transform, self.seed, self.mode = images, indices, transform, seed, mode

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, key: Key) -> tuple[Tensor, int]:
        epoch, index = key
        image, label = self.images[int(self.indices[index])]
        with seeded(self.seed, epoch, index):
            return self.transform(image.convert(self.mode)), label

    @staticmethod
    def collate(samples: list[tuple[Tensor, int]]) -> Batch:
        """One batch of them."""
        return Batch(torch.stack([image for image, _ in samples]), torch.tensor([label for _, label in samples]))


@dataclass(frozen=True)
class Augmentation:
    """What happens to small images while they are learned from, whole batches at a time.

    Args:
        flip: Whether half of the images are mirrored.
        crop: Pixels of padding by zeros, from which a piece of the original size is cut.
        rand_augment: Magnitude of RandAugment (Cubuk et al. 2020, arXiv 1909.13719) from 0 to 30, with the same two
            operations for all images of a batch; None leaves it out.

    Raises:
        ValueError: If a number is out of its range.
    """

    flip: bool = True
    crop: int = 4
    rand_augment: int | None = None

    def __post_init__(self) -> None:
        if self.crop < 0:
            raise ValueError(f"crop should be a number of pixels from 0, got {self.crop}.")
        if self.rand_augment is not None and not 0 <= self.rand_augment <= STRONGEST:
            raise ValueError(
                f"rand_augment should be from 0 to {STRONGEST}, or null to leave it out; got {self.rand_augment}."
            )


class InMemory(Dataset[Batch]):
    """Small images that stay on a device as bytes; a whole batch is augmented and normalised there at once.

    Args:
        images: All images, on any device.
        labels: Their classes, on the same device.
        mean: Mean of each channel, of values from 0 to 1.
        std: Standard deviation of each channel.
        augmentation: What happens to them; nothing if None.
        seed: Chooses all that is left to chance. Flips and crops depend on seed, epoch and index alone.
    """

    def __init__(
        self,
        images: UInt8[Tensor, "size channels height width"],
        labels: Int[Tensor, " size"],
        mean: Sequence[float],
        std: Sequence[float],
        augmentation: Augmentation | None = None,
        seed: int = 0,
    ) -> None:
        self.images, self.labels, self.augmentation, self.seed = images, labels, augmentation, seed
        self._mean, self._std = (torch.tensor(v, device=images.device).view(-1, 1, 1) * 255 for v in (mean, std))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitems__(self, keys: list[Key]) -> Batch:
        indices = np.array([index for _, index in keys])
        chosen = torch.from_numpy(indices).to(self.images.device)
        images = self.images[chosen]
        if self.augmentation is not None:
            images = self._augmented(images, indices, keys[0][0], self.augmentation)
        return Batch((images - self._mean) / self._std, self.labels[chosen])

    @staticmethod
    def collate(batch: Batch) -> Batch:
        """The batch itself; it comes as one."""
        return batch

    def _augmented(self, images: Tensor, indices: np.ndarray, epoch: int, augmentation: Augmentation) -> Tensor:
        draws = torch.from_numpy(uniforms(indices, DRAWS, self.seed, epoch)).to(images.device)
        if augmentation.flip:
            images = torch.where((draws[:, 0] < 0.5).view(-1, 1, 1, 1), images.flip(3), images)
        if augmentation.crop:
            images = cropped(images, (draws[:, 1:] * (2 * augmentation.crop + 1)).long(), augmentation.crop)
        if augmentation.rand_augment is not None:
            from torchvision.transforms.v2 import RandAugment

            with seeded(self.seed, epoch, int(indices[0])):
                images = RandAugment(magnitude=augmentation.rand_augment)(images)
        return images


def cropped(
    images: UInt8[Tensor, "batch channels height width"], corners: Int[Tensor, "batch 2"], padding: int
) -> UInt8[Tensor, "batch channels height width"]:
    """A piece of the original size of each image, padded by zeros, that begins at its own corner (row, column)."""
    batch, channels, height, width = images.shape
    padded = torch.nn.functional.pad(images, (padding,) * 4)
    device = images.device
    rows = corners[:, :1] + torch.arange(height, device=device)
    columns = corners[:, 1:] + torch.arange(width, device=device)
    return padded[
        torch.arange(batch, device=device).view(-1, 1, 1, 1),
        torch.arange(channels, device=device).view(1, -1, 1, 1),
        rows[:, None, :, None],
        columns[:, None, None, :],
    ]


def decode_all(images: Images, indices: Sequence[int] | np.ndarray, mode: str = "RGB") -> tuple[Any, Any]:
    """Some of the images as bytes (size, channels, height, width), and their labels.

    Raises:
        ValueError: If they are not all of one size.
    """
    pixels, labels = [], []
    for index in indices:
        image, label = images[int(index)]
        pixels.append(np.asarray(image.convert(mode)))
        labels.append(label)
        if pixels[-1].shape != pixels[0].shape:
            raise ValueError(
                f"image {index} has the shape {pixels[-1].shape}, the first {pixels[0].shape}; in memory all are of one size."
            )
    stacked = torch.from_numpy(np.stack(pixels))
    stacked = stacked.unsqueeze(1) if stacked.ndim == 3 else stacked.permute(0, 3, 1, 2).contiguous()
    return stacked, torch.tensor(labels)
