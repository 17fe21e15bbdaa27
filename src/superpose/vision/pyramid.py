"""Maps at several scales from a transformer, whose own have but one."""

from collections.abc import Sequence

from jaxtyping import Float
from timm.layers import LayerNorm2d
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops.feature_pyramid_network import ExtraFPNBlock

from superpose.vision.maps import FeatureMaps, spread_evenly

SCALES = (4.0, 2.0, 1.0, 0.5)


class SimpleFeaturePyramid(nn.Module):
    """The simple feature pyramid of ViTDet: every scale is made from the last map alone (Li et al. 2022, arXiv 2203.16527).

    Scale 4 is two 2 x 2 deconvolutions of stride 2 with LayerNorm and GELU between them, 2 is one, 1 the map itself and
    1/2 a max pooling. Then come, at each scale, a 1 x 1 and a 3 x 3 convolution, each with LayerNorm over the channels
    (section 3). It is a backbone for torchvision's detectors: it has `out_channels`, and gives a dict of maps.

    Args:
        backbone: A network of timm that gives feature maps; it is copied, see `FeatureMaps`.
        channels: Channels of every level.
        scales: Sizes of the levels relative to the last map, largest first; among 4, 2, 1 and 1/2.
        extra: What adds coarser levels, from torchvision, such as `LastLevelMaxPool()`.

    Raises:
        ValueError: If a scale is another.

    Example:
        >>> import timm, torch
        >>> vit = timm.create_model("vit_tiny_patch16_224", depth=1)
        >>> pyramid = SimpleFeaturePyramid(vit, channels=32)
        >>> {name: tuple(x.shape[1:]) for name, x in pyramid(torch.zeros(1, 3, 224, 224)).items()}
        {'0': (32, 56, 56), '1': (32, 28, 28), '2': (32, 14, 14), '3': (32, 7, 7)}
    """

    def __init__(
        self,
        backbone: nn.Module,
        channels: int = 256,
        *,
        scales: Sequence[float] = SCALES,
        extra: ExtraFPNBlock | None = None,
    ) -> None:
        super().__init__()
        self.body = FeatureMaps(backbone, [-1])
        dim, stride = self.body.channels[0], self.body.strides[0]
        self.levels = nn.ModuleList(_level(dim, channels, scale) for scale in scales)
        self.extra = extra
        self.out_channels = channels
        self.strides = tuple(round(stride / scale) for scale in scales)

    def forward(self, images: Float[Tensor, "batch colours height width"]) -> dict[str, Float[Tensor, "batch _ _ _"]]:
        """The levels, finest first, named "0", "1", ... and as `extra` names its own."""
        (last,) = self.body(images)
        levels = [level(last) for level in self.levels]
        names = [str(number) for number in range(len(levels))]
        if self.extra is not None:
            levels, names = self.extra(levels, [last], names)
        return dict(zip(names, levels, strict=True))


class MultiLevelNeck(nn.Module):
    """Maps of four blocks, each brought to a scale of its own: what UPerNet reads from a transformer.

    Each map goes through a 1 x 1 convolution, is resized bilinearly, and goes through a 3 x 3 convolution. This is the
    usual way to give a plain transformer to UPerNet (Xiao et al. 2018, arXiv 1807.10221), and what KAT reports.

    Args:
        backbone: A network of timm that gives feature maps; it is copied, see `FeatureMaps`.
        channels: Channels of every level; as many as the maps have if None.
        indices: The blocks; the last of each quarter of the network if None (2, 5, 8 and 11 of 12).
        scales: Size of each level relative to its map.

    Raises:
        ValueError: If there are not as many blocks as scales.

    Example:
        >>> import timm, torch
        >>> neck = MultiLevelNeck(timm.create_model("vit_tiny_patch16_224", depth=4), channels=32)
        >>> [tuple(x.shape[1:]) for x in neck(torch.zeros(1, 3, 224, 224))]
        [(32, 56, 56), (32, 28, 28), (32, 14, 14), (32, 7, 7)]
    """

    def __init__(
        self,
        backbone: nn.Module,
        channels: int | None = None,
        *,
        indices: Sequence[int] | None = None,
        scales: Sequence[float] = SCALES,
    ) -> None:
        super().__init__()
        if indices is None:
            info = getattr(backbone, "feature_info", None)
            indices = spread_evenly(len(scales), len(info if isinstance(info, list) else scales))
        if len(indices) != len(scales):
            raise ValueError(f"there must be a scale for every block, got {list(indices)} and {list(scales)}.")
        self.body = FeatureMaps(backbone, indices)
        self.scales = tuple(scales)
        widths = [channels or own for own in self.body.channels]
        sizes = list(zip(self.body.channels, widths, strict=True))
        self.lateral = nn.ModuleList(nn.Conv2d(own, width, 1) for own, width in sizes)
        self.smooth = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for width in widths)
        self.channels = tuple(widths)
        self.strides = tuple(round(own / scale) for own, scale in zip(self.body.strides, scales, strict=True))

    def forward(self, images: Float[Tensor, "batch colours height width"]) -> list[Float[Tensor, "batch _ _ _"]]:
        """The levels, finest first."""
        levels = []
        for x, lateral, scale, smooth in zip(self.body(images), self.lateral, self.scales, self.smooth, strict=True):
            size = [round(side * scale) for side in x.shape[-2:]]
            levels.append(smooth(F.interpolate(lateral(x), size=size, mode="bilinear", align_corners=False)))
        return levels


def _level(dim: int, channels: int, scale: float) -> nn.Sequential:
    resize: list[nn.Module]
    match scale:
        case 4:
            resize = [nn.ConvTranspose2d(dim, dim // 2, 2, 2), LayerNorm2d(dim // 2), nn.GELU()]
            resize.append(nn.ConvTranspose2d(dim // 2, dim // 4, 2, 2))
        case 2:
            resize = [nn.ConvTranspose2d(dim, dim // 2, 2, 2)]
        case 1:
            resize = []
        case 0.5:
            resize = [nn.MaxPool2d(2, 2)]
        case _:
            raise ValueError(f"a level has scale 4, 2, 1 or 0.5, got {scale}.")
    width = dim // max(1, int(scale))
    return nn.Sequential(
        *resize,
        nn.Conv2d(width, channels, 1, bias=False),
        LayerNorm2d(channels),
        nn.Conv2d(channels, channels, 3, padding=1, bias=False),
        LayerNorm2d(channels),
    )
