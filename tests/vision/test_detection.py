"""Tests for the detectors."""

import pytest
import timm
import torch
from timm.models import VisionTransformer

from superpose.vision.detection import mask_rcnn, retinanet
from superpose.vision.windows import WindowedViT


def vit(**options):
    return VisionTransformer(
        **{"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2, "dynamic_img_size": True}
        | options
    )


def target(size):
    mask = torch.zeros(1, *size, dtype=torch.uint8)
    mask[:, 8:24, 4:28] = 1
    return {"boxes": torch.tensor([[4.0, 8.0, 28.0, 24.0]]), "labels": torch.tensor([2]), "masks": mask}


@pytest.mark.parametrize(("build", "parts"), [(mask_rcnn, 5), (retinanet, 2)])
def test_every_weight_learns_from_images_of_any_size(build, parts):
    model = build(WindowedViT(vit(), 4, 1), 3, channels=8, min_size=48)
    sizes = [(50, 70), (61, 45)]
    losses = model([torch.rand(3, *size) for size in sizes], [target(size) for size in sizes])
    assert len(losses) == parts
    sum(losses.values()).backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


def test_anchors_are_eight_strides_and_tile_the_image():
    model = mask_rcnn(vit(patch_size=16), 3, channels=8)
    anchors = model.rpn.anchor_generator
    assert anchors.sizes == ((32,), (64,), (128,), (256,), (512,))
    model = mask_rcnn(vit(patch_size=8), 3, channels=8, min_size=50).eval()
    images, _ = model.transform([torch.rand(3, 50, 75)])
    levels = model.backbone(images.tensors)
    assert images.tensors.shape[-2:] == (64, 96)
    for level, stride in zip(levels.values(), (2, 4, 8, 16, 32), strict=True):
        assert tuple(level.shape[-2:]) == (64 // stride, 96 // stride)


def test_anchors_of_retinanet_are_thirds_of_an_octave():
    model = retinanet(vit(patch_size=16), 3, channels=8)
    assert model.anchor_generator.sizes[0] == (32, 40, 51)
    assert model.anchor_generator.sizes[-1] == (512, 645, 813)
    model.eval()
    images, _ = model.transform([torch.rand(3, 100, 100)])
    assert [images.tensors.shape[-1] // x.shape[-1] for x in model.backbone(images.tensors).values()] == [
        8, 16, 32, 64, 128,
    ]  # fmt: skip


def test_heads_are_those_of_vitdet():
    model = mask_rcnn(vit(), 80, channels=256)
    count = lambda module: sum(parameter.numel() for parameter in module.parameters())  # noqa: E731
    conv = lambda i, o, k: i * o * k * k  # noqa: E731
    assert count(model.rpn.head) == 2 * (conv(256, 256, 3) + 256) + conv(256, 3, 1) + 3 + conv(256, 12, 1) + 12
    boxes = 4 * (conv(256, 256, 3) + 2 * 256) + 256 * 49 * 1024 + 1024 + 1024 * 81 * 5 + 81 * 5
    assert count(model.roi_heads.box_head) + count(model.roi_heads.box_predictor) == boxes
    masks = 4 * (conv(256, 256, 3) + 2 * 256) + conv(256, 256, 2) + 256 + conv(256, 81, 1) + 81
    assert count(model.roi_heads.mask_head) + count(model.roi_heads.mask_predictor) == masks


@pytest.mark.parametrize(("name", "published"), [("small", 44.5), ("base", 113.7)])
def test_sizes_are_about_those_that_kat_reports(name, published):
    # Yang and Wang 2024, table 6, in millions. ViTDet's base has 111 (Li et al. 2022, table 5), and so has ours.
    with torch.device("meta"):
        backbone = timm.create_model(f"vit_{name}_patch16_224", dynamic_img_size=True)
        model = mask_rcnn(WindowedViT(backbone), 80)
    assert sum(parameter.numel() for parameter in model.parameters()) / 1e6 == pytest.approx(published, rel=0.03)


def test_the_backbone_of_the_caller_stays_as_it_was():
    model = vit(num_classes=10)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    detector = retinanet(model, 1, channels=8, min_size=32)
    detector([torch.rand(3, 32, 32)], [target((32, 32)) | {"labels": torch.tensor([1])}])
    torch.testing.assert_close(dict(model.state_dict()), before, rtol=0, atol=0)


def test_bad_detectors_raise():
    with pytest.raises(ValueError, match="background is not counted"):
        mask_rcnn(vit(), 0)
    with pytest.raises(ValueError, match="dynamic_img_size=True"):
        retinanet(vit(dynamic_img_size=False), 2)
    with pytest.raises(TypeError, match="timm"):
        mask_rcnn(torch.nn.Identity(), 2)
