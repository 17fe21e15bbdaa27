"""The models against a plain restatement of the published architecture, and everything that timm expects of them."""

import math

import numpy as np
import pytest
import timm
import torch
from torch import nn
from torchvision.models.feature_extraction import create_feature_extractor

from superpose.layers import RationalMlp, rational_fit
from superpose.vision import KAT
from superpose.vision.kat import checkpoint_filter_fn
from superpose.vision.mimetic import start_mimetic_

SMALL = {"img_size": 32, "embed_dim": 64, "depth": 2, "num_heads": 2, "num_classes": 10}


def _published_shapes(d=192, classes=1000, depth=12):
    """The state dict of the published weights, written out."""
    block = {
        "norm1.weight": (d,),
        "norm1.bias": (d,),
        "attn.qkv.weight": (3 * d, d),
        "attn.qkv.bias": (3 * d,),
        "attn.proj.weight": (d, d),
        "attn.proj.bias": (d,),
        "norm2.weight": (d,),
        "norm2.bias": (d,),
        "mlp.fc1.weight": (4 * d, d),
        "mlp.fc1.bias": (4 * d,),
        "mlp.act1.weight_numerator": (1, 6),
        "mlp.act1.weight_denominator": (8, 4),
        "mlp.act2.weight_numerator": (1, 6),
        "mlp.act2.weight_denominator": (8, 4),
        "mlp.fc2.weight": (d, 4 * d),
        "mlp.fc2.bias": (d,),
    }
    outside = {
        "cls_token": (1, 1, d),
        "pos_embed": (1, 197, d),
        "patch_embed.proj.weight": (d, 3, 16, 16),
        "patch_embed.proj.bias": (d,),
        "norm.weight": (d,),
        "norm.bias": (d,),
        "head.weight": (classes, d),
        "head.bias": (classes,),
    }
    return outside | {f"blocks.{i}.{name}": shape for i in range(depth) for name, shape in block.items()}


