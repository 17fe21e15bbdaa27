"""What dense tasks take from a network of timm: feature maps."""

import copy
from collections.abc import Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn


class FeatureMaps(nn.Module):
    """The feature maps of a network of timm after some of its blocks, and nothing of it that they do not need.

    It works on a copy, from which the blocks behind the last map, the final norm and the head are pruned where the
    network can do so. A network made by timm with `features_only=True` has chosen its maps already.

    Args:
        model: A network with timm's `forward_intermediates`, or one made with `features_only=True`.
        indices: The blocks after which to take maps, from the end if negative; without effect where
            `features_only=True` has chosen them, of which there must then be as many.

    Raises:
        TypeError: If the network gives no feature maps.
        ValueError: If it gives more or fewer maps than `indices` asks for.

    Example:
        >>> import timm, torch
        >>> vit = timm.create_model("vit_tiny_patch16_224", depth=2)
        >>> maps = FeatureMaps(vit, [0, 1])
        >>> [tuple(x.shape) for x in maps(torch.zeros(1, 3, 224, 224))], maps.channels, maps.strides
        ([(1, 192, 14, 14), (1, 192, 14, 14)], (192, 192), (16, 16))
    """

    channels: tuple[int, ...]
    """Channels of each map."""
    strides: tuple[int, ...]
    """Pixels of the image per pixel of each map."""

    def __init__(self, model: nn.Module, indices: Sequence[int]) -> None:
        super().__init__()
        info: Any = getattr(model, "feature_info", None)
        if info is None:
            raise TypeError(
                f"the backbone must be a network of timm that gives feature maps, got {type(model).__name__}; "
                "timm.create_model(name) makes one, or timm.create_model(name, features_only=True)."
            )
        self.model: Any = copy.deepcopy(model)
        self.indices: list[int] | None = None
        if isinstance(info, list):
            self.indices = _within(indices, len(info))
            self.channels = tuple(info[index]["num_chs"] for index in self.indices)
            self.strides = tuple(info[index]["reduction"] for index in self.indices)
            if prune := getattr(self.model, "prune_intermediate_layers", None):
                prune(self.indices, prune_norm=True)
        else:
            self.channels, self.strides = tuple(info.channels()), tuple(info.reduction())
        if len(self.channels) != len(indices):
            raise ValueError(
                f"the backbone gives {len(self.channels)} maps where {len(indices)} are needed; "
                "choose as many with out_indices, or make it without features_only."
            )

    def forward(self, images: Float[Tensor, "batch colours height width"]) -> list[Float[Tensor, "batch _ _ _"]]:
        """The maps, in the order of `indices`."""
        if self.indices is None:
            return self.model(images)
        return self.model.forward_intermediates(images, indices=self.indices, intermediates_only=True)


def check_dynamic(model: nn.Module) -> None:
    """Raise a `ValueError` if the network takes images of one size alone."""
    inner = getattr(model, "model", model)
    if getattr(inner, "dynamic_img_size", True):
        return
    raise ValueError(
        f"{type(inner).__name__} takes images of one size alone, and these have many; make it with "
        "timm.create_model(..., dynamic_img_size=True), which has the same parameters and resamples its position "
        "embeddings to the size of the image."
    )


def spread_evenly(count: int, depth: int) -> list[int]:
    """The last block of each of `count` equal parts of a network: 4 of 12 blocks are 2, 5, 8 and 11."""
    if not 1 <= count <= depth:
        raise ValueError(f"a network of {depth} blocks has no {count} parts; name the blocks, or take a deeper one.")
    return [(part + 1) * depth // count - 1 for part in range(count)]


def _within(indices: Sequence[int], depth: int) -> list[int]:
    found = [index + depth if index < 0 else index for index in indices]
    if not found or found != sorted(set(found)) or found[0] < 0 or found[-1] >= depth:
        raise ValueError(f"indices must be increasing numbers of the {depth} blocks, got {list(indices)}.")
    return found
