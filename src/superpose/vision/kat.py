"""The Kolmogorov-Arnold Transformer: timm's vision transformer with group-rational layers for its MLPs.

Importing this module registers `kat_tiny_patch16_224`, `kat_small_patch16_224` and `kat_base_patch16_224` with timm, so that
`timm.create_model` knows them.
"""

from functools import partial
from typing import Any

from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import (
    VisionTransformer,
    build_model_with_cfg,
    clean_state_dict,
    generate_default_cfgs,
    register_model,
)
from timm.models.vision_transformer import checkpoint_filter_fn as vit_filter
from torch import Tensor, nn

from superpose.layers.rational_init import Initializer, kat_release, variance_preserving
from superpose.layers.rational_mlp import Activation, RationalMlp
from superpose.vision.mimetic import start_mimetic_

__all__ = ["KAT"]  # timm adds the names of the models

INITS: dict[str, Initializer] = {"variance_preserving": variance_preserving, "kat_release": kat_release}
"""What `weight_init` takes besides the modes of timm."""


class KAT(VisionTransformer):
    """A vision transformer whose MLPs are `RationalMlp`s (Yang and Wang 2024, arXiv 2409.10594).

    All else is timm's: arguments, pooling, features, layer decay, checkpoints of gradients, other image sizes. Its state
    dict has the names of the published weights.

    Args:
        args: Arguments of `timm.models.VisionTransformer`.
        activations: What the two activations of every MLP start as, see `GroupRational`.
        groups: Number of groups of channels with a denominator of their own.
        degrees: Degrees of numerators and denominators.
        form: Which denominator, see `superpose.ops.rational.rational`.
        kwargs: Further arguments of `timm.models.VisionTransformer`. `weight_init` also takes `"variance_preserving"`,
            the paper's rule for the MLPs with timm's for the rest, and `"kat_release"`, what the released code does:
            0.02 everywhere but in the attention, which is mimetic. That takes a singular value decomposition for every
            head: about half a second for the tiny model on one CPU core, 5 for the small one, 50 for the base one.

    Raises:
        ValueError: If `act_layer` is given, which would change nothing.

    Example:
        >>> import torch
        >>> model = KAT(img_size=32, patch_size=8, embed_dim=64, depth=2, num_heads=2, num_classes=10)
        >>> model(torch.zeros(1, 3, 32, 32)).shape
        torch.Size([1, 10])
    """

    weight_init_mode: str
    fix_init: bool

    def __init__(
        self,
        *args: Any,
        activations: tuple[Activation, Activation] = ("identity", "silu"),
        groups: int = 8,
        degrees: tuple[int, int] = (5, 4),
        form: str = "sum_abs",
        **kwargs: Any,
    ) -> None:
        if kwargs.get("act_layer") is not None:
            raise ValueError(
                f"act_layer is {kwargs['act_layer']!r}, but a KAT learns its activations; give activations=."
            )
        options: dict[str, Any] = {"activations": activations, "groups": groups, "degrees": degrees, "form": form}
        super().__init__(*args, mlp_layer=partial(RationalMlp, **options), **kwargs)

    def init_weights(self, mode: str = "", needs_reset: bool = True) -> None:
        """Draw all parameters anew.

        Args:
            mode: A `weight_init` of the constructor; the one given there if empty.
            needs_reset: Whether modules that know how to reset themselves do so first.
        """
        mode = mode or self.weight_init_mode
        if mode not in INITS:
            super().init_weights(mode, needs_reset)
            if mode == "reset" and needs_reset:  # as the MLPs were made, which is not how linear maps reset themselves
                self._draw_mlps(variance_preserving)
            return
        # The rest starts as timm starts it by default; what scales with depth comes last.
        given = self.weight_init_mode, self.fix_init
        self.weight_init_mode, self.fix_init = "", False
        super().init_weights("", needs_reset)
        self.weight_init_mode, self.fix_init = given
        self._draw_mlps(INITS[mode])
        if mode == "kat_release":
            for block in self.blocks:
                start_mimetic_(block.attn)
        if self.fix_init:
            self.fix_init_weight()

    def _draw_mlps(self, init: Initializer) -> None:
        blocks: Any = self.blocks
        for block in blocks:
            block.mlp.draw_(init)


