"""Tests for the feature maps of networks of timm."""

import pytest
import timm
import torch
from timm.models import VisionTransformer

from superpose.vision.maps import FeatureMaps, check_dynamic, spread_evenly
from superpose.vision.windows import WindowedViT


def vit(**options):
    return VisionTransformer(img_size=32, patch_size=8, embed_dim=16, depth=4, num_heads=2, **options).eval()


def test_maps_are_those_of_timm_and_the_model_stays_as_it_was():
    model = vit(dynamic_img_size=True)
    names = [name for name, _ in model.named_parameters()]
    maps = FeatureMaps(model, [0, -2])
    images = torch.randn(2, 3, 40, 24)
    torch.testing.assert_close(maps(images), model.forward_intermediates(images, [0, 2], intermediates_only=True))
    assert [name for name, _ in model.named_parameters()] == names
    assert all(ours is not theirs for ours, theirs in zip(maps.parameters(), model.parameters(), strict=False))
    assert (maps.channels, maps.strides) == ((16, 16), (8, 8))


@pytest.mark.parametrize("windowed", [False, True])
def test_every_parameter_that_is_left_is_used(windowed):
    model = vit(dynamic_img_size=True)
    maps = FeatureMaps(WindowedViT(model, 3, 2) if windowed else model, [1, 2])
    sum(x.square().mean() for x in maps(torch.randn(1, 3, 32, 32))).backward()
    assert [name for name, parameter in maps.named_parameters() if parameter.grad is None] == []


def test_a_network_made_for_features_gives_its_own():
    model = timm.create_model("resnet18", features_only=True, out_indices=[2, 3])
    maps = FeatureMaps(model, [0, 1])
    assert (maps.channels, maps.strides) == ((128, 256), (8, 16))
    assert [tuple(x.shape[1:]) for x in maps(torch.zeros(1, 3, 64, 64))] == [(128, 8, 8), (256, 4, 4)]


def test_bad_networks_raise():
    with pytest.raises(TypeError, match="timm"):
        FeatureMaps(torch.nn.Linear(2, 2), [-1])
    with pytest.raises(ValueError, match="gives 2 maps where 1 are needed"):
        FeatureMaps(timm.create_model("resnet18", features_only=True, out_indices=[2, 3]), [-1])
    with pytest.raises(ValueError, match="4 blocks"):
        FeatureMaps(vit(), [4])
    with pytest.raises(ValueError, match="dynamic_img_size=True"):
        check_dynamic(vit())


def test_blocks_are_spread_evenly():
    assert spread_evenly(4, 12) == [2, 5, 8, 11]
    assert spread_evenly(4, 24) == [5, 11, 17, 23]
    assert spread_evenly(3, 4) == [0, 1, 3]
