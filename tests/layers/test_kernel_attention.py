"""Kernel attention against naive double sums over all pairs of coordinates, and what it keeps, refuses and promises."""

import math

import pytest
import torch
import torch.nn.functional as F
from timm.layers.attention import Attention
from torch import nn

from superpose.bases import BSpline
from superpose.layers import KANLinear, KernelAttention
from superpose.layers.attend import NORMALIZATIONS
from superpose.layers.kernels import (
    BasisKernel,
    CubicSplineKernel,
    Gated,
    GaussianKernel,
    LaplaceKernel,
    LinearKernel,
    PerHead,
    SpectralKernel,
    SquaredDistance,
)
from superpose.layers.kernels.harmonics import recipe
from superpose.vision.attention_maps import attention_weights

KERNELS = {
    "gaussian": lambda: GaussianKernel(0.8, eps=1e-12),
    "learned": lambda: GaussianKernel(0.8, learn=(0.5, 2.0), eps=1e-12),
    "laplace": lambda: LaplaceKernel(0.8, harmonics=4),
    "spectral": lambda: SpectralKernel(8),
    "spline": lambda: CubicSplineKernel(6),
    "b-spline": lambda: BasisKernel(BSpline(4, 3, extrapolation="clamp"), learn=True),
    "linear": LinearKernel,
    "per head": lambda: PerHead((GaussianKernel(0.8), 1), (LinearKernel(), 1)),
    "gated": lambda: Gated(GaussianKernel(0.8), LinearKernel()),
}
kinds = pytest.mark.parametrize("kind", list(KERNELS))


def built(kind="gaussian", dim=16, heads=2, **options):
    return settled(KernelAttention(dim, heads, kernel=KERNELS[kind](), **options))


def settled(layer):
    """In float64, with the same parameters in every run."""
    generator = torch.Generator().manual_seed(0)
    layer = layer.double()
    with torch.no_grad():
        for name, p in layer.named_parameters():
            if not name.startswith("kernel"):
                p.normal_(generator=generator).mul_(0.3)
    return layer


def tokens(generator, batch=2, count=5, dim=16):
    return torch.randn(batch, count, dim, generator=generator, dtype=torch.float64)


def value_of(kind, kernel, a, b):
    """The kernels with a formula of their own, at two numbers."""
    if kind == "linear":
        return a * b
    if kind in ("gaussian", "learned"):
        return torch.exp(-((a - b) ** 2) / (2 * kernel.sigma.detach()[:, None, None] ** 2))
    small, large = torch.minimum(a, b), torch.maximum(a, b)
    return 1 + a * b + small**2 * large / 2 - small**3 / 6


def naive(layer, kind, x, mask=None):
    """The published form: a sum over all pairs of coordinates of all pairs of tokens."""
    q, k, v = layer.heads(x)
    a = layer.weights.matrix().to(q)
    pairs = value_of(kind, layer.kernel, q[:, :, None, :, :, None], k[:, None, :, :, None, :])
    scores = layer.scale * (pairs * a[:, :, :]).sum((-1, -2)).permute(0, 3, 1, 2)
    if layer.normalize == "softmax":
        weights = (scores if mask is None else scores + mask).softmax(-1)
    elif layer.normalize == "kernel":
        weights = scores if mask is None else scores * mask.exp()
        weights = weights / weights.sum(-1, keepdim=True)
    else:
        weights = torch.sigmoid((scores if mask is None else scores + mask) - math.log(x.shape[1]))
    return layer.proj(torch.einsum("bhsr,brhd->bshd", weights, v).flatten(2))


