"""Tests for what optimizers are told of parameters."""

import pytest
from timm.models import VisionTransformer
from timm.optim import param_groups_layer_decay
from torch import nn

from superpose.vision.detection import mask_rcnn, retinanet
from superpose.vision.parameters import TransformerParameters
from superpose.vision.segmentation import UPerNet
from superpose.vision.windows import WindowedViT


def vit():
    return VisionTransformer(img_size=32, patch_size=8, embed_dim=16, depth=4, num_heads=2, dynamic_img_size=True)


BUILT = {
    "mask_rcnn": lambda: mask_rcnn(vit(), 2, channels=8),
    "retinanet": lambda: retinanet(WindowedViT(vit(), 2, 2), 2, channels=8),
    "upernet": lambda: UPerNet(WindowedViT(vit(), 2, 2), 2, channels=8),
}


@pytest.mark.parametrize("name", BUILT)
def test_rates_fall_from_the_heads_to_the_patches(name):
    model = BUILT[name]()
    groups = param_groups_layer_decay(model, 0.1, model.no_weight_decay(), layer_decay=0.5)
    scale = {id(p): (group["lr_scale"], group["weight_decay"]) for group in groups for p in group["params"]}
    seen = set()
    for key, parameter in model.named_parameters():
        rate, decay = scale[id(parameter)]
        inner = key.rpartition("model.")[2] if "body.model" in key else ""
        layer = 0 if inner.startswith(("cls", "pos", "patch")) else 5
        if inner.startswith("blocks."):
            layer = 1 + int(inner.split(".")[1])
        assert rate == 0.5 ** (5 - layer), key
        assert decay == (0 if parameter.ndim <= 1 or inner in ("pos_embed", "cls_token") else 0.1), key
        seen.add(layer)
    assert seen == {0, 1, 2, 3, 4, 5}


def test_a_network_without_a_transformer_has_nothing_to_tell():
    class Other(TransformerParameters, nn.Linear):
        pass

    assert Other(2, 2).no_weight_decay() == set()
    assert Other(2, 2).group_matcher() == {}
