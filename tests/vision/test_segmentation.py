"""Tests for UPerNet."""

import pytest
import timm
import torch
from timm.models import VisionTransformer
from torch.nn import functional as F

from superpose.vision.segmentation import PyramidPooling, UPerHead, UPerNet
from superpose.vision.windows import WindowedViT


def vit(**options):
    options = {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 4, "num_heads": 2} | options
    return VisionTransformer(**options)


def test_pooling_is_means_over_grids():
    pooling = PyramidPooling(5, 3, bins=(1, 2)).eval()
    x = torch.randn(2, 5, 4, 6)
    one = pooling.pools[0][1](x.mean((2, 3), keepdim=True)).expand(-1, -1, 4, 6)
    quarters = torch.stack([x[:, :, i : i + 2, j : j + 3].mean((2, 3)) for i in (0, 2) for j in (0, 3)], -1)
    two = F.interpolate(pooling.pools[1][1](quarters.view(2, 5, 2, 2)), (4, 6), mode="bilinear")
    torch.testing.assert_close(pooling(x), pooling.fuse(torch.cat([x, one, two], 1)))


def test_levels_are_merged_from_coarse_to_fine():
    head = UPerHead((4, 5, 6), 3, 2).eval()
    fine, middle, coarse = torch.randn(1, 4, 8, 12), torch.randn(1, 5, 4, 6), torch.randn(1, 6, 2, 3)
    up = lambda x, factor: F.interpolate(x, scale_factor=factor, mode="bilinear")  # noqa: E731
    third = head.pooling(coarse)
    second = head.lateral[1](middle) + up(third, 2)
    first = head.lateral[0](fine) + up(second, 2)
    fused = head.fuse(torch.cat([head.smooth[0](first), up(head.smooth[1](second), 2), up(third, 4)], 1))
    torch.testing.assert_close(head([fine, middle, coarse]), head.classify[1](fused))


@pytest.mark.parametrize("size", [(32, 32), (33, 50), (20, 71)], ids=str)
def test_images_of_any_size_are_padded_and_cut(size):
    model = UPerNet(WindowedViT(vit(dynamic_img_size=True), 3, 2), 4, channels=8).eval()
    images = torch.rand(2, 3, *size)
    logits = model(images)["out"]
    assert logits.shape == (2, 4, *size)
    padded = torch.zeros(2, 3, -(-size[0] // 16) * 16, -(-size[1] // 16) * 16)
    padded[..., : size[0], : size[1]] = images
    torch.testing.assert_close(model(padded)["out"][..., : size[0], : size[1]], logits)


def test_every_weight_learns():
    model = UPerNet(vit(), 4, channels=8)
    logits = model(torch.rand(2, 3, 32, 32))
    assert sorted(logits) == ["aux", "out"]
    sum(x.square().mean() for x in logits.values()).backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize(("name", "published"), [("small", 57), ("base", 142)])
def test_sizes_are_those_that_kat_reports(name, published):
    # Yang and Wang 2024, table 7, in millions; with or without the auxiliary head, which they do not say.
    with torch.device("meta"):
        model = UPerNet(timm.create_model(f"vit_{name}_patch16_224"), 150)
    size = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    auxiliary = sum(parameter.numel() for parameter in model.auxiliary.parameters()) / 1e6
    assert size - auxiliary < published + 0.5
    assert size > published - 0.5


def test_bad_networks_and_batches_raise():
    with pytest.raises(ValueError, match="num_classes"):
        UPerNet(vit(), 0)
    with pytest.raises(TypeError, match="timm"):
        UPerNet(torch.nn.Identity(), 2)
    with pytest.raises(ValueError, match="one image"):
        UPerNet(vit(), 2, channels=8)(torch.rand(1, 3, 32, 32))
