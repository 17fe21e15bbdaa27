"""The weights times the values are what the layer gives; entropy and distances are SciPy's."""

import copy

import numpy as np
import pytest
import scipy.stats
import torch
from scipy.spatial.distance import jensenshannon
from timm.layers import Attention
from timm.models.vision_transformer import DiffParallelScalingBlock, VisionTransformer
from torch import nn

from superpose.layers import KernelAttention
from superpose.layers.kernels import GaussianKernel
from superpose.vision.attention_maps import attention_maps, attention_weights, entropy, head_distances
from superpose.vision.kernel_vit import KINDS, attention_layer, blocks_with

LAYERS = {
    **{kind: attention_layer(kind) for kind in KINDS},
    "timm, all options": attention_layer(
        {"kind": "softmax", "qk_norm": True, "scale_norm": True, "gated": True, "norm_layer": nn.LayerNorm}
    ),
    "kernel": attention_layer(
        lambda *a, **o: KernelAttention(*a, **o, kernel=GaussianKernel(), weights="ones", normalize="kernel")
    ),
    "sigmoid": attention_layer(
        lambda *a, **o: KernelAttention(*a, **o, weights=2, normalize="sigmoid", tie_qk=False, value="proj")
    ),
}
MASKS = {
    "none": {},
    "causal": {"is_causal": True},
    "mask": {"attn_mask": torch.ones(6, 6, dtype=torch.bool).tril(2)},
    "bias": {"attn_mask": torch.arange(36.0, dtype=torch.float64).view(6, 6).sin()},
}


def _made(kind, dim=16, heads=2):
    with torch.random.fork_rng():
        torch.default_generator.manual_seed(1)
        layer = LAYERS[kind](dim, num_heads=heads).double().eval()
        for p in layer.parameters():
            nn.init.normal_(p) if p.ndim > 1 else None
        return layer, torch.randn(3, 6, dim, dtype=torch.float64)


def _output(layer, x, weights):
    """What the layer should give, one query and one head after the other."""
    if isinstance(layer, Attention):
        v = layer.qkv(x)[..., -layer.attn_dim :].reshape(*x.shape[:2], layer.num_heads, layer.head_dim)
    else:
        v = layer.heads(x)[2]
    out = torch.zeros(*x.shape[:2], layer.num_heads, layer.head_dim, dtype=x.dtype)
    for query in range(x.shape[1]):
        for head in range(layer.num_heads):
            for key in range(x.shape[1]):
                out[:, query, head] += weights[:, head, query, key, None] * v[:, key, head]
    out = layer.norm(out.flatten(2))
    if getattr(layer, "gate", None) is not None:
        out = out * layer.gate(x).sigmoid()
    return layer.proj(out)


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("kind", LAYERS)
@torch.no_grad()
def test_weights_times_values_are_the_output(kind, mask):
    layer, x = _made(kind)
    weights = attention_weights(layer, x, **MASKS[mask])
    torch.testing.assert_close(_output(layer, x, weights), layer(x, **MASKS[mask]), rtol=1e-9, atol=1e-9)
    assert (weights >= 0).all()
    if kind != "sigmoid":
        torch.testing.assert_close(weights.sum(-1), torch.ones(3, 2, 6, dtype=torch.float64))


def _model(kinds=("softmax", "gaussian_mhsa"), **options):
    with torch.random.fork_rng():
        torch.default_generator.manual_seed(2)
        shape = {"img_size": 16, "patch_size": 4, "embed_dim": 16, "depth": len(kinds), "num_heads": 2}
        model = VisionTransformer(**shape, block_fn=blocks_with(list(kinds), len(kinds)), **options)
        return model, torch.randn(2, 3, 16, 16)


def test_every_layer_of_a_model_which_stays_as_it_was():
    model, images = _model(reg_tokens=1)
    model.train()
    model.blocks[0].eval()
    before = copy.deepcopy(model.state_dict())
    maps = attention_maps(model, images)
    assert model.training
    assert not model.blocks[0].training
    assert model.blocks[1].training
    assert not any(module._forward_pre_hooks for module in model.modules())
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
    assert (maps.grid, maps.prefix, maps.class_token) == ((4, 4), 2, True)
    assert {name: weights.shape for name, weights in maps.weights.items()} == {
        "blocks.0.attn": (2, 2, 18, 18),
        "blocks.1.attn": (2, 2, 18, 18),
    }
    with torch.no_grad():  # the second block's input, by timm's own means
        model.eval()
        x = model.forward_intermediates(images, indices=[0], return_prefix_tokens=True, intermediates_only=True)
        patches, prefix = x[0]
        tokens = torch.cat([prefix, patches.flatten(2).mT], 1)
        expected = attention_weights(model.blocks[1].attn, model.blocks[1].norm1(tokens))
    torch.testing.assert_close(maps.weights["blocks.1.attn"], expected)


