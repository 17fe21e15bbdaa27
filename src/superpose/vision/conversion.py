"""From a vision transformer to a Kolmogorov-Arnold transformer that computes the same."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from timm.layers import Mlp
from timm.models import VisionTransformer
from torch import Tensor, nn

from superpose.layers.rational_fit import INTERVAL, fit_rational
from superpose.layers.rational_mlp import RationalMlp

Interval = tuple[float, float]


def kat_from_vit(
    model: VisionTransformer,
    *,
    images: Float[Tensor, "batch channels height width"] | None = None,
    interval: Interval = INTERVAL,
    groups: int = 8,
    degrees: tuple[int, int] = (5, 4),
    form: str = "sum_abs",
) -> VisionTransformer:
    """A copy of a vision transformer whose MLPs are group-rational, and whose outputs are nearly the same.

    The first activation of every MLP is the identity, exactly; the second is the best rational approximation of the
    model's own activation on an interval. All weights stay as they are, and so do head, image size, rates of dropout and
    whether the model trains. The state dict has the names of `superpose.vision.KAT`.

    How near the outputs are depends on how far the inputs of the activations go. `block.mlp.act2.fit` states the largest
    error of each activation inside its interval; outside nothing is promised. With `images` each block gets the interval
    that its own activations see there, widened by a tenth at either end. Without them all use `interval`.

    Args:
        model: One of timm's vision transformers with plain MLPs.
        images: A batch that the model is used for, prepared as for the model.
        interval: Where the activations are fitted if no images tell.
        groups: Number of groups of channels with a denominator of their own.
        degrees: Degrees of numerators and denominators; (5, 4) are those of the published weights, (9, 8) follow GELU
            a hundred times closer.
        form: Which denominator, see `superpose.ops.rational.rational`.

    Raises:
        TypeError: If the model is no `timm.models.VisionTransformer`, or its MLPs are gated or otherwise not plain.
        ValueError: If the images are not finite somewhere inside the model.

    Example:
        >>> vit = VisionTransformer(img_size=32, patch_size=8, embed_dim=64, depth=2, num_heads=2, num_classes=10)
        >>> kat = kat_from_vit(vit)
        >>> print(kat.blocks[0].mlp.act2.fit)
        GELU within 3.4e-03 on [-8, 8]
    """
    mlps = _plain_mlps(model)
    intervals = [interval] * len(mlps) if images is None else _seen(model, mlps, images)
    result = copy.deepcopy(model)
    for block, where in zip(result.blocks, intervals, strict=True):
        block.mlp = _rational(block.mlp, where, groups, degrees, form)
    return result


def _plain_mlps(model: VisionTransformer) -> list[Mlp]:
    if not isinstance(model, VisionTransformer):
        raise TypeError(
            f"only timm's VisionTransformer can be converted, got {type(model).__name__}; "
            "models of other classes (EVA, BEiT, CaiT, Swin, ...) build their blocks differently."
        )
    mlps = []
    for number, block in enumerate(model.blocks):
        mlp: Any = getattr(block, "mlp", None)
        if type(mlp) is not Mlp or not isinstance(mlp.fc1, nn.Linear) or not isinstance(mlp.norm, nn.Identity):
            found = f"a {type(mlp).__name__}" if mlp is not None else f"no MLP in a {type(block).__name__}"
            raise TypeError(
                f"block {number} has {found}; only plain MLPs (linear, activation, linear, without gates or norms) can "
                "be converted."
            )
        mlps.append(mlp)
    return mlps


@torch.no_grad()
def _seen(model: nn.Module, mlps: Sequence[Mlp], images: Tensor) -> list[Interval]:
    """Between which numbers the activation of each MLP is called, and a tenth more at either end."""
    ends: dict[int, Interval] = {}
    hooks = [
        mlp.fc1.register_forward_hook(
            lambda _module, _inputs, out, number=number: ends.__setitem__(number, (out.min().item(), out.max().item()))
        )
        for number, mlp in enumerate(mlps)
    ]
    training = [module for module in model.modules() if module.training]
    try:
        model.eval()(images)
    finally:
        for module in training:
            module.training = True
        for hook in hooks:
            hook.remove()
    found = [ends[number] for number in range(len(mlps))]
    if not all(torch.isfinite(torch.tensor(found)).flatten()):
        raise ValueError("the model gives values that are not finite on these images; prepare them as for the model.")
    return [(low - 0.1 * (high - low), high + 0.1 * (high - low)) for low, high in found]


def _rational(mlp: Mlp, interval: Interval, groups: int, degrees: tuple[int, int], form: str) -> RationalMlp:
    weight = mlp.fc1.weight
    act = copy.deepcopy(mlp.act).cpu().double().eval()
    fit = fit_rational(act, interval, degrees, form)
    # On the meta device, so that no weights are drawn that the model's own replace.
    result = RationalMlp(
        mlp.fc1.in_features,
        mlp.fc1.out_features,
        mlp.fc2.out_features,
        drop=(mlp.drop2.p, mlp.drop1.p),
        activations=("identity", fit),
        groups=groups,
        degrees=degrees,
        form=form,
        device="meta",
        dtype=weight.dtype,
    )
    for activation in (result.act1, result.act2):
        activation.to_empty(device=weight.device).reset_parameters()
    result.fc1, result.fc2 = mlp.fc1, mlp.fc2
    return result.train(mlp.training)
