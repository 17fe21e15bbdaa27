"""How the weights behind a group-rational function start."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from superpose.ops.rational import groups_of, rational

if TYPE_CHECKING:
    from superpose.layers.group_rational import GroupRational

Initializer = Callable[[nn.Linear, "GroupRational", torch.Generator | None], None]
"""Draws the parameters of a linear map whose input comes from a group-rational function."""


def gain(layer: "GroupRational") -> float:
    r"""By how much the function shrinks a normal variable: $\alpha = 1 / \mathbb{E}[F(x)^2]$ for $x \sim N(0, 1)$.

    That is Var(x) / E[F(x)²] of Yang and Wang (2024, arXiv 2409.10594, section 3.3), by quadrature and for the coefficients
    the layer has now, on average over its channels.

    Raises:
        ValueError: If the mean square is zero or not finite, so that no weights could keep it.

    Example:
        >>> from superpose.layers import GroupRational
        >>> round(gain(GroupRational(16, activation="silu")), 3)
        2.812
    """
    with torch.device("cpu"):
        return _gain(layer)


def _gain(layer: "GroupRational") -> float:
    points, weights = _normal_quadrature()
    values = rational(
        points.unsqueeze(-1).expand(-1, layer.groups),
        layer.weight_numerator.detach().cpu().double(),
        layer.weight_denominator.detach().cpu().double(),
        layer.form,
    )
    share = groups_of(layer.channels, layer.groups).bincount(minlength=layer.groups).double() / layer.channels
    square = float(weights @ values.square() @ share)
    if not (math.isfinite(square) and square > 0):
        raise ValueError(f"the mean square of the layer's function is {square}; no weights keep the variance.")
    return 1 / square


def variance_preserving(linear: nn.Linear, layer: "GroupRational", generator: torch.Generator | None = None) -> None:
    r"""Normal weights of variance $\alpha / d_{in}$: from normal inputs of variance 1 come outputs of variance 1.

    With the `gain` $\alpha$ of the function in front (Yang and Wang 2024, section 3.3). Biases start at zero. The released
    code means to do this and then overwrites it, see `kat_release`.

    Args:
        linear: The map whose parameters are set.
        layer: The function in front of it.
        generator: Source of randomness; the caller's global state if None.
    """
    if not linear.weight.is_meta:
        nn.init.normal_(linear.weight, std=math.sqrt(gain(layer) / linear.in_features), generator=generator)
    _no_bias(linear)


def kat_release(linear: nn.Linear, layer: "GroupRational", generator: torch.Generator | None = None) -> None:
    """Normal weights of standard deviation 0.02, whatever the function: what the released code of KAT really does.

    Whether the public weights came from this is not known.

    Args:
        linear: The map whose parameters are set.
        layer: The function in front of it, which makes no difference.
        generator: Source of randomness; the caller's global state if None.
    """
    nn.init.trunc_normal_(linear.weight, std=0.02, generator=generator)
    _no_bias(linear)


def _no_bias(linear: nn.Linear) -> None:
    if linear.bias is not None:
        nn.init.zeros_(linear.bias)


def _normal_quadrature() -> tuple[Tensor, Tensor]:
    """Points and weights for means over N(0, 1), with a joint at zero, where a function may have a corner."""
    points, weights = np.polynomial.legendre.leggauss(200)
    right = 6 * (points + 1)
    density = 6 * weights * np.exp(-(right**2) / 2) / math.sqrt(2 * math.pi)
    return torch.from_numpy(np.r_[-right, right]), torch.from_numpy(np.r_[density, density])
