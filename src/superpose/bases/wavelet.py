"""Mexican-hat wavelets on a dyadic grid."""

from math import pi, sqrt
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from superpose.bases.basis import DomainBasis, Extrapolation, check_size
from superpose.bases.recurrences import gaussian


class Wavelet(DomainBasis):
    r"""The constant 1 and Mexican hats $\psi(2^l (t - t_{lj}))$ on levels l = 0, 1, ... of $2^l$ wavelets each.

    $\psi(z) = \frac{2}{\sqrt 3 \pi^{1/4}} (1 - z^2) e^{-z^2/2}$, the Ricker wavelet of Wav-KAN (Bozorgasl and Chen 2024,
    arXiv 2405.12832). There an edge is one wavelet of learned place and width; here these are fixed, one wavelet in
    the middle of each of the $2^l$ equal cells of the domain with its zeros at the cell's ends, so that an edge is
    linear in its coefficients and a finer family contains the coarser. Choose it for functions with features of
    several widths.

    Args:
        levels: Number of levels from 1 to 10; `num` is 2 to this power.
        extrapolation: What happens outside the domain, see `Basis`.

    Example:
        >>> Wavelet(levels=1)(torch.tensor([[0.0]]))
        tensor([[[1.0000, 0.8673]]])
    """

    def __init__(self, levels: int = 3, extrapolation: Extrapolation = "linear") -> None:
        super().__init__(extrapolation)
        self.levels = check_size("levels", levels, 1, 10)

    @property
    def num(self) -> int:
        return 2**self.levels

    @property
    def size(self) -> int:
        return self.levels

    def config(self) -> dict[str, Any]:
        return {"levels": self.levels, "extrapolation": self.extrapolation}

    def resized(self, size: int) -> "Wavelet":
        return Wavelet(size, self.extrapolation)

    def growth(self, size: int) -> Float[Tensor, "fine coarse"] | None:
        return torch.eye(2**size, self.num, dtype=torch.float64) if size >= self.levels else None

    def canonical(self, t: Float[Tensor, "*batch inputs"], order: int) -> Float[Tensor, "*batch inputs num"]:
        t = t.unsqueeze(-1)
        families = [t * 0 + (order == 0)]
        for level in range(self.levels):
            # In half cells from the left end, the middles of the cells are the odd numbers.
            middles = 2 * torch.arange(2**level, dtype=t.dtype, device=t.device) + 1
            families.append(_ricker(2**level * (t + 1) - middles, order) * 2 ** (level * order))
        return torch.cat(families, -1)


def _ricker(z: Float[Tensor, "*batch"], order: int) -> Float[Tensor, "*batch"]:
    """Derivatives of the Mexican hat, which is minus the second derivative of a Gaussian, scaled to unit energy."""
    return gaussian(z, order + 2) * (-2 / (sqrt(3) * pi**0.25))
