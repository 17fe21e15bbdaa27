"""Kernels of the difference of two numbers, as short Fourier series with an error bound."""

from abc import abstractmethod
from collections.abc import Sequence
from functools import partial
from math import atan, ceil, erfc, exp, inf, log, pi, sqrt

import torch
from jaxtyping import Float
from torch import Tensor, nn

from superpose.bases import Fourier
from superpose.bases.basis import check_size
from superpose.layers.kernels.harmonics import Harmonics
from superpose.layers.kernels.kernel import Mix, per_head, repeated
from superpose.layers.kernels.series import SeriesKernel
from superpose.layers.kernels.sums import Work

COLUMNS = 4
"""Few cosines serve up to one column for so many harmonics; beyond, their products cost more than they save."""


class StationaryKernel(SeriesKernel):
    r"""$\kappa(a, b) = \sum_n a_n \cos(2 \pi n (a - b) / P)$ with $a_n \ge 0$, for numbers from -`radius` to `radius`.

    Bochner: a kernel of the difference is positive definite if and only if its spectrum is not negative. The cosine of
    a difference is two products, so the basis is `Fourier` with period P. Numbers beyond the radius count as its ends.
    """

    constant = True

    def __init__(self, harmonics: int, period: float, radius: float, heads: int) -> None:
        super().__init__()
        if not 0 < radius < inf:
            raise ValueError(f"radius is {radius!r}; it must be positive: the largest coordinate that is told apart.")
        self.radius, self.period, self.heads = float(radius), period, heads
        """Numbers beyond the radius count as its ends; the series repeats from the period on."""
        ends = torch.tensor([[-period / 2, period / 2]], device="cpu")
        self.basis: Fourier = Fourier(harmonics).at(ends)  # type: ignore[assignment]

    @abstractmethod
    def amplitudes(self, omega: Float[Tensor, " frequencies"]) -> Float[Tensor, "#heads frequencies"]:
        """The numbers $a_n$ of every head, for n from 0 on."""

    def spectrum(self) -> Float[Tensor, "#heads functions"]:
        place = self.basis.breakpoints
        dtype = torch.promote_types(place.dtype, torch.float32)
        number = torch.arange(self.basis.harmonics + 1, dtype=dtype, device=place.device)
        a = self.amplitudes(number * (2 * pi / self.period))
        return torch.cat([a[:, :1], a[:, 1:].repeat_interleave(2, -1)], -1)  # a cosine and a sine each

    def functions(
        self, x: Float[Tensor, "*batch coordinates"], order: int, first: int = 0
    ) -> Float[Tensor, "*batch functions coordinates"]:
        """The basis by one cosine of each number, with the coordinates last, where they are added up."""
        inside = x.clamp(-self.radius, self.radius)
        number = torch.arange(first, self.basis.num, device=x.device).unsqueeze(-1)
        rate = ((number + 1) // 2).to(x.dtype) * (2 * pi / self.period)
        turn = (order - ((number > 0) & (number % 2 == 0)).to(x.dtype)) * (pi / 2)  # a sine is a cosine turned back
        values = torch.addcmul(turn, inside.unsqueeze(-2), rate).cos()
        if order == 0:
            return values
        return values * rate**order * (x == inside).unsqueeze(-2)

    def work(self, first: int, mix: Mix) -> Work:
        if mix is None or COLUMNS * mix.shape[-1] > self.basis.harmonics:
            return super().work(first, mix)
        functions = partial(self.functions, first=first)
        return Harmonics(functions, self.basis.harmonics, self.period, self.radius, first)

    def coordinates(self, head_dim: int) -> nn.Module:
        r"""Layer normalisation without parameters: no coordinate of d exceeds $\sqrt{d - 1}$."""
        if sqrt(head_dim - 1) > self.radius:
            raise ValueError(
                f"normalised heads of {head_dim} coordinates reach {sqrt(head_dim - 1):.3g}, beyond the kernel's radius "
                f"{self.radius:.3g}; give it radius={ceil(sqrt(head_dim - 1))}, or other coordinates."
            )
        return nn.LayerNorm(head_dim, elementwise_affine=False)

    def extra_repr(self) -> str:
        return f"harmonics={self.basis.harmonics}, period={self.period:.4g}, radius={self.radius:.4g}"


class GaussianKernel(StationaryKernel):
    r"""$e^{-(a - b)^2 / 2 \sigma^2}$, to within `error` for numbers from -`radius` to `radius`.

    By Poisson's formula the trapezoidal sum of the spectrum, $a_n = 2 \sqrt{2 \pi} (\sigma / P) e^{-\sigma^2 \omega_n^2 / 2}$
    (half of it for n = 0), is the kernel and its copies at all multiples of P. What is lost are the copies, at a
    distance of $P - 2 R$ or more, and the frequencies beyond the last, so both decay like a Gaussian. Harmonics come in
    fours, as fused attention wants widths in eights.

    Args:
        sigma: Width, for all heads or for each.
        learn: The least and the greatest width that may be learned, each head its own; fixed if None.
        eps: The greatest error.
        radius: The largest coordinate that is told apart; 6 covers layer normalisation of up to 37 coordinates.
        heads: Heads with widths of their own.

    Raises:
        ValueError: If a number is out of its range.

    Example:
        >>> kernel = GaussianKernel(1.0)
        >>> kernel.extra_repr()
        'harmonics=16, period=17.39, radius=6, learn=None, eps=1e-06'
        >>> kernel.error < 1e-6
        True
    """

    positive = True
    width: Tensor

    def __init__(
        self,
        sigma: float | Sequence[float] = 1.0,
        *,
        learn: tuple[float, float] | None = None,
        eps: float = 1e-6,
        radius: float = 6.0,
        heads: int = 1,
    ) -> None:
        widths = per_head(sigma, heads, "sigma")
        least, most = (float(widths.min()), float(widths.max())) if learn is None else learn
        if not 0 < least <= float(widths.min()) <= float(widths.max()) <= most < inf or (learn and least == most):
            raise ValueError(
                f"learn must be an interval (least, most) of positive widths around sigma {sigma!r}, got {learn!r}."
            )
        if not 0 < eps < 1:
            raise ValueError(f"eps is {eps!r}; it must lie between 0 and 1.")
        reach = sqrt(2 * log(2 / eps))
        period = _single(2 * radius + reach * most)
        super().__init__(4 * ceil(reach * period / (2 * pi * least) / 4), period, radius, heads)
        self.learn, self.eps = learn, eps
        self.share = None
        if learn is None:
            self.register_buffer("width", widths)
        else:
            share = (widths / least).log() / log(most / least)
            self.share = nn.Parameter(share.clamp(1e-3, 1 - 1e-3).logit())
            """Where in the interval the logarithm of the width lies, before a sigmoid."""
        self.keep_()

    @property
    def sigma(self) -> Float[Tensor, " heads"]:
        """The width of every head, in float32 or wider."""
        if self.share is None or self.learn is None:
            return self.width.to(torch.promote_types(self.width.dtype, torch.float32))
        share = self.share.to(torch.promote_types(self.share.dtype, torch.float32)).sigmoid()
        least, most = self.learn
        return least * (log(most / least) * share).exp()

    @property
    def error(self) -> float:
        """What a value is off by at most, in exact arithmetic, for numbers up to the radius."""
        return max(_gaussian_error(s, self.period, self.radius, self.basis.harmonics) for s in self.sigma.tolist())

    def amplitudes(self, omega: Float[Tensor, " frequencies"]) -> Float[Tensor, "#heads frequencies"]:
        sigma = self.sigma.unsqueeze(-1)
        twice = 2 - (omega == 0).to(omega.dtype)
        return twice * (sqrt(2 * pi) / self.period) * sigma * torch.exp(-((sigma * omega) ** 2) / 2)

    def expanded(self, heads: int) -> "GaussianKernel":
        sigma = self.sigma.tolist()
        sigma = sigma[0] if len(sigma) == 1 else sigma
        return GaussianKernel(sigma, learn=self.learn, eps=self.eps, radius=self.radius, heads=heads)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, learn={self.learn}, eps={self.eps:g}"


class LaplaceKernel(StationaryKernel):
    r"""$e^{-|a - b| / \sigma}$ of limited resolution, to within `error` for numbers from -`radius` to `radius`.

    The kernel has a corner, so its spectrum $a_n = (4 \sigma / P) / (1 + \sigma^2 \omega_n^2)$ decays slowly and no few
    functions describe it closely: N harmonics err by up to $(2 / \pi) \arctan(P / 2 \pi \sigma N)$, most at the corner.
    What they are is a positive definite kernel of its own.

    Args:
        sigma: Decay length, for all heads or for each.
        harmonics: Number N of harmonics.
        radius: The largest coordinate that is told apart.
        heads: Heads with lengths of their own.

    Raises:
        ValueError: If a number is out of its range.

    Example:
        >>> LaplaceKernel(1.0, harmonics=32).error < 0.07
        True
    """

    width: Tensor

    def __init__(
        self, sigma: float | Sequence[float] = 1.0, *, harmonics: int = 16, radius: float = 6.0, heads: int = 1
    ) -> None:
        widths = per_head(sigma, heads, "sigma")
        harmonics = check_size("harmonics", harmonics, 1)
        super().__init__(harmonics, _single(2 * radius + 4 * float(widths.max())), radius, heads)
        self.register_buffer("width", widths)
        self.keep_()

    @property
    def sigma(self) -> Float[Tensor, " heads"]:
        """The decay length of every head, in float32 or wider."""
        return self.width.to(torch.promote_types(self.width.dtype, torch.float32))

    @property
    def error(self) -> float:
        """What a value is off by at most, in exact arithmetic, for numbers up to the radius."""
        period, harmonics = self.period, self.basis.harmonics
        return max(_laplace_error(s, period, self.radius, harmonics) for s in self.sigma.tolist())

    def amplitudes(self, omega: Float[Tensor, " frequencies"]) -> Float[Tensor, "#heads frequencies"]:
        sigma = self.sigma.unsqueeze(-1)
        # The coefficients of the kernel and its copies at all multiples of P.
        return (2 - (omega == 0).to(omega.dtype)) * (2 * sigma / self.period) / (1 + (sigma * omega) ** 2)

    def expanded(self, heads: int) -> "LaplaceKernel":
        sigma = self.sigma.tolist()
        sigma = sigma[0] if len(sigma) == 1 else sigma
        return LaplaceKernel(sigma, harmonics=self.basis.harmonics, radius=self.radius, heads=heads)


class SpectralKernel(StationaryKernel):
    r"""Any kernel of the difference: every head learns its own spectrum $a_n \ge 0$.

    The Kolmogorov-Arnold idea for kernels: not the function of a coordinate is learned but the function of two. It
    starts as the Gaussian of width `sigma`.

    Args:
        harmonics: Number of frequencies.
        sigma: Width of the Gaussian to start from.
        radius: The largest coordinate that is told apart; the period is three times that.
        heads: Heads with spectra of their own.

    Raises:
        ValueError: If a number is out of its range.

    Example:
        >>> SpectralKernel(harmonics=8).expanded(4).spread.shape
        torch.Size([4, 9])
    """

    def __init__(self, harmonics: int = 16, *, sigma: float = 1.0, radius: float = 6.0, heads: int = 1) -> None:
        widths = per_head(sigma, heads, "sigma")
        super().__init__(check_size("harmonics", harmonics, 1), _single(3 * radius), radius, heads)
        omega = 2 * pi / self.period * torch.arange(harmonics + 1, device="cpu")
        gaussian = log(2 * sqrt(2 * pi) / self.period) + widths.log()[:, None] - (widths[:, None] * omega) ** 2 / 2
        gaussian[:, 0] -= log(2)
        self.spread = nn.Parameter(gaussian.clamp_min(-12))
        """Logarithms of the amplitudes."""
        self.keep_()

    def amplitudes(self, omega: Float[Tensor, " frequencies"]) -> Float[Tensor, "#heads frequencies"]:
        return self.spread.to(torch.promote_types(self.spread.dtype, torch.float32)).exp()

    def expanded(self, heads: int) -> "SpectralKernel":
        made = SpectralKernel(self.basis.harmonics, radius=self.radius, heads=heads)
        made.spread.data = repeated(self.spread, heads, "spread")
        made.keep_()
        return made


def _single(period: float) -> float:
    """The next number that single precision holds too, so that a basis in float32 has the same period."""
    return ceil(period * 256) / 256


def _gaussian_error(sigma: float, period: float, radius: float, harmonics: int) -> float:
    """Copies of the kernel at the largest difference, and the tail of the spectrum by an integral that exceeds it."""
    places = [side * n * period + 2 * radius for n in range(1, 50) for side in (1, -1)]
    copies = sum(exp(-((place / sigma) ** 2) / 2) for place in places)
    return copies + erfc(sigma * 2 * pi * harmonics / period / sqrt(2))


def _laplace_error(sigma: float, period: float, radius: float, harmonics: int) -> float:
    """The same for the Laplace kernel: two geometric series, and an arctangent."""
    near, far = exp(-(period - 2 * radius) / sigma), exp(-(period + 2 * radius) / sigma)
    return (near + far) / (1 - exp(-period / sigma)) + 2 / pi * atan(period / (2 * pi * sigma * harmonics))
