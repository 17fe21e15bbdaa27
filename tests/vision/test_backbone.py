"""Tests for backbones by name."""

import pytest
import timm
import torch

from superpose.vision.backbone import create_backbone
from superpose.vision.detection import mask_rcnn, retinanet
from superpose.vision.segmentation import UPerNet

SMALL = {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 4, "num_heads": 2}


def test_windows_are_a_matter_of_choice():
    plain = create_backbone("test_vit", model_arguments={"depth": 3})
    windowed = create_backbone("test_vit", window=5, global_blocks=[1], model_arguments={"depth": 3})
    assert (len(plain.blocks), plain.dynamic_img_size) == (3, True)
    assert (windowed.window, windowed.global_blocks, len(windowed.model.blocks)) == (5, (1,), 3)


def test_an_unknown_name_raises():
    with pytest.raises(ValueError, match=r"near are .*vit_tiny"):
        create_backbone("vit_tiny_patch15")


def test_a_kat_keeps_its_function_under_windows_that_cover_the_image():
    plain = create_backbone("kat_tiny_patch16_224", model_arguments=SMALL).eval()
    windowed = create_backbone("kat_tiny_patch16_224", window=6, global_blocks=1, model_arguments=SMALL).eval()
    windowed.model.load_state_dict(plain.state_dict())
    images = torch.randn(2, 3, 40, 48)
    torch.testing.assert_close(windowed(images), plain(images), rtol=0, atol=0)
    windowed.window = 2
    assert not torch.allclose(windowed(images), plain(images), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("build", [mask_rcnn, retinanet])
def test_every_weight_of_a_kat_learns_in_a_detector(build):
    backbone = create_backbone("kat_tiny_patch16_224", window=2, global_blocks=2, model_arguments=SMALL)
    model = build(backbone, 1, channels=8, min_size=32)
    target = {"boxes": torch.tensor([[4.0, 4.0, 20.0, 28.0]]), "labels": torch.tensor([1])}
    target["masks"] = torch.ones(1, 32, 32, dtype=torch.uint8)
    sum(model([torch.rand(3, 32, 32)], [target]).values()).backward()
    rational = [name for name, _ in model.named_parameters() if "weight_numerator" in name]
    assert len(rational) == 8
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


def test_weights_of_a_classifier_go_into_a_network_for_pixels():
    classifier = timm.create_model("kat_tiny_patch16_224", **SMALL)
    model = UPerNet(create_backbone("kat_tiny_patch16_224", model_arguments=SMALL), 3, channels=8)
    missing, unexpected = model.backbone.body.model.load_state_dict(classifier.state_dict(), strict=False)
    assert missing == []
    assert all(name.startswith(("norm.", "head.", "fc_norm.")) for name in unexpected)