def test_maps_are_multiples_of_even_attention_in_the_places_of_the_patches():
    model, images = _model()
    maps = attention_maps(model, images)
    weights = maps.weights["blocks.0.attn"]
    cls = maps.of("blocks.0.attn")
    for row in range(4):
        for column in range(4):
            torch.testing.assert_close(cls[1, 0, row, column], 17 * weights[1, 0, 0, 1 + 4 * row + column])
    tokens = [maps.of("blocks.0.attn", n) for n in range(17)]
    assert torch.equal(tokens[0], cls)
    torch.testing.assert_close(maps.of("blocks.0.attn", "mean"), torch.stack(tokens).mean(0))
    torch.testing.assert_close(maps.entropies("blocks.0.attn", 5), entropy(weights)[:, :, 5])
    torch.testing.assert_close(maps.entropies("blocks.0.attn", "mean"), entropy(weights).mean(2))


def test_wrong_questions_raise():
    model, images = _model(class_token=False, global_pool="avg")
    maps = attention_maps(model, images)
    assert maps.prefix == 0
    with pytest.raises(ValueError, match=r"no layer is called 'head'; there are blocks\.0\.attn"):
        maps.of("head")
    with pytest.raises(ValueError, match="has no class token; choose query='mean'"):
        maps.of("blocks.0.attn")
    for wrong in (16, -1, True, "patch"):
        with pytest.raises(ValueError, match="it should be class, mean, or a token from 0 to 15"):
            maps.of("blocks.0.attn", wrong)


def test_entropy_is_that_of_scipy_as_a_share(generator):
    weights = torch.rand(2, 3, 5, 7, generator=generator, dtype=torch.float64) ** 8
    expected = scipy.stats.entropy(weights.numpy(), axis=-1) / np.log(7)
    np.testing.assert_allclose(entropy(weights), expected, rtol=1e-12)
    torch.testing.assert_close(entropy(torch.ones(1, 1, 1, 7)), torch.ones(1, 1, 1))
    assert entropy(torch.eye(7)[None, None]).abs().max() == 0


def test_distances_are_those_of_scipy(generator, monkeypatch):
    made = {
        name: torch.rand(2, h, 4, 5, generator=generator, dtype=torch.float64) ** 4 for name, h in (("a", 2), ("b", 3))
    }
    distances = head_distances(made)
    heads = torch.cat(list(made.values()), 1).numpy()
    for one in range(5):
        for other in range(5):
            expected = jensenshannon(heads[:, one], heads[:, other], base=2, axis=-1).mean()
            np.testing.assert_allclose(distances[one, other], expected, atol=1e-7)
    monkeypatch.setattr("superpose.vision.attention_maps.BLOCK", 1)
    torch.testing.assert_close(head_distances(made), distances)
    apart = head_distances({"a": torch.eye(4).reshape(1, 1, 4, 4), "b": torch.eye(4).roll(1, 0).reshape(1, 1, 4, 4)})
    torch.testing.assert_close(apart, 1 - torch.eye(2))


def test_what_is_not_known_raises():
    with pytest.raises(TypeError, match="model must be a VisionTransformer of timm, got Linear"):
        attention_maps(nn.Linear(2, 2), torch.zeros(1, 3, 16, 16))
    other = VisionTransformer(16, 4, embed_dim=16, depth=1, num_heads=2, block_fn=DiffParallelScalingBlock)
    with pytest.raises(TypeError, match="block 0 is a DiffParallelScalingBlock with"):
        attention_maps(other, torch.zeros(1, 3, 16, 16))
    with pytest.raises(TypeError, match="the weights of Linear are not known"):
        attention_weights(nn.Linear(2, 2), torch.zeros(1, 3, 2))
    with pytest.raises(ValueError, match=r"the layers' weights are: a \(1, 1, 2, 2\), b \(1, 1, 3, 3\)"):
        head_distances({"a": torch.ones(1, 1, 2, 2), "b": torch.ones(1, 1, 3, 3)})