def checkpoint_filter_fn(state_dict: dict[str, Any], model: nn.Module) -> dict[str, Tensor]:
    """The state dict of a checkpoint with the names and sizes of a model.

    Takes averaged weights where there are some, removes what wrappers put before the names, reads the names of FlashKAT,
    and resamples position embeddings and patches to the sizes of the model.

    Args:
        state_dict: A state dict, or a checkpoint that holds one under `state_dict_ema`, `model_ema`, `state_dict` or `model`.
        model: The model that will load it.
    """
    for name in ("state_dict_ema", "model_ema", "state_dict", "model"):
        if isinstance(state_dict.get(name), dict):
            state_dict = state_dict[name]
            break
    state_dict = clean_state_dict(state_dict)
    flash = {"numerator_v": "weight_numerator", "denominator_v": "weight_denominator"}
    renamed = {}
    for name, value in state_dict.items():
        place, _, last = name.rpartition(".")
        renamed[f"{place}.{flash[last]}" if last in flash else name] = value
    return vit_filter(renamed, model)


def _cfg(**more: Any) -> dict[str, Any]:
    return {
        "num_classes": 1000,
        "input_size": (3, 224, 224),
        "fixed_input_size": True,
        "crop_pct": 0.875,
        "interpolation": "bicubic",
        "mean": IMAGENET_DEFAULT_MEAN,
        "std": IMAGENET_DEFAULT_STD,
        "first_conv": "patch_embed.proj",
        "classifier": "head",
        "license": "apache-2.0",
        "paper_name": "Kolmogorov-Arnold Transformer",
        "paper_ids": "arXiv:2409.10594",
        "origin_url": "https://github.com/Adamdad/kat",
        **more,
    }


# The weights of Yang and Wang: from scratch, and started from a vision transformer ("vitft").
default_cfgs = generate_default_cfgs(
    {
        "kat_tiny_patch16_224.in1k": _cfg(hf_hub_id="adamdad/kat_tiny_patch16_224"),
        "kat_tiny_patch16_224.vitft_in1k": _cfg(hf_hub_id="adamdad/kat_tiny_patch16_224.vitft"),
        "kat_small_patch16_224.in1k": _cfg(hf_hub_id="adamdad/kat_small_patch16_224"),
        "kat_small_patch16_224.vitft_in1k": _cfg(hf_hub_id="adamdad/kat_small_patch16_224.vitft"),
        "kat_base_patch16_224.in1k": _cfg(hf_hub_id="adamdad/kat_base_patch16_224"),
        "kat_base_patch16_224.vitft_in1k": _cfg(hf_hub_id="adamdad/kat_base_patch16_224.vitft"),
    }
)


def _create(variant: str, pretrained: bool, **kwargs: Any) -> nn.Module:
    out_indices = kwargs.pop("out_indices", 3)
    return build_model_with_cfg(
        KAT,
        variant,
        pretrained,
        pretrained_filter_fn=checkpoint_filter_fn,
        feature_cfg={"out_indices": out_indices, "feature_cls": "getter"},
        **{"patch_size": 16, "depth": 12, **kwargs},
    )


@register_model
def kat_tiny_patch16_224(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """KAT-T: 5.7 million parameters; 74.6 % top-1 on ImageNet-1k, 75.7 % started from a ViT, as published."""
    return _create("kat_tiny_patch16_224", pretrained, **{"embed_dim": 192, "num_heads": 3, **kwargs})


@register_model
def kat_small_patch16_224(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """KAT-S: 22 million parameters; 81.2 % top-1 on ImageNet-1k, 82.0 % started from a ViT, as published."""
    return _create("kat_small_patch16_224", pretrained, **{"embed_dim": 384, "num_heads": 6, **kwargs})


@register_model
def kat_base_patch16_224(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """KAT-B: 87 million parameters; 82.3 % top-1 on ImageNet-1k, 82.8 % started from a ViT, as published."""
    return _create("kat_base_patch16_224", pretrained, **{"embed_dim": 768, "num_heads": 12, **kwargs})
