"""A converted transformer computes what the original computes, and all that cannot be converted is named."""

import copy

import pytest
import timm
import torch
from timm.models import VisionTransformer
from torch import nn

from superpose.layers import RationalMlp
from superpose.vision import KAT, kat_from_vit

SMALL = {"img_size": 16, "patch_size": 4, "embed_dim": 64, "depth": 3, "num_heads": 2, "num_classes": 10}


def _vit(scale=1.0, seed=0, **more):
    """Random weights; `scale` multiplies the inputs of the activations."""
    generator = torch.Generator().manual_seed(seed)
    model = VisionTransformer(**SMALL | more).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                size = parameter[0].numel() ** -0.5 if parameter.shape[0] > 1 else 0.02
                parameter.copy_(size * torch.randn(parameter.shape, generator=generator))
            elif "bias" in name:
                parameter.zero_()
            if "fc1.weight" in name:
                parameter.mul_(scale)
    return model


def _images(rows, size=16):
    return torch.randn(rows, 3, size, size, generator=torch.Generator().manual_seed(1))


def _inputs_of_activations(model, images):
    seen = []
    hooks = [block.mlp.fc1.register_forward_hook(lambda *args: seen.append(args[2].detach())) for block in model.blocks]
    model(images)
    for hook in hooks:
        hook.remove()
    return seen


@pytest.mark.parametrize("calibrated", [False, True])
def test_logits_stay_the_same(calibrated):
    """With inputs of the activations as far as 6, and errors in proportion to that of the activation."""
    model, images = _vit(scale=1.2), _images(64)
    far = max(float(each.abs().max()) for each in _inputs_of_activations(model, images))
    assert 6 < far < 8
    converted = kat_from_vit(model, images=images if calibrated else None)
    with torch.no_grad():
        logits, expected = converted(images), model(images)
    assert (logits - expected).abs().max() < (0.03 if calibrated else 0.04) * expected.std()
    assert (logits - expected).square().mean().sqrt() < 0.01 * expected.std()


def test_higher_degrees_are_a_hundred_times_closer():
    model, images = _vit(), _images(16)
    with torch.no_grad():
        errors = [
            float((kat_from_vit(model, degrees=degrees)(images) - model(images)).abs().max())
            for degrees in ((5, 4), (9, 8))
        ]
    assert errors[1] < errors[0] / 50


def test_identity_comes_first_exactly():
    converted = kat_from_vit(_vit())
    x = torch.linspace(-20, 20, 128).reshape(2, 64)
    assert all(torch.equal(block.mlp.act1(x), x) for block in converted.blocks)


def test_each_block_is_calibrated_to_what_it_sees():
    model, images = _vit(scale=3.0), _images(8)
    converted = kat_from_vit(model, images=images)
    for seen, block in zip(_inputs_of_activations(model, images), converted.blocks, strict=True):
        low, high = block.mlp.act2.fit.interval
        reach = float(seen.max() - seen.min())
        assert low == pytest.approx(float(seen.min()) - 0.1 * reach, rel=1e-5)
        assert high == pytest.approx(float(seen.max()) + 0.1 * reach, rel=1e-5)


@pytest.mark.parametrize("act", [nn.SiLU(inplace=True), nn.GELU("tanh"), nn.ReLU(), nn.Tanh(), nn.PReLU()], ids=repr)
def test_any_activation(act):
    model = _vit()
    for block in model.blocks:
        block.mlp.act = act
    converted = kat_from_vit(model)
    x = torch.linspace(-8, 8, 101, dtype=torch.float64)
    fit = converted.blocks[0].mlp.act2.fit
    assert (fit(x) - act.double()(x.clone()).detach()).abs().max() <= 1.0001 * fit.max_error + 1e-12


def test_the_input_stays_as_it_was():
    model = _vit().train()
    model.blocks[1].eval()
    modes = [module.training for module in model.modules()]
    state = copy.deepcopy(model.state_dict())
    random = torch.random.get_rng_state()
    converted = kat_from_vit(model, images=_images(2))
    assert torch.equal(torch.random.get_rng_state(), random)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())
    assert (converted.blocks[0].mlp.training, converted.blocks[1].mlp.training) == (True, False)
    assert not set(map(id, converted.parameters())) & set(map(id, model.parameters()))


def test_what_surrounds_the_mlps_is_kept():
    more = {"proj_drop_rate": 0.1, "drop_path_rate": 0.2, "reg_tokens": 2, "init_values": 1e-2, "qk_norm": True}
    model = _vit(class_token=False, global_pool="avg", dynamic_img_size=True, **more)
    model.blocks[0].mlp.fc1.weight.requires_grad_(requires_grad=False)
    converted = kat_from_vit(model, groups=4)
    assert [type(block.drop_path1) for block in converted.blocks] == [type(block.drop_path1) for block in model.blocks]
    assert converted.blocks[0].mlp.drop1.p == converted.blocks[0].mlp.drop2.p == 0.1
    assert not converted.blocks[0].mlp.fc1.weight.requires_grad
    assert isinstance(converted.blocks[0].mlp, RationalMlp)
    with torch.no_grad():
        images = _images(2, 24)
        torch.testing.assert_close(converted(images), model(images), atol=0.02, rtol=0)


def test_the_state_dict_fits_a_kat():
    converted = kat_from_vit(_vit())
    kat = KAT(**SMALL).eval()
    kat.load_state_dict(converted.state_dict(), strict=True)
    assert torch.equal(kat(_images(2)), converted(_images(2)))


def test_it_learns():
    converted = kat_from_vit(_vit()).train()
    converted(_images(2)).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in converted.parameters())


def test_a_distilled_model_and_half_precision():
    model = timm.create_model("deit_tiny_distilled_patch16_224", img_size=32, embed_dim=48, depth=1).eval()
    with torch.no_grad():
        torch.testing.assert_close(kat_from_vit(model)(_images(2, 32)), model(_images(2, 32)), atol=0.01, rtol=0)
    converted = kat_from_vit(model.bfloat16())
    assert {parameter.dtype for parameter in converted.parameters()} == {torch.bfloat16}
    assert converted(_images(1, 32).bfloat16()).isfinite().all()


def test_what_cannot_be_converted_is_named():
    small = {"img_size": 32, "depth": 1, "embed_dim": 48, "num_heads": 3}
    with pytest.raises(TypeError, match="only timm's VisionTransformer can be converted, got ResNet"):
        kat_from_vit(timm.create_model("resnet10t"))
    with pytest.raises(TypeError, match="got Eva"):
        kat_from_vit(timm.create_model("eva02_tiny_patch14_224", depth=1))
    with pytest.raises(TypeError, match="block 0 has a GluMlp; only plain MLPs"):
        kat_from_vit(VisionTransformer(**small, mlp_layer=timm.layers.SwiGLUPacked))
    with pytest.raises(TypeError, match="no MLP in a ParallelScalingBlock"):
        block = timm.models.vision_transformer.ParallelScalingBlock
        kat_from_vit(VisionTransformer(**small, block_fn=block))
    with pytest.raises(TypeError, match=r"block 0 has a Mlp; only plain MLPs .* without gates or norms"):
        kat_from_vit(VisionTransformer(**small, scale_mlp_norm=True))
    with pytest.raises(TypeError, match="block 0 has a RationalMlp"):
        kat_from_vit(kat_from_vit(_vit()))
    with pytest.raises(ValueError, match="not finite on these images"):
        kat_from_vit(_vit(), images=_images(1) * torch.inf)
