"""The vibrations of a beam, in which the kernel of cubic smoothing splines is diagonal."""

from math import atan2, cos, exp, hypot, pi, sin
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from superpose.bases.basis import DomainBasis, Extrapolation, check_size


class BeamModes(DomainBasis):
    r"""The constant, the line u and the modes $\phi_n(u)$ of a beam clamped at the left end and free at the right.

    With u from 0 to 1 over the domain, $\phi'''' = \beta_n^4 \phi$ and $\cos \beta_n \cosh \beta_n = -1$. The modes are
    orthonormal, and $\sum_n \beta_n^{-4} \phi_n(u) \phi_n(v) = \int_0^1 (u - t)_+ (v - t)_+ dt$, the kernel whose
    interpolants are cubic splines (Wahba 1990, Spline Models for Observational Data, eq. 1.2.9; the beam's Green's
    function). Fewer numbers than any other family describe smooth functions of small curvature.

    Args:
        modes: Number of modes, 1 or more; `num` is two more.
        extrapolation: What happens outside the domain, see `Basis`.

    Example:
        >>> BeamModes(modes=1)(torch.tensor([[-1.0], [1.0]])).round(decimals=4)[:, 0]
        tensor([[1., 0., 0.],
                [1., 1., 2.]])
    """

    def __init__(self, modes: int = 8, extrapolation: Extrapolation = "linear") -> None:
        super().__init__(extrapolation)
        self.modes = check_size("modes", modes, 1)
        self.rates = wave_numbers(self.modes)
        r"""The numbers $\beta_n$."""
        self._shapes = [_shape(rate) for rate in self.rates]

    @property
    def num(self) -> int:
        return self.modes + 2

    @property
    def size(self) -> int:
        return self.modes

    def config(self) -> dict[str, Any]:
        return {"modes": self.modes, "extrapolation": self.extrapolation}

    def resized(self, size: int) -> "BeamModes":
        return BeamModes(size, self.extrapolation)

    def growth(self, size: int) -> Float[Tensor, "fine coarse"] | None:
        return torch.eye(size + 2, self.num, dtype=torch.float64) if size >= self.modes else None

    def canonical(self, t: Float[Tensor, "*batch inputs"], order: int) -> Float[Tensor, "*batch inputs num"]:
        u = ((t + 1) / 2).unsqueeze(-1)
        rate, near, far, height, turn = torch.tensor(self._shapes, dtype=t.dtype, device=t.device).unbind(-1)
        scale = rate**order
        # cosh and sinh as what decays from either end: as they stand they overflow, and cancel before that.
        decaying = (-1) ** order * scale * near * torch.exp(-rate * u) + scale * far * torch.exp(rate * (u - 1))
        wave = torch.addcmul(turn + order * pi / 2, rate, u).cos()
        modes = torch.addcmul(decaying, scale * height, wave)
        line = u if order == 0 else u * 0 + (order == 1)
        values = torch.cat([u * 0 + (order == 0), line, modes], -1)
        return values / 2**order


def wave_numbers(modes: int) -> tuple[float, ...]:
    r"""The first roots of $\cos \beta \cosh \beta = -1$, by Newton's method from $(n - 1/2) \pi$."""
    roots = []
    for n in range(1, modes + 1):
        root = (n - 0.5) * pi
        for _ in range(8):
            tail = 2 * exp(-root) / (1 + exp(-2 * root))  # 1 / cosh
            slope = -sin(root) - tail * (1 - exp(-2 * root)) / (1 + exp(-2 * root))
            root -= (cos(root) + tail) / slope
        roots.append(root)
    return tuple(roots)


def _shape(rate: float) -> tuple[float, float, float, float, float]:
    r"""The wave number of a mode, the heights of what decays from the clamped and from the free end, and its wave.

    $\phi = \cosh - \cos - \sigma (\sinh - \sin)$ with $\sigma$ so that the free end bends not; the wave is
    $\sigma \sin - \cos = h \cos(\beta u + \varphi)$.
    """
    fading = exp(-rate)
    whole = 1 - fading**2 + 2 * fading * sin(rate)  # 2 exp(-rate) (sinh + sin)
    sigma = (1 + fading**2 + 2 * fading * cos(rate)) / whole
    far = (sin(rate) - cos(rate) - fading) / whole
    return rate, (1 + sigma) / 2, far, hypot(1, sigma), atan2(-sigma, -1)
