"""Bernstein polynomials, the basis of Bezier curves."""

from math import comb
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from superpose.bases.basis import DomainBasis, Extrapolation, check_size


class Bernstein(DomainBasis):
    r"""Bernstein polynomials $B_{m,n} = \binom{n}{m} u^m (1 - u)^{n-m}$ of degree n, with $u = (1 + t) / 2$.

    Non-negative, summing to one, global and smooth: a B-spline of one interval. The first and last coefficient are the
    values at the ends, and the function stays between the least and the greatest coefficient (Farouki 2012, The
    Bernstein polynomial basis: a centennial retrospective). Choose it where bounds or monotonicity have to be read
    from the coefficients.

    Args:
        degree: Degree n, 0 or more; `num` is one more.
        extrapolation: What happens outside the domain, see `Basis`.

    Example:
        >>> Bernstein(degree=2)(torch.tensor([[0.0]]))
        tensor([[[0.2500, 0.5000, 0.2500]]])
    """

    def __init__(self, degree: int = 5, extrapolation: Extrapolation = "linear") -> None:
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

    def resized(self, size: int) -> "Bernstein":
        return Bernstein(size, self.extrapolation)

    def growth(self, size: int) -> Float[Tensor, "fine coarse"] | None:
        """Degree elevation: `comb(n, j) comb(r, i - j) / comb(n + r, i)` for r more degrees."""
        n, more = self.degree, size - self.degree
        if more < 0:
            return None
        shares = [
            [comb(n, j) * comb(more, i - j) / comb(size, i) if i >= j else 0.0 for j in range(n + 1)]
            for i in range(size + 1)
        ]
        return torch.tensor(shares, dtype=torch.float64)

    def canonical(self, t: Float[Tensor, "*batch inputs"], order: int) -> Float[Tensor, "*batch inputs num"]:
        # B(m, n) = u B(m-1, n-1) + (1-u) B(m, n-1), and its derivative in u is n (B(m-1, n-1) - B(m, n-1)). One step
        # raises the degree; any `order` of the steps may be the differentiating kind, and here the last ones are.
        t = t.unsqueeze(-1)
        up, down = (1 + t) / 2, (1 - t) / 2
        values = t * 0 + (1 if order <= self.degree else 0)
        for n in range(1, self.num):
            if n > self.degree - order:
                values = n / 2 * (_shifted(values) - _extended(values))
            else:
                values = _shifted(up * values) + _extended(down * values)
        return values


def _shifted(values: Tensor) -> Tensor:
    return torch.nn.functional.pad(values, (1, 0))


def _extended(values: Tensor) -> Tensor:
    return torch.nn.functional.pad(values, (0, 1))