@pytest.mark.parametrize("kind", ["gaussian", "learned", "linear", "spline"])
@pytest.mark.parametrize("weights", ["ones", "identity", "diag", 1, 3, "full"])
@pytest.mark.parametrize("tie", [True, False], ids=["tied", "untied"])
def test_against_the_naive_sum(kind, weights, tie, generator):
    kernel = CubicSplineKernel(400) if kind == "spline" else KERNELS[kind]()
    layer = settled(KernelAttention(16, 2, kernel=kernel, weights=weights, tie_qk=tie))
    x = tokens(generator, count=4).requires_grad_()
    ours, theirs = layer(x), naive(layer, kind, x)
    torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-8)
    parameters = [
        x,
        *(p for p in layer.parameters() if p.requires_grad and p is not getattr(layer.kernel, "share", None)),
    ]
    mine = torch.autograd.grad(ours.sin().sum(), parameters)
    expected = torch.autograd.grad(theirs.sin().sum(), parameters, materialize_grads=True)
    torch.testing.assert_close(mine, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("value", ["shared", "head", "proj"])
@pytest.mark.parametrize("normalize", ["softmax", "kernel", "sigmoid"])
@pytest.mark.parametrize("masked", ["open", "boolean", "additive", "causal"])
def test_values_normalisations_and_masks(value, normalize, masked, generator):
    layer = built(value=value, normalize=normalize, weights="ones")
    x = tokens(generator)
    seen = torch.rand(2, 1, 5, 5, generator=generator) > 0.4
    seen |= torch.eye(5, dtype=torch.bool)
    additive = torch.randn(2, 2, 5, 5, generator=generator, dtype=torch.float64)
    hidden = torch.zeros(2, 1, 5, 5, dtype=torch.float64)
    given, bias = {
        "open": ({}, None),
        "boolean": ({"attn_mask": seen}, hidden.masked_fill(~seen, -math.inf)),
        "additive": ({"attn_mask": additive}, additive),
        "causal": ({"is_causal": True}, hidden.masked_fill(~torch.ones(5, 5).tril().bool(), -math.inf)),
    }[masked]
    torch.testing.assert_close(layer(x, **given), naive(layer, "gaussian", x, bias), rtol=1e-9, atol=1e-9)


def test_linear_full_weights_are_the_scores_of_standard_attention(generator):
    layer = built("linear", heads=1, weights="full", project=False, scale=0.25)
    x = tokens(generator)
    wq, wk = torch.randn(2, 16, 16, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        layer.weights.weight[0].copy_(wq @ wk.T)
    attended = F.scaled_dot_product_attention(x @ wq, x @ wk, x, scale=0.25)
    torch.testing.assert_close(layer(x), layer.proj(attended), rtol=1e-10, atol=1e-10)


def test_fused_attention_equals_the_published_einsum(generator):
    layer = KernelAttention.semi_fusion(16, 2).double()
    with torch.no_grad():
        layer.weights.weight.normal_(generator=generator)
        layer.value_weight.normal_(generator=generator)
    x = tokens(generator)
    u = layer.qkv(x).view(2, 5, 2, 8)
    scores = torch.einsum("bsnd,ndh,brnh->bsnr", u, layer.weights.weight, u) / 8
    out = torch.einsum("bsnr,ndh,brnd->bsnh", scores.softmax(-1), layer.value_weight, u)
    torch.testing.assert_close(layer(x), layer.proj(out.flatten(2)), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("weights", ["ones", "identity", "diag", 1, 2, "full"])
def test_scores_do_not_see_the_order_of_coordinates_if_and_only_if_weights_are_ones(weights, generator):
    layer = built(weights=weights)
    q = F.layer_norm(torch.randn(1, 4, 2, 8, generator=generator, dtype=torch.float64), (8,))
    moved = q[..., torch.randperm(8, generator=generator)]
    scores = []
    for queries in (q, moved):
        left, right = layer.features(queries, q)
        scores.append(torch.einsum("bshf,brhf->bhsr", left, right))
    same = float((scores[0] - scores[1]).detach().abs().max())
    assert same < 1e-10 if weights == "ones" else same > 1e-3


@pytest.mark.parametrize("kind", ["gaussian", "learned", "spectral", "spline", "b-spline"])
@pytest.mark.parametrize("weights", ["ones", "diag", 1, 3, "full"])
def test_scores_are_dot_products_of_the_outputs_of_kan_layers(kind, weights, generator):
    layer = built(kind, weights=weights, normalize="sigmoid")
    q, k, _ = layer.heads(tokens(generator))
    left, right = layer.features(q, k)
    for head in range(2):
        queries, keys = layer.kan(head)
        assert isinstance(queries, KANLinear)
        assert queries.basis.num == layer.kernel.basis.num
        theirs = queries(q[:, :, head]) @ keys(k[:, :, head]).mT
        torch.testing.assert_close(left[:, :, head] @ right[:, :, head].mT, theirs, rtol=1e-7, atol=1e-8)


def test_folding_semi_fusion_gives_param_fusion(generator):
    semi = KernelAttention.semi_fusion(32, 4).double()
    with torch.no_grad():
        for p in semi.parameters():
            p.normal_(generator=generator)
    x, before = tokens(generator, dim=32), semi.proj.weight.clone()
    folded = semi.fold()
    torch.testing.assert_close(folded(x), semi(x), rtol=1e-12, atol=1e-11)
    torch.testing.assert_close(semi.proj.weight, before, rtol=0, atol=0)
    param = KernelAttention.param_fusion(32, 4, qkv_bias=False)
    param.double().load_state_dict(folded.state_dict())
    torch.testing.assert_close(param(x), semi(x), rtol=1e-12, atol=1e-11)


def test_folding_what_cannot_be_folded_raises():
    with pytest.raises(ValueError, match="fold needs value='head', got 'shared'"):
        KernelAttention(16, 2).fold()
    with pytest.raises(ValueError, match="scale_norm=False"):
        KernelAttention(16, 2, value="head", scale_norm=True, norm_layer=nn.LayerNorm).fold()


@kinds
def test_gradcheck(kind, generator):
    layer = built(kind, dim=6, weights=1)
    x = tokens(generator, batch=1, count=3, dim=6).requires_grad_()
    names, parameters = zip(*((n, p.detach().requires_grad_()) for n, p in layer.named_parameters()), strict=True)

    def call(x, *values):
        return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (x,))

    # Centred keys hold their mean fixed, which changes features but no output.
    assert torch.autograd.gradcheck(call, (x, *parameters), atol=1e-6, fast_mode=True)


@kinds
@pytest.mark.parametrize("count", [1, 3, 7])
def test_any_number_of_tokens(kind, count, generator):
    layer = built(kind)
    assert layer(tokens(generator, count=count)).shape == (2, count, 16)


@pytest.mark.parametrize("kind", ["gaussian", "spline", "b-spline", "linear"])
def test_causal_tokens_see_nothing_that_follows(kind, generator):
    layer = built(kind)
    x = tokens(generator)
    longer = torch.cat([x, tokens(generator, count=3)], 1)
    torch.testing.assert_close(layer(longer, is_causal=True)[:, :5], layer(x, is_causal=True))


@kinds
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_lower_precision(kind, dtype, generator):
    layer = built(kind)
    x = tokens(generator).to(dtype)
    low = KernelAttention(16, 2, kernel=KERNELS[kind](), dtype=dtype)
    low.load_state_dict(layer.state_dict())
    layer.load_state_dict({name: value.double() for name, value in low.state_dict().items()})
    out = low(x)
    assert out.dtype == dtype
    assert all(p.dtype == dtype for p in low.parameters())
    torch.testing.assert_close(out.double(), layer(x.double()), rtol=0, atol=1e-5 if dtype == torch.float32 else 3e-2)


def test_centred_keys_carry_bfloat16(generator):
    """Scores are large numbers with small differences: keys are centred before they are rounded."""
    q = F.layer_norm(torch.randn(1, 65, 1, 32, generator=generator), (32,))
    mix = torch.ones(1, 32, 1)

    def differences(relative, dtype):
        left, right = GaussianKernel(1.0)(q, q, mix, mix, relative)
        scores = torch.einsum("bshf,brhf->bsr", left.to(dtype).double(), right.to(dtype).double()) / 32
        return scores - scores.mean(-1, keepdim=True)

    exact = differences(True, torch.float64)
    plain, centred = (float((differences(r, torch.bfloat16) - exact).abs().max()) for r in (False, True))
    assert centred < 5e-3 < 2e-2 < plain


def test_autocast_computes_features_in_float32(generator):
    layer = built().float()
    x = tokens(generator).float()
    with torch.autocast("cpu", torch.bfloat16):
        out = layer(x)
        left, _ = layer.features(*layer.heads(x)[:2])
    assert out.dtype == torch.bfloat16
    assert left.dtype == torch.float32
    torch.testing.assert_close(out.float(), layer(x), rtol=0, atol=3e-2)


def test_dropout_is_of_weights_and_outputs_and_in_training_alone(generator):
    for normalize in ("softmax", "kernel", "sigmoid"):
        layer = built(normalize=normalize, weights="ones", attn_drop=0.5, proj_drop=0.25)
        x = tokens(generator)
        assert not torch.equal(layer(x), layer(x))
        torch.testing.assert_close(layer.eval()(x), naive(layer, "gaussian", x), rtol=1e-9, atol=1e-9)
    q, k, v = torch.zeros(1, 1, 1500, 8), torch.zeros(1, 1, 1500, 8), torch.ones(1, 1, 1500, 8)
    for attend in NORMALIZATIONS.values():
        whole = attend(q + 1, k + 1, v, 1.0, None, False, 0.0).mean()
        assert abs((attend(q + 1, k + 1, v, 1.0, None, False, 0.5).mean() / whole).item() - 1) < 0.05


@kinds
def test_compile_and_export(kind, generator):
    layer = built(kind, weights=2).float()
    x = tokens(generator).float().requires_grad_()
    expected = layer(x)
    (grad,) = torch.autograd.grad(expected.square().sum(), x)
    torch._dynamo.reset()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    ours = compiled(x)
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(torch.autograd.grad(ours.square().sum(), x)[0], grad, rtol=1e-3, atol=1e-4)
    if kind in ("gaussian", "linear"):
        program = torch.export.export(layer.eval(), (x.detach(),), dynamic_shapes=({1: torch.export.Dim.AUTO},))
        longer = tokens(generator, count=9).float()
        torch.testing.assert_close(program.module()(longer), layer(longer), rtol=1e-4, atol=1e-5)


def saved_bytes(layer, x):
    """Bytes of what is kept for backward, each memory once, without parameters."""
    own = {p.untyped_storage().data_ptr() for p in layer.parameters()}
    kept = {}

    def pack(each):
        storage = each.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = (storage.nbytes(), each)  # held, so that no address is used twice
        return each

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda each: each):
        out = layer(x)
    assert out.requires_grad
    return sum(size for size, _ in kept.values())


def test_backward_keeps_no_more_than_standard_attention(generator):
    x = tokens(generator, batch=4, count=65, dim=256).float().requires_grad_()
    standard = saved_bytes(Attention(256, 8, qkv_bias=True), x)
    published = saved_bytes(KernelAttention.gaussian_mhsa(256, 8, paper_compat=True), x)
    assert published <= 1.25 * standard
    assert saved_bytes(KernelAttention.semi_fusion(256, 8), x) <= 1.25 * standard
    assert saved_bytes(KernelAttention.param_fusion(256, 8), x) <= standard
    assert saved_bytes(KernelAttention.gaussian_mhsa(256, 8), x) <= 2.5 * standard
    # What the values of the functions alone would take:
    assert published < 4 * 65 * 256 * 32 * 4 / 4


def test_no_tensor_of_all_pairs(generator):
    """At these sizes it would take 28 GB, which no machine that runs tests would give twice."""
    layer = KernelAttention.gaussian_mhsa(256, 8, paper_compat=True)
    x = torch.randn(1, 2048, 256, generator=generator)
    assert layer(x).shape == x.shape


@pytest.mark.parametrize("kind", ["gaussian", "learned", "b-spline"])
def test_kernel_normalisation_needs_no_square_of_tokens(kind, generator):
    layer = built(kind, weights="ones", normalize="kernel", dim=4, heads=1).float()
    kept = saved_bytes(layer, torch.randn(1, 20000, 4, generator=generator))
    assert kept < 20000 * 1500 < 20000**2 * 4 / 50


def test_wrong_arguments_raise(generator):
    with pytest.raises(ValueError, match="positive multiple of num_heads, got 10 and 4"):
        KernelAttention(10, 4)
    with pytest.raises(TypeError, match="kernel must be an object such as"):
        KernelAttention(16, 2, kernel="gaussian")
    with pytest.raises(ValueError, match="value is 'keys'"):
        KernelAttention(16, 2, value="keys")
    with pytest.raises(ValueError, match="normalize is 'max'"):
        KernelAttention(16, 2, normalize="max")
    for weights in ("some", 0, 9, True, 2.5):
        with pytest.raises(ValueError, match="a rank from 1 to 8"):
            KernelAttention(16, 2, weights=weights)
    with pytest.raises(ValueError, match="compares whole vectors"):
        KernelAttention(16, 2, kernel=SquaredDistance(), weights="ones")
    for kernel, weights in ((GaussianKernel(), 1), (LinearKernel(), "ones"), (SpectralKernel(), "ones")):
        with pytest.raises(ValueError, match="must be positive"):
            KernelAttention(16, 2, kernel=kernel, weights=weights, normalize="kernel")
    with pytest.raises(ValueError, match="project=False"):
        KernelAttention(16, 2, project=False, value="proj")
    with pytest.raises(ValueError, match="need a norm_layer"):
        KernelAttention(16, 2, qk_norm=True)
    with pytest.raises(ValueError, match="give one of them"):
        KernelAttention(16, 2, qk_norm=True, norm_layer=nn.LayerNorm, coordinates=nn.LayerNorm)
    with pytest.raises(ValueError, match="give it radius=10"):
        KernelAttention(100, 1)
    layer = built()
    with pytest.raises(ValueError, match=r"x must have shape \(batch, tokens, 16\)"):
        layer(torch.zeros(5, 16))
    with pytest.raises(ValueError, match="not both"):
        layer(tokens(generator), torch.ones(5, 5).bool(), True)
    with pytest.raises(IndexError, match="there are 2 heads"):
        layer.kan(2)
    with pytest.raises(TypeError, match="LinearKernel is not a series"):
        KernelAttention(16, 2, kernel=LinearKernel()).kan(0)


@pytest.mark.parametrize("normalize", ["softmax", "kernel"])
@pytest.mark.parametrize("boolean", [True, False])
def test_queries_that_see_no_key_get_zero_and_spoil_nothing(normalize, boolean):
    """Their rows are zero, as those of PyTorch's fused attention, and gradients of all else are those without them."""
    layer = KernelAttention.gaussian_mhsa(16, 2, paper_compat=True, normalize=normalize)
    x = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(0))
    seen = torch.ones(5, 5, dtype=torch.bool)
    seen[2] = False
    mask = seen if boolean else torch.zeros(5, 5).masked_fill(~seen, float("-inf"))
    weights = attention_weights(layer, x, mask)
    torch.testing.assert_close(weights.sum(-1), seen.any(-1).float().expand_as(weights.sum(-1)))
    torch.testing.assert_close(layer(x, attn_mask=mask)[:, 2], layer.proj.bias.expand(2, 16))
    rest = [0, 1, 3, 4]
    for masked in (layer(x, attn_mask=mask), layer(x)):
        layer.zero_grad()
        masked[:, rest].square().sum().backward()
        found = [parameter.grad.clone() for parameter in layer.parameters()]
        assert all(grad.isfinite().all() for grad in found)
    torch.testing.assert_close(masked[:, rest], layer(x, attn_mask=mask)[:, rest])


