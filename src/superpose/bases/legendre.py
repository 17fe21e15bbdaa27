"""Legendre polynomials."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from superpose.bases.basis import DomainBasis, Extrapolation, check_size
from superpose.bases.recurrences import three_term


class Legendre(DomainBasis):
    r"""Legendre polynomials $P_0, ..., P_n$ on the domain, by $n P_n = (2n - 1) t\, P_{n-1} - (n - 1) P_{n-2}$.

    Global, smooth, and orthogonal for data spread evenly over the domain, so that coefficients can be read and cut one
    by one: the mean square of $P_n$ is $1 / (2n + 1)$ (NIST Digital Library of Mathematical Functions, 18.3 and 18.9).
    They span the same functions as `Chebyshev` of the same degree.

    Args:
        degree: Highest degree, 0 or more; `num` is one more.
        extrapolation: What happens outside the domain, see `Basis`.

    Example:
        >>> Legendre(degree=2)(torch.tensor([[0.5]]))
        tensor([[[ 1.0000,  0.5000, -0.1250]]])
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

    def resized(self, size: int) -> "Legendre":
        return Legendre(size, self.extrapolation)

    def growth(self, size: int) -> Float[Tensor, "fine coarse"] | None:
        return torch.eye(size + 1, self.num, dtype=torch.float64) if size >= self.degree else None

    def canonical(self, t: Float[Tensor, "*batch inputs"], order: int) -> Float[Tensor, "*batch inputs num"]:
        return three_term(t, order, self.num, lambda n: ((2 * n - 1) / n, (n - 1) / n))
