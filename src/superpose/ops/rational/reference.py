"""Definition of the group-rational function in plain PyTorch: any device, any float dtype, all orders of derivative."""

import torch
from torch import Tensor

FORMS = ("sum_abs", "abs_sum")
"""The denominators: 1 plus the sum of absolute terms (what the released weights were trained with), or 1 plus the absolute
value of the sum (Yang and Wang 2024, arXiv 2409.10594, eq. 12)."""


def groups_of(channels: int, groups: int, device: torch.device | None = None) -> Tensor:
    """The group of every channel: contiguous blocks, as even as they can be."""
    return torch.arange(channels, device=device) * groups // channels


def obstacle(*args: object) -> None:
    """None: the reference takes everything."""


def rational(x: Tensor, numerator: Tensor, denominator: Tensor, form: str, axis: int) -> Tensor:
    """P(x) / Q(x) with the coefficients of each channel's group, computed in float32 or wider, given in the dtype of x."""
    wide = torch.promote_types(torch.promote_types(numerator.dtype, denominator.dtype), x.dtype)
    wide = torch.promote_types(wide, torch.float32)
    groups = max(len(numerator), len(denominator))
    group = groups_of(x.shape[axis], groups, x.device)
    points = x.to(wide).movedim(axis, -1)
    a = (numerator.to(wide).expand(groups, -1)[group]).unbind(-1)
    b = (denominator.to(wide).expand(groups, -1)[group]).unbind(-1)
    p = _horner(points, a)
    if form == "sum_abs":
        size = magnitude(points)
        q = 1 + size * _horner(size, [magnitude(each) for each in b]) if b else torch.ones_like(p)
    else:
        q = 1 + magnitude(points * _horner(points, b)) if b else torch.ones_like(p)
    return (p / q).to(x.dtype).movedim(-1, axis)


def magnitude(x: Tensor) -> Tensor:
    """The absolute value with slope 1 at zero, so that coefficients that start at zero can learn."""
    return torch.where(x < 0, -x, x)


def _horner(x: Tensor, coef: list[Tensor] | tuple[Tensor, ...]) -> Tensor:
    """The polynomial whose coefficients rise from the constant."""
    value = coef[-1].expand_as(x)
    for each in reversed(coef[:-1]):
        value = value * x + each
    return value