@pytest.mark.parametrize(("normalize", "constant"), [("softmax", 100.0), ("kernel", 100.0), ("kernel", -1e4)])
def test_a_constant_in_the_mask_cancels(normalize, constant):
    layer = KernelAttention.gaussian_mhsa(16, 2, paper_compat=True, normalize=normalize)
    x = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(layer(x, attn_mask=torch.full((5, 5), constant)), layer(x))


PRESETS = ["standard", "semi_fusion", "param_fusion", "gaussian_mhsa", "spline_mhsa", "full_vector_gaussian", "gka"]


@pytest.mark.parametrize("preset", PRESETS)
def test_made_on_meta_and_reset_it_is_a_layer(preset):
    """As sharded training makes it: nothing is left of what `to_empty` gave, and a strict load brings back the rest."""
    source = getattr(KernelAttention, preset)(16, 2)
    with torch.device("meta"):
        layer = getattr(KernelAttention, preset)(16, 2)
    assert all(parameter.is_meta for parameter in layer.parameters())
    layer.to_empty(device="cpu")
    with torch.no_grad():
        for value in (*layer.parameters(), *layer.buffers()):
            value.fill_(float("nan"))
    for module in layer.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    assert all(value.isfinite().all() for value in (*layer.parameters(), *layer.buffers()))
    torch.testing.assert_close(dict(layer.kernel.state_dict()), dict(source.kernel.state_dict()), rtol=0, atol=0)
    if layer.value_weight is not None:
        assert 0.01 < layer.value_weight.std() < 0.03
    layer.load_state_dict(source.state_dict())
    x = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(0))
    assert torch.equal(layer(x), source(x))


