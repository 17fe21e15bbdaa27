"""Gaussian bumps on a uniform grid."""

from math import sqrt
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from superpose.bases.basis import DomainBasis, Extrapolation, check_size
from superpose.bases.recurrences import gaussian


class Gaussian(DomainBasis):
    r"""Gaussian bumps $e^{-((t - t_m) / h)^2}$ at centres $t_m$ spread evenly from end to end, h apart.

    Smooth and nearly local, and cheap: one exponential each. Close to cubic B-splines in shape, but they neither sum to
    one nor refine exactly (Li 2024, Kolmogorov-Arnold Networks are Radial Basis Function Networks, arXiv 2405.06721).

    Args:
        centers: Number of bumps, 2 or more; this is `num`.
        extrapolation: What happens outside the domain, see `Basis`.

    Example:
        >>> Gaussian(centers=3)(torch.tensor([[0.0]]))
        tensor([[[0.3679, 1.0000, 0.3679]]])
    """

    def __init__(self, centers: int = 8, extrapolation: Extrapolation = "linear") -> None:
        super().__init__(extrapolation)
        self.centers = check_size("centers", centers, 2)

    @property
    def num(self) -> int:
        return self.centers

    @property
    def size(self) -> int:
        return self.centers

    def config(self) -> dict[str, Any]:
        return {"centers": self.centers, "extrapolation": self.extrapolation}

    def resized(self, size: int) -> "Gaussian":
        return Gaussian(size, self.extrapolation)

    def growth(self, size: int) -> Float[Tensor, "fine coarse"] | None:
        return torch.eye(size, dtype=torch.float64) if size == self.centers else None

    def canonical(self, t: Float[Tensor, "*batch inputs"], order: int) -> Float[Tensor, "*batch inputs num"]:
        # In units of h the centres are 0, 1, 2, ...
        per_unit = (self.centers - 1) / 2
        steps = torch.arange(self.centers, dtype=t.dtype, device=t.device)
        distance = (t.unsqueeze(-1) + 1) * per_unit - steps
        return gaussian(sqrt(2) * distance, order) * (sqrt(2) * per_unit) ** order
