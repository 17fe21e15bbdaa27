"""Tests for maps at several scales."""

import pytest
import torch
from timm.models import VisionTransformer
from torch.nn import functional as F
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from superpose.vision.pyramid import MultiLevelNeck, SimpleFeaturePyramid


def vit():
    return VisionTransformer(
        img_size=32, patch_size=8, embed_dim=16, depth=4, num_heads=2, dynamic_img_size=True
    ).eval()  # fmt: skip


def normed(x, layer):
    """Layer norm over the channels of a map, by its formula."""
    mean, variance = x.mean(1, keepdim=True), x.var(1, keepdim=True, unbiased=False)
    return (x - mean) / (variance + 1e-6).sqrt() * layer.weight.view(-1, 1, 1) + layer.bias.view(-1, 1, 1)


def doubled(x, layer):
    """A deconvolution of 2 x 2 with stride 2, pixel by pixel."""
    out = x.new_empty(len(x), layer.out_channels, 2 * x.shape[2], 2 * x.shape[3])
    for i in range(2):
        for j in range(2):
            pixel = torch.einsum("bihw,io->bohw", x, layer.weight[:, :, i, j])
            out[:, :, i::2, j::2] = pixel + layer.bias.view(-1, 1, 1)
    return out


def test_the_pyramid_is_that_of_the_paper():
    pyramid = SimpleFeaturePyramid(vit(), channels=6, extra=LastLevelMaxPool())
    images = torch.randn(2, 3, 64, 48)
    levels = pyramid(images)
    (last,) = pyramid.body(images)
    four, two, one, half = pyramid.levels
    expected = [
        (doubled(F.gelu(normed(doubled(last, four[0]), four[1])), four[3]), four[4:]),
        (doubled(last, two[0]), two[1:]),
        (last, one),
        (F.max_pool2d(last, 2), half[1:]),
    ]
    for name, (x, convolutions) in enumerate(expected):
        assert sum(parameter.numel() for parameter in convolutions.parameters()) == 6 * (x.shape[1] + 6 * 9 + 4)
        x = normed(torch.einsum("bihw,oi->bohw", x, convolutions[0].weight[..., 0, 0]), convolutions[1])
        x = normed(F.conv2d(x, convolutions[2].weight, padding=1), convolutions[3])
        torch.testing.assert_close(levels[str(name)], x, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(levels["pool"], levels["3"][..., ::2, ::2])
    assert pyramid.strides == (2, 4, 8, 16)
    assert pyramid.out_channels == 6


def test_the_neck_takes_each_level_from_its_own_block():
    model = vit()
    neck = MultiLevelNeck(model, channels=6)
    images = torch.randn(1, 3, 32, 48)
    maps = model.forward_intermediates(images, [0, 1, 2, 3], intermediates_only=True)
    for level, x, lateral, smooth, scale in zip(
        neck(images), maps, neck.lateral, neck.smooth, (4, 2, 1, 0.5), strict=True
    ):
        x = F.interpolate(lateral(x), scale_factor=scale, mode="bilinear")
        torch.testing.assert_close(level, smooth(x))
    assert neck.strides == (2, 4, 8, 16)


def test_other_scales_and_missing_blocks_raise():
    with pytest.raises(ValueError, match="got 3"):
        SimpleFeaturePyramid(vit(), scales=(3,))
    with pytest.raises(ValueError, match="a scale for every block"):
        MultiLevelNeck(vit(), indices=[0, 1])
    with pytest.raises(ValueError, match="no 4 parts"):
        MultiLevelNeck(VisionTransformer(img_size=32, patch_size=16, embed_dim=8, depth=2, num_heads=1))
