"""Weights go where they belong, all of them, or nothing happens."""

import pytest
import timm
import torch
from timm.models.vision_transformer import VisionTransformer

from superpose.vision.mae import MaskedAutoencoder
from superpose.vision.transfer import encoder_weights, load_encoder_


def vit(**more):
    return VisionTransformer(8, 4, **{"embed_dim": 16, "depth": 2, "num_heads": 2, "num_classes": 10, **more})


@pytest.fixture(scope="module")
def state():
    return MaskedAutoencoder(vit(num_classes=0), 12, 1, 2).state_dict()


def test_every_weight_of_the_encoder_arrives(state, generator):
    model = vit()
    head = model.head.weight.clone()
    assert load_encoder_(model, state) is model
    for name, value in model.state_dict().items():
        if not name.startswith("head."):
            assert torch.equal(value, state[f"encoder.{name}"]), name
    assert torch.equal(model.head.weight, head)


def test_an_encoder_fits_timms_own_loading(state):
    vit(num_classes=0).load_state_dict(encoder_weights(state))
    encoder = timm.create_model("test_vit", num_classes=0)
    mae = MaskedAutoencoder(encoder, 12, 1, 2)
    timm.create_model("test_vit", num_classes=0).load_state_dict(encoder_weights(mae.state_dict()))


def test_another_classifier_is_left_out():
    load_encoder_(vit(num_classes=3), vit(num_classes=7).state_dict())
    load_encoder_(vit(num_classes=0), vit(num_classes=7).state_dict())


def test_a_missing_patch_embedding_raises(state):
    renamed = {name.replace("patch_embed", "embed"): value for name, value in state.items()}
    model = vit()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=r"missing: patch_embed\.proj\.weight, .*without a place: embed\.proj\.weight"):
        load_encoder_(model, renamed)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_another_depth_raises(state):
    with pytest.raises(ValueError, match=r"without a place: blocks\.1\.norm1"):
        load_encoder_(vit(depth=1), state)
    with pytest.raises(ValueError, match=r"missing: blocks\.2\.norm1"):
        load_encoder_(vit(depth=3), state)


def test_another_shape_raises(state):
    with pytest.raises(ValueError, match=r"pos_embed \(1, 5, 16\) instead of \(1, 17, 16\)"):
        load_encoder_(VisionTransformer(16, 4, embed_dim=16, depth=2, num_heads=2), state)
    with pytest.raises(ValueError, match=r"pos_embed \(1, 5, 16\) instead of \(1, 4, 16\)"):
        load_encoder_(vit(class_token=False, global_pool="avg", fc_norm=False), state)


def test_what_is_left_out_is_named(state):
    model = vit(depth=1)
    first = model.patch_embed.proj.weight.clone()
    load_encoder_(model, state, ["patch_embed", "blocks.1"])
    assert torch.equal(model.patch_embed.proj.weight, first)
    assert torch.equal(model.norm.weight, state["encoder.norm.weight"])
    with pytest.raises(ValueError, match=r"leave_out names blocks\.7, which neither"):
        load_encoder_(vit(), state, ["blocks.7"])
    with pytest.raises(ValueError, match=r"leave_out names blocks\.1\.norm, which"):
        load_encoder_(vit(), state, ["blocks.1.norm"])  # not the beginning of norm1