def test_the_first_use_may_be_without_gradients():
    """What is kept between calls was an inference tensor, so that later gradients of gradients failed."""
    recipe.cache_clear()
    layer = KernelAttention.gaussian_mhsa(16, 2)
    x = torch.randn(1, 3, 16, requires_grad=True)
    with torch.inference_mode():
        layer(x)
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        (slope,) = torch.autograd.grad(layer(x).sum(), x, create_graph=True)
        slope.square().sum().backward()
    assert x.grad.isfinite().all()


@pytest.mark.parametrize(
    "kernel",
    [
        SpectralKernel(),
        BasisKernel(BSpline(4, extrapolation="clamp"), learn=True),
        Gated(GaussianKernel(), LinearKernel()),
    ],
    ids=lambda kernel: type(kernel).__name__,
)
def test_a_learned_kernel_keeps_what_it_has_learned(kernel):
    learned = kernel.expanded(2)
    with torch.no_grad():
        for parameter in learned.parameters():
            parameter += 1
    layer = KernelAttention(16, 2, kernel=learned, weights=1)
    for (name, mine), theirs in zip(layer.kernel.named_parameters(), learned.parameters(), strict=True):
        assert torch.equal(mine, theirs), name
        assert mine is not theirs
    with pytest.raises(ValueError, match=r"4 heads|but there are 4"):
        KernelAttention(16, 4, kernel=learned, weights=1)
