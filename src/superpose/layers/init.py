"""Initialisation of Kolmogorov-Arnold layers, written once for every basis."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from superpose.layers.kan_linear import KANLinear

Initializer = Callable[["KANLinear", torch.Generator | None], None]


def variance_preserving(layer: "KANLinear", generator: torch.Generator | None = None) -> None:
    r"""Glorot's rule for edge functions: values keep their variance forward and slopes theirs backward.

    For inputs spread evenly over the domain, $\sigma^2 = 2 \operatorname{Var}(x) / (n_{in} \mu_0 + n_{out}
    \operatorname{Var}(x) \mu_1)$ with $\mu_0, \mu_1$ the mean square of a function and of its slope, half of it for
    the base and half shared by the basis (Glorot and Bengio 2010, eq. 16; Rigas et al. 2025, arXiv 2509.03417, eq. 9,
    with the moments of each input's own domain).

    It is a compromise: what a layer multiplies the mean square of values by, and what it multiplies that of slopes by,
    add to two. A family with steep functions (a high degree, many intervals) loses on the values what it gains on the
    slopes: over six layers of width 128 about half of the mean square is left with the default basis, with 20
    intervals one part in 25.

    Args:
        layer: The layer whose parameters are set.
        generator: Source of randomness; the caller's global state if None.
    """
    draw_(layer, glorot_deviations(layer), generator)


def glorot_deviations(layer: "KANLinear") -> tuple[Tensor, Tensor]:
    """The standard deviations of `variance_preserving` for the weights and, edge by edge, for the coefficients."""
    points, spread = domain_points(layer)
    with torch.enable_grad():
        inputs = points.detach().requires_grad_()
        base = layer.base(inputs)
        (base_slope,) = torch.autograd.grad(base.sum(), inputs)
    values, slopes = layer.basis(points), layer.basis(points, order=1)
    weight = _glorot(layer, base.detach().square().mean(0), base_slope.square().mean(0), spread)
    return weight, _glorot(layer, values.square().sum(-1).mean(0), slopes.square().sum(-1).mean(0), spread).unsqueeze(
        -1
    )


def draw_(layer: "KANLinear", deviations: tuple[Tensor, Tensor], generator: torch.Generator | None) -> None:
    """Draw a layer's parameters anew, with these standard deviations."""
    _fill(layer.weight, deviations[0], generator)
    _fill(layer.coef.permute(2, 0, 1), deviations[1], generator)


def power_law(
    layer: "KANLinear", generator: torch.Generator | None = None, *, base: float = 0.25, basis: float = 1.75
) -> None:
    r"""Normal parameters that shrink by a power of the number of terms in a sum, fast for the basis, slowly for the base.

    Standard deviations $(n_{in} (M + 1))^{-\alpha}$ for the base and $(n_{in} (M + 1))^{-\beta}$ for a basis of M
    functions, after Rigas et al. 2025 (arXiv 2509.03417). They searched both exponents from 0 to 2; the defaults are
    those of their training curves and Feynman tables (srigas/KAN_Initialization_Schemes, notebooks 4 and 6).

    Args:
        layer: The layer whose parameters are set.
        generator: Source of randomness; the caller's global state if None.
        base: Exponent $\alpha$ of the base.
        basis: Exponent $\beta$ of the basis.
    """
    terms = layer.in_features * (layer.basis.num + 1)
    _fill(layer.weight, layer.weight.new_tensor(terms**-base), generator)
    _fill(layer.coef.permute(2, 0, 1), layer.coef.new_tensor(terms**-basis), generator)


def domain_points(layer: "KANLinear") -> tuple[Tensor, Tensor]:
    """Midpoints of 512 equal cells of each input's domain, and the variance of such a spread."""
    low, high = layer.basis.domain.unbind(-1)
    share = (torch.arange(512, dtype=low.dtype, device=low.device) + 0.5).unsqueeze(-1) / 512
    return low + (high - low) * share, (high - low).square() / 12


def _glorot(layer: "KANLinear", value: Tensor, slope: Tensor, spread: Tensor) -> Tensor:
    return (spread / (layer.in_features * value + layer.out_features * spread * slope).clamp_min(1e-12)).sqrt()


@torch.no_grad()
def _fill(parameter: Tensor, deviation: Tensor, generator: torch.Generator | None) -> None:
    """Normal values, drawn edge by edge however they lie in memory."""
    drawn = torch.empty_like(parameter, memory_format=torch.contiguous_format).normal_(generator=generator)
    parameter.copy_(drawn.mul_(deviation))
