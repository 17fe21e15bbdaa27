"""Vision transformers with kernel attention, made by timm."""

import copy
import pickle

import pytest
import timm
import torch
from timm.layers import Attention
from timm.models.vision_transformer import VisionTransformer

from superpose.layers import KernelAttention
from superpose.layers.kernels import GaussianKernel, LinearKernel
from superpose.vision.kernel_vit import KINDS, PRESETS, attention_layer, blocks_with

SMALL = "kernel_vit_nano_patch4_32"


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("attention", "parameters"),
    [
        ("softmax", 3_195_146),
        ({"kind": "semi_fusion", "qkv_bias": False}, 2_502_410),
        ("param_fusion", 2_454_794),
        ({"kind": "gaussian_mhsa", "paper_compat": True}, 2_406_026),
    ],
)
def test_the_papers_models_have_the_papers_parameters(attention, parameters):
    """Counted in arXiv 2503.23038's fine-tuned encoders of six blocks, with all biases, positions and classifier."""
    model = timm.create_model("kernel_vit_mini_patch4_32", attention=attention, depth=6)
    assert count(model) == parameters


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_models_of_timm(name):
    size = int(name.rpartition("_")[2])
    with torch.device("meta"):
        model = timm.create_model(f"kernel_vit_{name}", attention="softmax")
        twin = VisionTransformer(size, num_classes=10 if size == 32 else 1000, **PRESETS[name])
    assert count(model) == count(twin)
    assert model.default_cfg["input_size"] == (3, size, size)
    assert timm.data.resolve_model_data_config(model)["mean"] == (0.5, 0.5, 0.5)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_learns_and_can_be_copied(kind, generator):
    model = timm.create_model(SMALL, attention=kind, embed_dim=16, depth=2)
    images = torch.randn(2, 3, 32, 32, generator=generator)
    model(images).square().mean().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):  # noqa: S301
        assert torch.equal(twin.eval()(images), model.eval()(images))


def test_blocks_may_differ():
    model = timm.create_model(SMALL, attention=["param_fusion", "softmax", "gaussian_mhsa", "gaussian_mhsa"])
    assert [type(block.attn) for block in model.blocks] == [
        KernelAttention,
        Attention,
        KernelAttention,
        KernelAttention,
    ]
    assert [type(model.blocks[n].attn.kernel) for n in (0, 2)] == [LinearKernel, GaussianKernel]


def test_the_number_of_a_block_does_not_depend_on_what_was_made_before():
    make = blocks_with(["softmax", "param_fusion"], 2)
    for _ in range(2):
        vit = VisionTransformer(8, 4, embed_dim=16, depth=2, num_heads=2, block_fn=make)
        assert [type(block.attn) for block in vit.blocks] == [Attention, KernelAttention]


def test_feature_maps_and_head():
    model = timm.create_model(SMALL, features_only=True, out_indices=(1, 3))
    assert [tuple(x.shape) for x in model(torch.zeros(1, 3, 32, 32))] == [(1, 64, 8, 8)] * 2
    assert timm.create_model(SMALL, num_classes=0)(torch.zeros(1, 3, 32, 32)).shape == (1, 64)


def test_options_reach_the_layer_and_callables_are_taken():
    layer = attention_layer({"kind": "gaussian_mhsa", "sigma": 0.5, "paper_compat": True})(16, num_heads=2)
    assert layer.kernel.sigma.tolist() == [0.5, 0.5]

    def mine(dim, **arguments):
        return KernelAttention.gka(dim, arguments["num_heads"])

    model = timm.create_model(SMALL, attention=mine)
    assert not model.blocks[0].attn.state_dict().keys() & {"qkv.weight"}


def test_bad_arguments_raise():
    with pytest.raises(ValueError, match="no attention 'gauss'; choose one of softmax, standard"):
        timm.create_model(SMALL, attention="gauss")
    with pytest.raises(ValueError, match="names 2 kinds, for 4 blocks"):
        timm.create_model(SMALL, attention=["softmax", "softmax"])
    with pytest.raises(TypeError, match="a name, a mapping such as"):
        timm.create_model(SMALL, attention={"sigma": 0.5})
    with pytest.raises(ValueError, match="leave out attn_layer"):
        timm.create_model(SMALL, attn_layer=Attention)
    with pytest.raises(RuntimeError, match="No pretrained weights exist"):
        timm.create_model(SMALL, pretrained=True)


@pytest.mark.parametrize("kind", KINDS)
def test_made_on_meta_and_reset_it_is_a_model(kind):
    """timm's way to build without memory: `init_weights` leaves nothing of what `to_empty` gave."""
    with torch.device("meta"):
        model = timm.create_model("kernel_vit_nano_patch4_32", attention=kind, depth=1)
    model.to_empty(device="cpu")
    with torch.no_grad():
        for value in (*model.parameters(), *model.buffers()):
            value.fill_(float("nan"))
    model.init_weights(needs_reset=True)
    assert all(value.isfinite().all() for value in (*model.parameters(), *model.buffers()))
    assert model(torch.zeros(1, 3, 32, 32)).isfinite().all()
