"""Chebyshev polynomials of the first kind."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from superpose.bases.basis import DomainBasis, Extrapolation, check_size


class Chebyshev(DomainBasis):
    r"""Chebyshev polynomials $T_0, ..., T_n$ on the domain, by their three-term recurrence.

    Global and smooth: near-best for analytic functions, prone to ringing for others. The recurrence, unlike
    $\cos(n \arccos t)$, has finite derivatives of every order at the ends (Mason and Handscomb, Chebyshev
    Polynomials, eq. 1.3).

    Args:
        degree: Highest degree; `num` is one more.
        extrapolation: What happens outside the domain, see `Basis`.

    Example:
        >>> Chebyshev(degree=2)(torch.tensor([[0.5]]))
        tensor([[[ 1.0000,  0.5000, -0.5000]]])
    """

    def __init__(self, degree: int = 7, extrapolation: Extrapolation = "linear") -> None:
        super().__init__(extrapolation)
        self.degree = check_size("degree", degree, 0)

    @property
    def num(self) -> int:
        return self.degree + 1

    @property
    def size(self) -> int:
        return self.degree

    def config(self) -> dict[str, Any]:
        return {"degree": self.degree, "extrapolation": self.extrapolation}

    def resized(self, size: int) -> "Chebyshev":
        return Chebyshev(size, self.extrapolation)

    def growth(self, size: int) -> Float[Tensor, "fine coarse"] | None:
        return torch.eye(size + 1, self.num, dtype=torch.float64) if size >= self.degree else None

    def canonical(self, t: Float[Tensor, "*batch inputs"], order: int) -> Float[Tensor, "*batch inputs num"]:
        lower = None
        for d in range(order + 1):
            lower = _derivatives(t, d, lower, self.num)
        return torch.stack(lower, -1)


def _derivatives(t: Tensor, order: int, lower: list[Tensor] | None, num: int) -> list[Tensor]:
    """Derivatives of one order of T_0 ... T_(num-1), given those of the order below."""
    zero = torch.zeros_like(t) * t
    values = [zero + 1, t] if lower is None else [zero, zero + 1 if order == 1 else zero]
    for n in range(2, num):
        rising = t * values[-1] if lower is None else t * values[-1] + order * lower[n - 1]
        values.append(2 * rising - values[-2])
    return values[:num]
