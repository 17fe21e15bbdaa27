"""From a vision transformer to a Kolmogorov-Arnold transformer that computes the same."""

import copy
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from timm.layers import Mlp
from timm.models import VisionTransformer
from torch import Tensor, nn

from superpose.layers.rational_fit import INTERVAL, RationalFit, fit_rational
from superpose.layers.rational_mlp import RationalMlp

Interval = tuple[float, float]

SAMPLE = 1 << 17
"""About how many inputs of an activation are looked at."""

OUTSIDE = (0.0, 1e-4, 1e-3, 5e-3)
"""Shares of the inputs that may lie outside at either end of an interval to try."""


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
    error of each activation inside its interval; outside nothing is promised. With `images` each block gets an interval of
    its own: of `interval` and those that hold all, or all but the outermost few, of the inputs that its activation has
    there, the one whose fit has the smallest mean squared error on these inputs. Without images all
    blocks use `interval`.

    `benchmarks/kat_from_vit.py` measures it. Where every logit counts take degrees (9, 8): (5, 4), those of the published
    weights, change the class of a few images in a thousand.

    Args:
        model: One of timm's vision transformers with plain MLPs.
        images: A batch that the model is used for, prepared as for the model.
        interval: Where the activations are fitted if no images show a better place.
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
    seen = [None] * len(mlps) if images is None else _seen(model, mlps, images)
    result = copy.deepcopy(model)
    for block, inputs in zip(result.blocks, seen, strict=True):
        act = copy.deepcopy(block.mlp.act).cpu().double().eval()
        fits = [fit_rational(act, where, degrees, form) for where in _intervals(inputs, interval)]
        fit = fits[0] if inputs is None else min(fits, key=partial(_error, act, inputs))
        block.mlp = _rational(block.mlp, fit, groups)
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
def _seen(model: nn.Module, mlps: Sequence[Mlp], images: Tensor) -> list[Tensor]:
    """Some of the numbers that the activation of each MLP is called with."""
    inputs: dict[int, Tensor] = {}

    def keep(number: int, out: Tensor) -> None:
        inputs[number] = out.flatten()[:: max(1, out.numel() // SAMPLE)].cpu().double()

    hooks = [
        mlp.fc1.register_forward_hook(lambda _module, _inputs, out, number=number: keep(number, out))
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
    if not all(each.isfinite().all() for each in inputs.values()):
        raise ValueError("the model gives values that are not finite on these images; prepare them as for the model.")
    return [inputs[number] for number in range(len(mlps))]


def _intervals(inputs: Tensor | None, interval: Interval) -> list[Interval]:
    """Where to try a fit: without the outermost few of the inputs, and a tenth wider than the rest at either end."""
    found = [interval]
    if inputs is not None:
        ordered = inputs.sort().values
        for share in OUTSIDE:
            cut = int(share * len(ordered))
            low, high = ordered[cut].item(), ordered[-1 - cut].item()
            margin = 0.1 * (high - low)
            if margin > 0:
                found.append((low - margin, high + margin))
    return found


@torch.no_grad()
def _error(act: nn.Module, inputs: Tensor, fit: RationalFit) -> float:
    """Mean squared error on these inputs."""
    return (fit(inputs) - act(inputs.clone())).square().mean().item()


def _rational(mlp: Mlp, fit: RationalFit, groups: int) -> RationalMlp:
    weight = mlp.fc1.weight
    # On the meta device, so that no weights are drawn that the model's own replace.
    result = RationalMlp(
        mlp.fc1.in_features,
        mlp.fc1.out_features,
        mlp.fc2.out_features,
        drop=(mlp.drop2.p, mlp.drop1.p),
        activations=("identity", fit),
        groups=groups,
        degrees=fit.degrees,
        form=fit.form,
        device="meta",
        dtype=weight.dtype,
    )
    for activation in (result.act1, result.act2):
        activation.to_empty(device=weight.device).reset_parameters()
    result.fc1, result.fc2 = mlp.fc1, mlp.fc2
    return result.train(mlp.training)
