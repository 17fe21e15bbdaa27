"""Semantic segmentation: UPerNet on a transformer of timm."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import Conv2dNormActivation

from superpose.vision.parameters import TransformerParameters
from superpose.vision.pyramid import MultiLevelNeck


class PyramidPooling(nn.Module):
    """A map together with what its means over ever finer grids say (Zhao et al. 2017, arXiv 1612.01105).

    Args:
        in_channels: Channels of the map.
        channels: Channels of each pooled map, and of the result.
        bins: Sides of the grids.

    Example:
        >>> PyramidPooling(8, 4).eval()(torch.zeros(1, 8, 5, 7)).shape
        torch.Size([1, 4, 5, 7])
    """

    def __init__(self, in_channels: int, channels: int, bins: Sequence[int] = (1, 2, 3, 6)) -> None:
        super().__init__()
        self.pools = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(bin), Conv2dNormActivation(in_channels, channels, 1)) for bin in bins
        )
        self.fuse = Conv2dNormActivation(in_channels + len(bins) * channels, channels, 3)

    def forward(self, x: Float[Tensor, "batch _ height width"]) -> Float[Tensor, "batch _ height width"]:
        """The map, and its pooled maps at its own size, fused by a convolution."""
        return self.fuse(torch.cat([x, *(_resized(pool(x), x) for pool in self.pools)], 1))


class UPerHead(nn.Module):
    """The head of UPerNet: pyramid pooling on the coarsest level, then from coarse to fine, then all levels fused.

    Source: Xiao et al. 2018, arXiv 1807.10221, section 3.1, figure 4; only its part for semantic segmentation.

    Args:
        in_channels: Channels of each level, finest first.
        channels: Channels inside the head.
        num_classes: Number of classes.
        drop: Share of channels dropped before the classifier.

    Example:
        >>> head = UPerHead((8, 8), channels=4, num_classes=3).eval()
        >>> head([torch.zeros(1, 8, 16, 16), torch.zeros(1, 8, 8, 8)]).shape
        torch.Size([1, 3, 16, 16])
    """

    def __init__(self, in_channels: Sequence[int], channels: int, num_classes: int, drop: float = 0.1) -> None:
        super().__init__()
        finer = in_channels[:-1]
        self.lateral = nn.ModuleList(Conv2dNormActivation(own, channels, 1) for own in finer)
        self.pooling = PyramidPooling(in_channels[-1], channels)
        self.smooth = nn.ModuleList(Conv2dNormActivation(channels, channels, 3) for _ in finer)
        self.fuse = Conv2dNormActivation(len(in_channels) * channels, channels, 3)
        self.classify = nn.Sequential(nn.Dropout2d(drop), nn.Conv2d(channels, num_classes, 1))

    def forward(self, levels: Sequence[Float[Tensor, "batch _ _ _"]]) -> Float[Tensor, "batch classes height width"]:
        """Logits at the size of the finest level."""
        merged = [self.pooling(levels[-1])]
        for x, lateral in zip(levels[-2::-1], list(self.lateral)[::-1], strict=True):
            own = lateral(x)
            merged.insert(0, own + _resized(merged[0], own))
        smooth = [conv(x) for conv, x in zip(self.smooth, merged[:-1], strict=True)]
        fused = [_resized(x, merged[0]) for x in (*smooth, merged[-1])]
        return self.classify(self.fuse(torch.cat(fused, 1)))


class UPerNet(TransformerParameters, nn.Module):
    """UPerNet on a transformer of timm: a `MultiLevelNeck`, an `UPerHead`, and a plain auxiliary head for training.

    As torchvision's segmentation models, it returns a dict of logits at the size of the images: `"out"`, and in training
    `"aux"`, whose loss counts 0.4. Images are normalised as the backbone expects it, and may have any size: they are
    padded with zeros below and on the right to whole cells of the coarsest level, and the logits cut to their size.
    The auxiliary head is one convolution on the coarsest level, as is usual for transformers.

    Args:
        backbone: A network of timm that gives feature maps, or a `WindowedViT`. It is copied.
        num_classes: Number of classes, such as 150 for ADE20K.
        channels: Channels inside the head; the auxiliary head has half as many.
        indices: Blocks whose maps are used; the last of each quarter of the network if None.
        auxiliary: Whether there is an auxiliary head.

    Raises:
        TypeError: If the backbone gives no feature maps.
        ValueError: If there is no class; or in training, if a batch has one image, whose means have no variance.

    Example:
        >>> import timm
        >>> vit = timm.create_model("vit_tiny_patch16_224", depth=4, dynamic_img_size=True)
        >>> model = UPerNet(vit, num_classes=5, channels=16).eval()
        >>> model(torch.zeros(1, 3, 50, 83))["out"].shape
        torch.Size([1, 5, 50, 83])
    """

    def __init__(
        self,
        backbone: nn.Module,
        num_classes: int,
        *,
        channels: int = 512,
        indices: Sequence[int] | None = None,
        auxiliary: bool = True,
    ) -> None:
        super().__init__()
        if num_classes < 1:
            raise ValueError(f"num_classes must be at least 1, got {num_classes}.")
        self.backbone = MultiLevelNeck(backbone, indices=indices)
        self.head = UPerHead(self.backbone.channels, channels, num_classes)
        self.num_classes = num_classes
        self.auxiliary = None
        if auxiliary:
            self.auxiliary = nn.Sequential(
                Conv2dNormActivation(self.backbone.channels[-1], channels // 2, 3),
                nn.Dropout2d(0.1),
                nn.Conv2d(channels // 2, num_classes, 1),
            )

    def forward(
        self, images: Float[Tensor, "batch colours height width"]
    ) -> dict[str, Float[Tensor, "batch classes height width"]]:
        """Logits of every pixel."""
        if self.training and len(images) == 1:
            raise ValueError(
                "a training batch of one image cannot be normalised where the head pools it to one pixel; give more."
            )
        height, width = images.shape[-2:]
        cell = self.backbone.strides[-1]
        levels = self.backbone(F.pad(images, (0, -width % cell, 0, -height % cell)))
        logits = {"out": self.head(levels)}
        if self.training and self.auxiliary is not None:
            logits["aux"] = self.auxiliary(levels[-1])
        size = (height + -height % cell, width + -width % cell)
        return {name: _scaled(x, size)[..., :height, :width] for name, x in logits.items()}


def _resized(x: Tensor, like: Tensor) -> Tensor:
    return _scaled(x, like.shape[-2:])


def _scaled(x: Tensor, size: Sequence[int]) -> Tensor:
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=False)
