"""Detectors: a transformer of timm, the simple feature pyramid, and the heads of torchvision."""

from typing import Any

from timm.layers import LayerNorm2d
from torch import nn
from torchvision.models.detection import MaskRCNN, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead, FastRCNNPredictor
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.models.detection.rpn import RPNHead
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool, LastLevelP6P7

from superpose.vision.maps import check_dynamic
from superpose.vision.parameters import TransformerParameters
from superpose.vision.pyramid import SimpleFeaturePyramid

RATIOS = (0.5, 1.0, 2.0)


class ViTMaskRCNN(TransformerParameters, MaskRCNN):
    """torchvision's Mask R-CNN, as `mask_rcnn` makes it."""

    num_classes: int
    """Kinds of things, without the background."""


class ViTRetinaNet(TransformerParameters, RetinaNet):
    """torchvision's RetinaNet, as `retinanet` makes it."""

    num_classes: int
    """Kinds of things, without the background."""


def mask_rcnn(
    backbone: nn.Module,
    num_classes: int,
    *,
    channels: int = 256,
    min_size: int = 800,
    max_size: int = 1333,
    **options: Any,
) -> ViTMaskRCNN:
    """Mask R-CNN as ViTDet has it, on a transformer of timm (Li et al. 2022, arXiv 2203.16527, section 3 and appendix).

    The heads are those of that paper: two hidden convolutions in the proposal network; four and a fully connected layer
    for boxes; four for masks; LayerNorm after those of boxes and masks. Anchors have sides of eight strides on each of
    five levels (32 to 512 pixels for patches of 16). Every weight is new but those of the backbone.

    The model takes a list of images with values in [0, 1] and normalises and resizes them itself. In training it
    takes targets too and returns its losses; see `torchvision.models.detection.MaskRCNN`.

    Args:
        backbone: A network of timm for images of any size, such as `timm.create_model("kat_small_patch16_224",
            dynamic_img_size=True)`, or a `WindowedViT` around one. It is copied.
        num_classes: Number of kinds of things. Targets name them 1 to `num_classes`; 0 is the background.
        channels: Channels of the pyramid and the heads.
        min_size: Length to which the shorter side of an image is resized.
        max_size: Most that the longer side may have then.
        options: Anything else that torchvision's class takes, such as `box_detections_per_img` or `image_mean`.

    Raises:
        TypeError: If the backbone gives no feature maps.
        ValueError: If there is no class, or the backbone takes one size of images alone.

    Example:
        >>> import timm, torch
        >>> vit = timm.create_model("vit_tiny_patch16_224", depth=1, dynamic_img_size=True)
        >>> model = mask_rcnn(vit, num_classes=3, channels=16, min_size=64).eval()
        >>> sorted(model([torch.rand(3, 70, 90)])[0])
        ['boxes', 'labels', 'masks', 'scores']
    """
    _check(backbone, num_classes)
    pyramid = SimpleFeaturePyramid(backbone, channels, extra=LastLevelMaxPool())
    strides = (*pyramid.strides, 2 * pyramid.strides[-1])
    anchors = AnchorGenerator(tuple((8 * stride,) for stride in strides), (RATIOS,) * len(strides))
    convolutions, hidden = [channels] * 4, 4 * channels
    model = ViTMaskRCNN(
        pyramid,
        min_size=min_size,
        max_size=max_size,
        # A multiple of the coarsest stride, so that the cells of every level tile the image.
        size_divisible=strides[-1],
        rpn_anchor_generator=anchors,
        rpn_head=RPNHead(channels, len(RATIOS), conv_depth=2),
        box_head=FastRCNNConvFCHead((channels, 7, 7), convolutions, [hidden], norm_layer=LayerNorm2d),
        box_predictor=FastRCNNPredictor(hidden, num_classes + 1),
        mask_head=MaskRCNNHeads(channels, convolutions, 1, norm_layer=LayerNorm2d),
        mask_predictor=MaskRCNNPredictor(channels, channels, num_classes + 1),
        **options,
    )
    model.num_classes = num_classes
    return model


def retinanet(
    backbone: nn.Module,
    num_classes: int,
    *,
    channels: int = 256,
    min_size: int = 800,
    max_size: int = 1333,
    **options: Any,
) -> ViTRetinaNet:
    """RetinaNet on a transformer of timm (Lin et al. 2017, arXiv 1708.02002), with the simple feature pyramid below it.

    The pyramid has scales 2, 1 and 1/2, and two coarser levels made by convolutions (strides 8 to 128 for patches of
    16). Anchors have three sizes, a third of an octave apart, from four strides on. The hidden convolutions of the head
    have LayerNorm, as those of ViTDet's heads. Images and targets are as for `mask_rcnn`; masks are not needed.

    Args:
        backbone: A network of timm for images of any size, or a `WindowedViT` around one. It is copied.
        num_classes: Number of kinds of things. Targets name them 1 to `num_classes`.
        channels: Channels of the pyramid and the head.
        min_size: Length to which the shorter side of an image is resized.
        max_size: Most that the longer side may have then.
        options: Anything else that torchvision's class takes, such as `score_thresh` or `image_mean`.

    Raises:
        TypeError: If the backbone gives no feature maps.
        ValueError: If there is no class, or the backbone takes one size of images alone.

    Example:
        >>> import timm, torch
        >>> vit = timm.create_model("vit_tiny_patch16_224", depth=1, dynamic_img_size=True)
        >>> model = retinanet(vit, num_classes=3, channels=16, min_size=64).eval()
        >>> sorted(model([torch.rand(3, 70, 90)])[0])
        ['boxes', 'labels', 'scores']
    """
    _check(backbone, num_classes)
    pyramid = SimpleFeaturePyramid(backbone, channels, scales=(2, 1, 0.5), extra=LastLevelP6P7(channels, channels))
    strides = (*pyramid.strides, 2 * pyramid.strides[-1], 4 * pyramid.strides[-1])
    sizes = tuple(tuple(round(4 * stride * 2 ** (third / 3)) for third in range(3)) for stride in strides)
    anchors = AnchorGenerator(sizes, (RATIOS,) * len(strides))
    model = ViTRetinaNet(
        pyramid,
        # torchvision counts the background, though its logit is never asked for.
        num_classes + 1,
        min_size=min_size,
        max_size=max_size,
        size_divisible=strides[-1],
        anchor_generator=anchors,
        head=RetinaNetHead(channels, anchors.num_anchors_per_location()[0], num_classes + 1, norm_layer=LayerNorm2d),
        **options,
    )
    model.num_classes = num_classes
    return model


def _check(backbone: nn.Module, num_classes: int) -> None:
    if num_classes < 1:
        raise ValueError(f"num_classes must be at least 1, got {num_classes}; the background is not counted.")
    check_dynamic(backbone)
