"""Chebyshev polynomials of the first kind."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from superpose.bases.basis import DomainBasis, Extrapolation, check_size
from superpose.bases.recurrences import three_term


class Chebyshev(DomainBasis):
    r"""Chebyshev polynomials $T_0, ..., T_n$ on the domain, by $T_n = 2 t\, T_{n-1} - T_{n-2}$.

    Global and smooth: near-best for analytic functions, prone to ringing for others. The recurrence, unlike
    $\cos(n \arccos t)$, has finite derivatives of every order at the ends (Mason and Handscomb, Chebyshev
    Polynomials, eq. 1.3).

    Args:
        degree: Highest degree, 0 or more; `num` is one more.
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
        return three_term(t, order, self.num, lambda n: (2, 1))
