"""Vision transformers whose tokens attend by kernels, on timm's `VisionTransformer`."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from timm.layers import Attention
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.vision_transformer import Block, VisionTransformer
from torch import nn

from superpose.layers import KernelAttention, attention_class

__all__ = ["KINDS", "PRESETS", "Kind", "attention_layer", "blocks_with"]  # timm adds the names of the models

KINDS = (
    "softmax",
    "standard",
    "param_fusion",
    "semi_fusion",
    "gaussian_mhsa",
    "spline_mhsa",
    "full_vector_gaussian",
    "gka",
)
"""Attention by name: timm's own, and the presets of `superpose.layers.KernelAttention`."""

Kind = str | Mapping[str, Any] | Callable[..., nn.Module]
"""A kind of attention: a name of `KINDS`; a mapping of that `kind` and options of the preset, as a YAML file has it; or
what makes a layer from the arguments of timm's `Attention`."""


def attention_layer(kind: Kind) -> type[nn.Module]:
    """What timm's transformers take as `attn_layer`.

    Args:
        kind: The kind of attention.

    Raises:
        ValueError: If there is no kind of that name.
        TypeError: If it is neither a name, nor a mapping with one, nor callable.

    Example:
        >>> attention_layer("softmax").__name__
        'Attention'
        >>> attention_layer({"kind": "gaussian_mhsa", "sigma": 0.5})(64, num_heads=4).kernel.sigma
        tensor([0.5000, 0.5000, 0.5000, 0.5000], grad_fn=<MulBackward0>)
    """
    if isinstance(kind, type):
        return kind
    if callable(kind):
        return attention_class(kind)
    options = dict(kind) if isinstance(kind, Mapping) else {"kind": kind}
    name = options.pop("kind", None)
    if not isinstance(name, str):
        raise TypeError(
            f"attention is {kind!r}; it should be a name, a mapping such as {{'kind': 'gaussian_mhsa', 'sigma': 0.5}}, or "
            "what makes a layer."
        )
    if name not in KINDS:
        raise ValueError(f"there is no attention {name!r}; choose one of {', '.join(KINDS)}.")
    if name == "softmax":
        return attention_class(Attention, **options) if options else Attention
    return attention_class(getattr(KernelAttention, name), **options)


def blocks_with(attention: Kind | Sequence[Kind], depth: int) -> Callable[..., nn.Module]:
    """What timm's transformers take as `block_fn`, to have these kinds of attention in their blocks.

    Args:
        attention: One kind for all blocks, or one for each from the first to the last.
        depth: Number of blocks.

    Raises:
        ValueError: If there are not as many kinds as blocks.

    Example:
        >>> vit = VisionTransformer(depth=2, embed_dim=64, num_heads=4, block_fn=blocks_with(["softmax", "gka"], 2))
        >>> [type(block.attn).__name__ for block in vit.blocks]
        ['Attention', 'KernelAttention']
    """
    one = isinstance(attention, str | Mapping) or callable(attention)
    kinds = [attention] * depth if one else list(attention)  # type: ignore[arg-type]
    if len(kinds) != depth:
        raise ValueError(f"attention names {len(kinds)} kinds, for {depth} blocks; give one for each, or one for all.")
    return partial(_block, [attention_layer(kind) for kind in kinds])  # type: ignore[arg-type]


def _block(layers: Sequence[type[nn.Module]], **arguments: Any) -> nn.Module:
    return Block(**{**arguments, "attn_layer": layers[arguments["depth"]]})


PRESETS: dict[str, dict[str, Any]] = {
    "nano_patch4_32": {"patch_size": 4, "embed_dim": 64, "depth": 4, "num_heads": 4, "mlp_ratio": 4},
    "nano_patch2_32": {"patch_size": 2, "embed_dim": 64, "depth": 4, "num_heads": 4, "mlp_ratio": 4},
    "micro_patch4_32": {"patch_size": 4, "embed_dim": 128, "depth": 6, "num_heads": 4, "mlp_ratio": 4},
    "micro_patch2_32": {"patch_size": 2, "embed_dim": 128, "depth": 6, "num_heads": 4, "mlp_ratio": 4},
    "mini_patch4_32": {"patch_size": 4, "embed_dim": 256, "depth": 8, "num_heads": 8, "mlp_ratio": 2},
    "mini_patch2_32": {"patch_size": 2, "embed_dim": 256, "depth": 8, "num_heads": 8, "mlp_ratio": 2},
    "tiny_patch16_224": {"patch_size": 16, "embed_dim": 192, "depth": 12, "num_heads": 3},
    "small_patch16_224": {"patch_size": 16, "embed_dim": 384, "depth": 12, "num_heads": 6},
    "base_patch16_224": {"patch_size": 16, "embed_dim": 768, "depth": 12, "num_heads": 12},
    "large_patch16_224": {"patch_size": 16, "embed_dim": 1024, "depth": 24, "num_heads": 16},
}
"""Sizes: `kernel_vit_{size}_patch{pixels}_{image size}`. `mini` is the encoder of the paper, the last four are ViTs."""


def _make(name: str, pretrained: bool = False, **chosen: Any) -> nn.Module:
    """What timm calls to make `kernel_vit_{name}`: a preset, with what the caller has chosen in its place."""
    arguments = {**PRESETS[name], **chosen}
    attention = arguments.pop("attention", "param_fusion")
    for taken in ("attn_layer", "block_fn"):
        if taken in arguments:
            raise ValueError(f"kernel_vit models are told their attention by attention=, so leave out {taken}.")
    arguments["block_fn"] = blocks_with(attention, arguments["depth"])
    features = {"feature_cls": "getter", "out_indices": 3}  # as timm's own ViTs
    return build_model_with_cfg(VisionTransformer, f"kernel_vit_{name}", pretrained, feature_cfg=features, **arguments)


def _configuration(name: str) -> dict[str, Any]:
    """What timm wants to know of a model: no weights are published, images are scaled to [-1, 1]."""
    size = int(name.rpartition("_")[2])
    return {
        "input_size": (3, size, size),
        "num_classes": 10 if size == 32 else 1000,
        "mean": (0.5,) * 3,
        "std": (0.5,) * 3,
        "crop_pct": 1.0 if size == 32 else 0.9,
        "fixed_input_size": True,
        "first_conv": "patch_embed.proj",
        "classifier": "head",
        "license": "apache-2.0",
    }


default_cfgs = generate_default_cfgs({f"kernel_vit_{name}": _configuration(name) for name in PRESETS})
"""Under this name timm looks for it."""


def _register(name: str) -> None:
    """Make the preset known to `timm.create_model`."""

    def create(pretrained: bool = False, **chosen: Any) -> nn.Module:
        return _make(name, pretrained, **chosen)

    create.__name__ = create.__qualname__ = f"kernel_vit_{name}"
    create.__doc__ = f"A ViT of the preset {name}; `attention` says how its tokens attend, see `blocks_with`."
    globals()[create.__name__] = register_model(create)


for _name in PRESETS:
    _register(_name)
