"""The trigonometric functions of a periodic variable."""

from math import pi
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from superpose.bases.basis import DomainBasis, check_size


class Fourier(DomainBasis):
    r"""The constant 1 and the pairs $\cos(n \pi t), \sin(n \pi t)$ for n from 1 to `harmonics`, in this order.

    The domain is one period, so there is nothing to extrapolate: the functions repeat. Orthogonal for data spread
    evenly over it. Choose it for angles, phases and times of day or year; on other data the jump between the two ends
    of the domain rings. As an edge function: Xu et al. 2024, FourierKAN-GCF, arXiv 2406.01034.

    Args:
        harmonics: Number of frequencies, 1 or more; `num` is twice that and one.

    Example:
        >>> Fourier(harmonics=1)(torch.tensor([[0.0], [4.0]]))[:, 0].round(decimals=4).abs()
        tensor([[1., 1., 0.],
                [1., 1., 0.]])
    """

    extrapolations: ClassVar[tuple[str, ...]] = ("periodic",)

    def __init__(self, harmonics: int = 4) -> None:
        super().__init__("periodic")
        self.harmonics = check_size("harmonics", harmonics, 1)

    @property
    def num(self) -> int:
        return 2 * self.harmonics + 1

    @property
    def size(self) -> int:
        return self.harmonics

    def config(self) -> dict[str, Any]:
        return {"harmonics": self.harmonics}

    def resized(self, size: int) -> "Fourier":
        return Fourier(size)

    def growth(self, size: int) -> Float[Tensor, "fine coarse"] | None:
        return torch.eye(2 * size + 1, self.num, dtype=torch.float64) if size >= self.harmonics else None

    def canonical(self, t: Float[Tensor, "*batch inputs"], order: int) -> Float[Tensor, "*batch inputs num"]:
        rate = pi * torch.arange(1, self.harmonics + 1, dtype=t.dtype, device=t.device)
        angle = t.unsqueeze(-1) * rate
        cosine, sine = angle.cos(), angle.sin()
        # The derivatives of the pair go round in fours; a phase of order * pi / 2 would add rounding errors.
        turned = [(cosine, sine), (-sine, cosine), (-cosine, -sine), (sine, -cosine)][order % 4]
        pairs = torch.stack([part * rate**order for part in turned], -1).flatten(-2)
        return torch.cat([t.unsqueeze(-1) * 0 + (order == 0), pairs], -1)
