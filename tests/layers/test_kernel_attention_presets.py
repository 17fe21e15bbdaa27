"""The published layers: their numbers of parameters, their formulas, what they do, and timm around them."""

import math
from functools import partial

import pytest
import timm
import torch
import torch.nn.functional as F
from timm.layers.attention import Attention
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from superpose.layers import KernelAttention, attention_class

COUNTS = {
    "standard": (partial(KernelAttention.standard, qkv_bias=True), 263_168, 148_224, 16_640),
    "semi": (KernelAttention.semi_fusion, 147_712, 83_136, 9_280),
    "param": (KernelAttention.param_fusion, 139_776, 78_720, 8_832),
    "gaussian": (partial(KernelAttention.gaussian_mhsa, paper_compat=True), 131_648, 74_160, 8_336),
    "spline": (partial(KernelAttention.spline_mhsa, paper_compat=True), 131_584, 74_112, 8_320),
}
PRESETS = ["standard", "semi_fusion", "param_fusion", "gaussian_mhsa", "spline_mhsa", "full_vector_gaussian", "gka"]


def tokens(generator, batch=2, count=6, dim=32):
    return torch.randn(batch, count, dim, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("name", list(COUNTS))
def test_numbers_of_parameters_are_those_published(name):
    factory, *expected = COUNTS[name]
    found = [sum(p.numel() for p in factory(dim, 8).parameters()) for dim in (256, 192, 64)]
    assert found == expected


def test_standard_is_timms_attention(generator):
    ours = KernelAttention.standard(32, 4, qkv_bias=True, qk_norm=True, norm_layer=nn.LayerNorm).double()
    theirs = Attention(32, 4, qkv_bias=True, qk_norm=True, norm_layer=nn.LayerNorm).double()
    ours.load_state_dict(theirs.state_dict())
    x = tokens(generator)
    for given in ({}, {"is_causal": True}, {"attn_mask": torch.rand(6, 6, generator=generator) > 0.2}):
        torch.testing.assert_close(ours(x, **given), theirs(x, **given), rtol=1e-10, atol=1e-10, equal_nan=True)


def test_published_gaussian_attention(generator):
    """All pairs of normalised coordinates, the affine map of the heads' norm included, softmax, values as they are."""
    layer = KernelAttention.gaussian_mhsa(32, 4, paper_compat=True).double()
    with torch.no_grad():
        layer.q_norm.weight.uniform_(0.8, 1.2, generator=generator)
        layer.q_norm.bias.uniform_(-0.2, 0.2, generator=generator)
    x = tokens(generator)
    z = F.layer_norm(layer.qkv(x).view(2, 6, 4, 8), (8,), layer.q_norm.weight, layer.q_norm.bias)
    pairs = torch.exp(-((z[:, :, None, :, :, None] - z[:, None, :, :, None, :]) ** 2) / 2)
    weights = (pairs.sum((-1, -2)) / 8).softmax(2)
    expected = layer.proj(torch.einsum("bsrh,brhd->bshd", weights, z).flatten(2))
    torch.testing.assert_close(layer(x), expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize(
    ("dim", "sigma", "entropy", "deviation"),
    [(8, 1, 0.9985, 0.095), (8, 2, 0.99995, 0.021), (8, 0.25, 0.990, 0.26), (32, 1, 0.993, 0.224), (32, 0.5, 0.988, 0.294), (32, 2, 0.9994, 0.067)],
)  # fmt: skip
def test_published_gaussian_attention_is_nearly_even(dim, sigma, entropy, deviation, generator):
    """Normalised entropy and deviation of the logits over 65 random tokens, as found in the published code."""
    layer = KernelAttention.gaussian_mhsa(dim, 1, sigma=sigma, paper_compat=True).double()
    z = F.layer_norm(torch.randn(40, 65, 1, dim, generator=generator, dtype=torch.float64), (dim,))
    left, right = layer.features(z, z)
    logits = layer.scale * torch.einsum("bshf,brhf->bsr", left, right).detach()
    weights = logits.softmax(-1)
    found = float(-(weights * weights.log()).sum(-1).mean() / math.log(65))
    assert 1 - found == pytest.approx(1 - entropy, rel=0.35)
    assert float(logits.std(-1).mean()) == pytest.approx(deviation, rel=0.2)


def test_published_spline_attention_is_even(generator):
    layer = KernelAttention.spline_mhsa(64, 2, paper_compat=True).double()
    q = (3 * torch.randn(4, 65, 2, 32, generator=generator, dtype=torch.float64)).softmax(-1)
    left, right = layer.features(q, q)
    weights = (layer.scale * torch.einsum("bshf,brhf->bhsr", left, right)).softmax(-1)
    assert float(weights.max().detach()) * 65 < 1.02


@pytest.mark.parametrize("preset", ["full_vector_gaussian", "gka"])
def test_whole_vectors_against_the_naive_distance(preset, generator):
    layer = getattr(KernelAttention, preset)(32, 4).double()
    with torch.no_grad():
        layer.kernel.logarithm.uniform_(-0.5, 0.5, generator=generator)
    x = (3 + tokens(generator)).requires_grad_()  # away from zero, where norms are large
    q, k, v = layer.heads(x)
    distance = (q[:, :, None] - k[:, None]).square().sum(-1)  # (batch, queries, keys, heads)
    weights = (-distance / (2 * layer.kernel.sigma**2)).softmax(2)
    expected = layer.proj(torch.einsum("bsrh,brhd->bshd", weights, v).flatten(2))
    ours = layer(x)
    torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-9)
    inputs = [x, layer.kernel.logarithm]
    mine, theirs = (torch.autograd.grad(each.sin().sum(), inputs) for each in (ours, expected))
    torch.testing.assert_close(mine, theirs, rtol=1e-8, atol=1e-8)


def test_whole_vectors_in_bfloat16_keep_the_norm_in_two_columns(generator):
    layer = KernelAttention.gka(32, 1, sigma=1.0)
    q = 2 * torch.randn(1, 65, 1, 32, generator=generator)
    left, right = (each.detach() for each in layer.features(q, q))

    def logits(left, right):
        scores = torch.einsum("bshf,brhf->bsr", left.double(), right.double())
        return scores - scores.mean(-1, keepdim=True)

    exact = logits(left, right)
    together = torch.cat([right[..., :-2], right[..., -2:].sum(-1, keepdim=True), right[..., -1:] * 0], -1)
    queries = left  # rounded queries and keys err anyway; what is tested are the norms
    error = [
        float((logits(queries, torch.cat([r[..., :-2], r[..., -2:].bfloat16().float()], -1)) - exact).abs().max())
        for r in (right, together)
    ]
    assert error[0] < 2e-3 < 5e-2 < error[1]


def test_gka_has_no_projection_but_the_last():
    layer = KernelAttention.gka(32, 4)
    assert {name for name, _ in layer.named_parameters()} == {"kernel.logarithm", "proj.weight", "proj.bias"}


@pytest.mark.parametrize("preset", PRESETS)
def test_timm_takes_every_preset(preset):
    model = VisionTransformer(
        img_size=16, patch_size=8, embed_dim=32, depth=2, num_heads=4, num_classes=3,
        attn_layer=attention_class(getattr(KernelAttention, preset)), attn_drop_rate=0.1, proj_drop_rate=0.1,
    )  # fmt: skip
    assert all(type(block.attn) is KernelAttention for block in model.blocks)
    model(torch.randn(2, 3, 16, 16)).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)


def test_timm_takes_the_class_itself_and_options():
    assert timm.__version__
    kind = attention_class(KernelAttention, weights=2, value="head")
    model = VisionTransformer(img_size=16, patch_size=8, embed_dim=32, depth=1, num_heads=4, attn_layer=kind)
    assert model.blocks[0].attn.weights.kind == 2
    model = VisionTransformer(img_size=16, patch_size=8, embed_dim=32, depth=1, num_heads=4, attn_layer=KernelAttention)
    assert model(torch.zeros(1, 3, 16, 16)).isfinite().all()


def test_an_option_wins_over_the_preset():
    layer = KernelAttention.param_fusion(32, 4, weights=2, qkv_bias=False, scale=1.0)
    assert (layer.weights.kind, layer.qkv.bias, layer.scale) == (2, None, 1.0)