def _random_state(shapes, seed=0):
    """Weights of a size that keeps a deep network alive, coefficients that are far from any start."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in shapes.items():
        value = torch.randn(shape, generator=generator, dtype=torch.float64)
        if name.endswith("numerator"):
            value = value * torch.tensor([0.3, 0.5, 0.2, 0.1, 0.02, 0.005], dtype=torch.float64)
        elif name.endswith("denominator"):
            value = value * torch.tensor([0.3, 0.2, 0.1, 0.05], dtype=torch.float64)
        elif "norm" in name:
            value = 1 + 0.1 * value
        elif len(shape) > 1 and shape[0] > 1:
            value = value / math.sqrt(math.prod(shape[1:]))
        state[name] = value
    return state


def _published_forward(state, images, heads, depth=12):
    """The forward pass as the paper and its code have it, from the formulas alone."""

    def linear(x, name):
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    def norm(x, name):
        centred = x - x.mean(-1, keepdim=True)
        scale = torch.sqrt(centred.square().mean(-1, keepdim=True) + 1e-6)
        return centred / scale * state[f"{name}.weight"] + state[f"{name}.bias"]

    def activation(x, name):
        a, b = state[f"{name}.weight_numerator"][0], state[f"{name}.weight_denominator"]
        parts = []
        for group, part in enumerate(x.chunk(8, -1)):
            p = sum(a[i] * part**i for i in range(6))
            q = 1 + sum(b[group, j - 1].abs() * part.abs() ** j for j in range(1, 5))
            parts.append(p / q)
        return torch.cat(parts, -1)

    batch, _, height, width = images.shape
    patches = (
        images.reshape(batch, 3, height // 16, 16, width // 16, 16).permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)
    )
    x = patches @ state["patch_embed.proj.weight"].flatten(1).T + state["patch_embed.proj.bias"]
    x = torch.cat([state["cls_token"].expand(batch, -1, -1), x], 1) + state["pos_embed"]
    d = x.shape[-1] // heads
    for i in range(depth):
        q, k, v = linear(norm(x, f"blocks.{i}.norm1"), f"blocks.{i}.attn.qkv").chunk(3, -1)
        mixed = []
        for head in range(heads):
            part = slice(head * d, (head + 1) * d)
            weights = torch.softmax(q[..., part] @ k[..., part].mT / math.sqrt(d), -1)
            mixed.append(weights @ v[..., part])
        x = x + linear(torch.cat(mixed, -1), f"blocks.{i}.attn.proj")
        y = norm(x, f"blocks.{i}.norm2")
        y = linear(activation(y, f"blocks.{i}.mlp.act1"), f"blocks.{i}.mlp.fc1")
        x = x + linear(activation(y, f"blocks.{i}.mlp.act2"), f"blocks.{i}.mlp.fc2")
    return linear(norm(x, "norm")[:, 0], "head")


@pytest.fixture(scope="module")
def tiny():
    return timm.create_model("kat_tiny_patch16_224", dtype=torch.float64).eval()


@pytest.fixture
def small():
    return KAT(**SMALL).eval()


def _images(*shape, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=dtype)


def test_state_dict_of_the_tiny_model(tiny):
    shapes = {name: tuple(value.shape) for name, value in tiny.state_dict().items()}
    assert shapes == _published_shapes()
    assert len(shapes) == 200
    assert sum(parameter.numel() for parameter in tiny.parameters()) == 5_718_328


@pytest.mark.parametrize(("name", "dim", "millions"), [("small", 384, 22.1), ("base", 768, 86.6)])
def test_state_dicts_of_the_larger_models(name, dim, millions):
    model = timm.create_model(f"kat_{name}_patch16_224", device="meta")
    assert {key: tuple(value.shape) for key, value in model.state_dict().items()} == _published_shapes(dim)
    assert sum(parameter.numel() for parameter in model.parameters()) / 1e6 == pytest.approx(millions, abs=0.05)


def test_logits_of_the_published_architecture(tiny):
    state = _random_state(_published_shapes())
    tiny.load_state_dict(state, strict=True)
    images = _images(2, 3, 224, 224, dtype=torch.float64)
    with torch.no_grad():
        logits = tiny(images)
    expected = _published_forward(state, images, heads=3)
    assert expected.std() > 0.1
    torch.testing.assert_close(logits, expected, atol=1e-9, rtol=1e-9)


def test_registered_with_their_weights():
    assert timm.list_models("kat_*") == ["kat_base_patch16_224", "kat_small_patch16_224", "kat_tiny_patch16_224"]
    assert set(timm.list_pretrained("kat_tiny*")) == {
        "kat_tiny_patch16_224.in1k",
        "kat_tiny_patch16_224.vitft_in1k",
    }
    config = timm.get_pretrained_cfg("kat_small_patch16_224.vitft_in1k")
    assert config.hf_hub_id == "adamdad/kat_small_patch16_224.vitft"
    assert (config.license, config.crop_pct, config.mean) == ("apache-2.0", 0.875, (0.485, 0.456, 0.406))
    assert timm.get_pretrained_cfg("kat_tiny_patch16_224").tag == "in1k"


def test_features_only_and_intermediates():
    model = timm.create_model(
        "kat_tiny_patch16_224", img_size=64, embed_dim=48, depth=4, features_only=True, out_indices=(1, 3)
    )
    maps = model(_images(2, 3, 64, 64))
    assert [tuple(each.shape) for each in maps] == [(2, 48, 4, 4)] * 2
    assert model.feature_info.channels() == [48, 48]
    assert model.feature_info.reduction() == [16, 16]


def test_intermediates_end_where_features_end(small):
    last, maps = small.forward_intermediates(_images(2, 3, 32, 32), indices=1, norm=True, output_fmt="NLC")
    torch.testing.assert_close(maps[0], last[:, 1:])
    torch.testing.assert_close(last, small.forward_features(_images(2, 3, 32, 32)))


def test_layer_decay_sees_the_coefficients_in_their_blocks(small):
    from timm.optim import create_optimizer_v2

    optimizer = create_optimizer_v2(small, opt="adamw", lr=1e-3, weight_decay=0.05, layer_decay=0.5)
    scale = {id(p): group["lr_scale"] for group in optimizer.param_groups for p in group["params"]}
    assert len(scale) == len(list(small.parameters()))
    blocks = [{scale[id(p)] for p in block.mlp.parameters()} for block in small.blocks]
    assert [len(each) for each in blocks] == [1, 1]
    assert blocks[1].pop() == pytest.approx(2 * blocks[0].pop())
    assert {"pos_embed", "cls_token"} <= small.no_weight_decay()


def test_gradient_checkpointing_changes_nothing(small):
    images = _images(2, 3, 32, 32)
    small.train()(images).square().sum().backward()
    expected = {name: parameter.grad.clone() for name, parameter in small.named_parameters()}
    small.zero_grad()
    small.set_grad_checkpointing()
    small(images).square().sum().backward()
    for name, parameter in small.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name])
        assert parameter.grad.abs().sum() > 0


def test_other_image_sizes_and_heads(small):
    dynamic = KAT(**SMALL, dynamic_img_size=True).eval()
    dynamic.load_state_dict(small.state_dict())
    torch.testing.assert_close(dynamic(_images(2, 3, 32, 32)), small(_images(2, 3, 32, 32)))
    assert dynamic(_images(2, 3, 48, 64)).shape == (2, 10)
    small.set_input_size(img_size=(48, 64))
    small.reset_classifier(3, "avg")
    assert small(_images(2, 3, 48, 64)).shape == (2, 3)
    assert KAT(**SMALL, global_pool="map")(_images(1, 3, 32, 32)).shape == (1, 10)


def test_compile_of_the_model(small):
    compiled = torch.compile(small, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(_images(2, 3, 32, 32)), small(_images(2, 3, 32, 32)))


@pytest.mark.parametrize("wrapper", ["", "module.", "_orig_mod.", "_orig_mod.module."])
@pytest.mark.parametrize("holder", [None, "state_dict", "state_dict_ema", "model_ema", "model"])
def test_checkpoints_of_others_are_read(small, wrapper, holder):
    flash = {
        wrapper + name.replace("weight_numerator", "numerator_v").replace("weight_denominator", "denominator_v"): value
        for name, value in small.state_dict().items()
    }
    checkpoint = flash if holder is None else {holder: flash, "epoch": 3}
    if holder == "state_dict_ema":
        checkpoint["state_dict"] = {"wrong": torch.zeros(1)}
    other = KAT(**SMALL).eval()
    other.load_state_dict(checkpoint_filter_fn(checkpoint, other), strict=True)
    torch.testing.assert_close(other(_images(2, 3, 32, 32)), small(_images(2, 3, 32, 32)))


def test_a_file_is_loaded_by_timm_and_resampled(tmp_path, small):
    torch.save({"state_dict": small.state_dict()}, tmp_path / "small.pth")
    options = {name: SMALL[name] for name in ("embed_dim", "depth", "num_heads")}
    model = timm.create_model(
        "kat_tiny_patch16_224",
        pretrained=True,
        pretrained_cfg_overlay={"file": str(tmp_path / "small.pth"), "input_size": (3, 32, 32), "num_classes": 10},
        img_size=48,
        num_classes=3,
        **options,
    )
    assert model(_images(1, 3, 48, 48)).shape == (1, 3)
    assert torch.equal(model.blocks[1].mlp.fc2.weight, small.blocks[1].mlp.fc2.weight)
    assert torch.equal(model.pos_embed[:, 0], small.pos_embed[:, 0])
    assert model.pos_embed.shape == (1, 10, 64)


def test_weights_of_googles_vit_are_loaded(tmp_path):
    """The layout of the AugReg archives, with random numbers."""
    rng = np.random.default_rng(0)
    d, heads, width = 64, 2, 32
    arrays = {
        "embedding/kernel": (16, 16, 3, d),
        "embedding/bias": (d,),
        "cls": (1, 1, d),
        "Transformer/posembed_input/pos_embedding": (1, 5, d),
        "Transformer/encoder_norm/scale": (d,),
        "Transformer/encoder_norm/bias": (d,),
        "head/kernel": (d, 10),
        "head/bias": (10,),
    }
    for i in range(2):
        place = f"Transformer/encoderblock_{i}"
        for norm in ("LayerNorm_0", "LayerNorm_2"):
            arrays |= {f"{place}/{norm}/scale": (d,), f"{place}/{norm}/bias": (d,)}
        attention = f"{place}/MultiHeadDotProductAttention_1"
        for name in ("query", "key", "value"):
            arrays |= {f"{attention}/{name}/kernel": (d, heads, width), f"{attention}/{name}/bias": (heads, width)}
        arrays |= {f"{attention}/out/kernel": (heads, width, d), f"{attention}/out/bias": (d,)}
        arrays |= {f"{place}/MlpBlock_3/Dense_0/kernel": (d, 4 * d), f"{place}/MlpBlock_3/Dense_0/bias": (4 * d,)}
        arrays |= {f"{place}/MlpBlock_3/Dense_1/kernel": (4 * d, d), f"{place}/MlpBlock_3/Dense_1/bias": (d,)}
    arrays = {name: rng.normal(size=shape).astype(np.float32) for name, shape in arrays.items()}
    np.savez(tmp_path / "vit.npz", **arrays)
    model = KAT(**SMALL)
    before = model.blocks[0].mlp.act2.weight_numerator.clone()
    model.load_pretrained(str(tmp_path / "vit.npz"))
    kernel = torch.from_numpy(arrays["Transformer/encoderblock_1/MlpBlock_3/Dense_0/kernel"])
    assert torch.equal(model.blocks[1].mlp.fc1.weight, kernel.T)
    assert torch.equal(model.head.bias, torch.from_numpy(arrays["head/bias"]))
    assert torch.equal(model.blocks[0].mlp.act2.weight_numerator, before)


@pytest.mark.parametrize("mode", ["", "skip", "reset", "jax", "jax_nlhb", "moco", "variance_preserving", "kat_release"])
def test_every_init_starts_and_can_be_repeated(mode):
    with torch.random.fork_rng():
        torch.random.default_generator.manual_seed(0)
        model = KAT(**SMALL, weight_init=mode)
        drawn = {name: value.clone() for name, value in model.state_dict().items()}
        torch.random.default_generator.manual_seed(1)
        model.init_weights()
        first = {name: value.clone() for name, value in model.state_dict().items()}
        torch.random.default_generator.manual_seed(1)
        model.init_weights()
    for name, value in model.state_dict().items():
        assert torch.equal(value, first[name])
        if "norm" not in name and "weight_" not in name and value.numel() >= 64:  # of fewer numbers chance decides
            spread = value.std(), drawn[name].std()
            assert mode == "skip" or spread[0] == pytest.approx(float(spread[1]), rel=0.3, abs=1e-5), name
    assert model.blocks[0].mlp.act2.fit.name == "silu"
    torch.testing.assert_close(model.blocks[0].mlp.act1(_images(2, 64)), _images(2, 64))


def test_standard_deviations_of_our_inits():
    paper = KAT(**SMALL, weight_init="variance_preserving").blocks[0].mlp
    assert float(paper.fc1.weight.detach().std()) == pytest.approx(1 / 8, rel=0.03)
    assert float(paper.fc2.weight.detach().std()) == pytest.approx(math.sqrt(2.81 / 256), rel=0.03)
    release = KAT(**SMALL, weight_init="kat_release")
    for linear in (release.blocks[0].mlp.fc1, release.blocks[1].mlp.fc2, release.head):
        assert float(linear.weight.detach().std()) == pytest.approx(0.02, rel=0.1)
    # Scaled by depth after the draw: the second block by sqrt(4).
    scaled = KAT(**SMALL, weight_init="variance_preserving", fix_init=True).blocks[1].mlp
    assert float(scaled.fc2.weight.detach().std()) == pytest.approx(math.sqrt(2.81 / 256) / 2, rel=0.03)


def test_mimetic_attention(generator):
    """Products are what the rule says: near 0.7 I, of the rank of a head; values times output near -0.4 I."""
    attention = timm.layers.Attention(64, 4, qkv_bias=True)
    start_mimetic_(attention, generator)
    query, key, value = attention.qkv.weight.detach().chunk(3)
    noise = torch.empty(5, 64, 64).uniform_(-math.sqrt(3 / 64), math.sqrt(3 / 64), generator=generator.manual_seed(0))
    for head in range(4):
        rows = slice(16 * head, 16 * head + 16)
        target = 0.7 * noise[head] + 0.7 * torch.eye(64)
        product = query[rows].T @ key[rows]
        left, values, right = np.linalg.svd(target.double().numpy())
        best = (left[:, :16] * values[:16]) @ right[:16]
        np.testing.assert_allclose(product.numpy(), best, atol=1e-4)
    target = 0.4 * noise[4] - 0.4 * torch.eye(64)
    torch.testing.assert_close(value @ attention.proj.weight.detach(), target, atol=1e-4, rtol=0)
    assert not attention.qkv.bias.any()


def test_meta_device_and_half_precision():
    model = KAT(**SMALL, device="meta", dtype=torch.bfloat16, weight_init="kat_release")
    assert {(p.device.type, p.dtype) for p in model.parameters()} == {("meta", torch.bfloat16)}
    model.to_empty(device="cpu").init_weights()
    logits = model(_images(2, 3, 32, 32).bfloat16())
    assert logits.dtype == torch.bfloat16
    assert logits.isfinite().all()


def test_options_reach_the_mlps():
    model = KAT(**SMALL, activations=("silu", "gelu"), groups=4, degrees=(3, 2), form="abs_sum", proj_drop_rate=0.1)
    mlp = model.blocks[0].mlp
    assert isinstance(mlp, RationalMlp)
    assert (mlp.act1.fit.name, mlp.act2.fit.name, mlp.act2.groups, mlp.act2.form) == ("silu", "gelu", 4, "abs_sum")
    assert mlp.drop1.p == mlp.drop2.p == 0.1


def test_bad_requests_are_explained():
    with pytest.raises(ValueError, match="give activations="):
        KAT(**SMALL, act_layer=nn.ReLU)
    with pytest.raises(ValueError, match="no norm between its layers"):
        KAT(**SMALL, scale_mlp_norm=True)
    with pytest.raises(TypeError, match="mimetic initialisation is for timm's Attention, got DiffAttention"):
        KAT(**SMALL, attn_layer="diff", weight_init="kat_release")
    with pytest.raises(ValueError, match="as wide as the tokens together, got 2 x 16"):
        start_mimetic_(timm.layers.Attention(64, 2, attn_head_dim=16))


def test_it_is_made_where_the_default_device_says():
    """The fits of its activations are made on the CPU all the same, whoever has asked first."""
    rational_fit._named.cache_clear()
    with torch.device("meta"):
        model = timm.create_model("kat_tiny_patch16_224", **SMALL)
    assert all(value.is_meta for value in (*model.parameters(), *model.buffers()))
    model.to_empty(device="cpu")
    with torch.no_grad():
        for value in (*model.parameters(), *model.buffers()):
            value.fill_(float("nan"))
    model.init_weights(needs_reset=True)
    assert model(torch.zeros(1, 3, 32, 32)).isfinite().all()


@pytest.mark.as_shipped
def test_symbolic_tracing_as_torchvision_does_it():
    """Its feature extraction works on timm's ViTs, and so it does here."""
    model = timm.create_model("kat_tiny_patch16_224", **SMALL).eval()
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    traced = create_feature_extractor(model, ["blocks.0.mlp", "head"])
    found = traced(x)
    assert torch.equal(found["head"], model(x))
    assert found["blocks.0.mlp"].shape == (2, 5, 64)
