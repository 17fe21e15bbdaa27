"""Kernels that are series of products over a basis: what attention shares with the edges of a KAN."""

from abc import abstractmethod
from functools import partial
from math import pi
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from superpose.bases import Basis, BeamModes, Bernstein, BSpline
from superpose.layers.kernels.kernel import Kernel, Mix, centred, repeated
from superpose.layers.kernels.sums import Direct, Work, sums


class SeriesKernel(Kernel):
    r"""$\kappa(a, b) = \sum_m \lambda_m \psi_m(a) \psi_m(b)$ with the functions of a `Basis` and $\lambda_m \ge 0$.

    The features are the outputs of a Kolmogorov-Arnold layer on the same basis, whose coefficients are `coef`.
    """

    basis: Basis
    constant: ClassVar[bool] = False
    """Whether the first function is the constant."""

    @abstractmethod
    def spectrum(self) -> Float[Tensor, "#heads functions"]:
        r"""The numbers $\lambda_m$ of every head, in float32 or wider."""

    def functions(
        self, x: Float[Tensor, "*batch coordinates"], order: int, first: int = 0
    ) -> Float[Tensor, "*batch functions coordinates"]:
        """Derivatives of the basis at every coordinate, from the function numbered `first` on."""
        return self.basis(x, order)[..., first:].mT

    def work(self, first: int, mix: Mix) -> Work:
        """How the functions from the one numbered `first` on are added up with this mix."""
        return Direct(partial(self.functions, first=first), self.basis.num)

    def sums(self, x: Tensor, mix: Mix, first: int) -> Float[Tensor, "batch tokens heads columns functions"]:
        """The functions from the one numbered `first` on, added up over the coordinates."""
        return sums(partial(self.functions, first=first), x, mix, partial(self.work, first, mix))

    def coef(self, mix: Mix, head_dim: int, *, query: bool) -> Float[Tensor, "heads coordinates functions features"]:
        """The coefficients with which `KANLinear` on this basis has the features of a head as its outputs."""
        columns = torch.eye(head_dim, dtype=self.spectrum().dtype).unsqueeze(0) if mix is None else mix
        diagonal = self.spectrum().diag_embed() if query else torch.eye(self.basis.num).unsqueeze(0)
        return torch.einsum("hdc,hmn->hdmcn", columns, diagonal.to(columns)).flatten(-2)

    def forward(
        self, q: Tensor, k: Tensor, left: Mix, right: Mix, relative: bool
    ) -> tuple[Float[Tensor, "batch queries heads features"], Float[Tensor, "batch keys heads features"]]:
        first = int(relative and self.constant)
        if q is k and left is right:
            queries = keys = self.sums(q, left, first)
        elif q is k and left is not None and right is not None:  # the functions are computed once
            both = self.sums(q, torch.cat([left, right], -1), first)
            queries, keys = both.split([left.shape[-1], right.shape[-1]], -2)
        else:
            queries, keys = self.sums(q, left, first), self.sums(k, right, first)
        weighted = queries * self.spectrum()[:, None, first:].to(queries.dtype)
        return weighted.flatten(-2), (centred(keys) if relative else keys).flatten(-2)

    def coordinates(self, head_dim: int) -> nn.Module:
        """Squeezes every coordinate into the basis's domain, by a sigmoid."""
        return Squeeze(*self.basis.domain[0].tolist())


class BasisKernel(SeriesKernel):
    r"""$\sum_m \lambda_m \psi_m(a) \psi_m(b)$ over any basis, of finite rank and so exact.

    With `BSpline()` it is the kernel of a KAN's edges: two numbers are alike as far as the same splines are active.

    Args:
        basis: Family of functions, placed once for all coordinates.
        learn: Whether every head learns its own $\lambda_m \ge 0$; they are one at first.
        heads: Heads with spectra of their own.

    Raises:
        TypeError: If `basis` is no basis.
        ValueError: If it is placed for more than one input.

    Example:
        >>> kernel = BasisKernel(BSpline(intervals=5, degree=3, extrapolation="clamp"))
        >>> kernel.spectrum().shape
        torch.Size([1, 8])
    """

    def __init__(self, basis: Basis, *, learn: bool = False, heads: int = 1) -> None:
        super().__init__()
        if not isinstance(basis, Basis):
            raise TypeError(f"basis must be an object such as superpose.BSpline(intervals=5), got {basis!r}.")
        if basis.inputs != 1:
            raise ValueError(f"basis is placed for {basis.inputs} inputs; a kernel takes one placement for all.")
        self.basis = basis.at(basis.breakpoints.clone())
        self.spread = nn.Parameter(torch.zeros(heads, basis.num, device="cpu")) if learn else None
        """Logarithms of the spectrum."""
        self.keep_()

    @property
    def positive(self) -> bool:  # type: ignore[override]
        return isinstance(self.basis, BSpline | Bernstein) and self.basis.extrapolation == "clamp"

    def spectrum(self) -> Float[Tensor, "#heads functions"]:
        if self.spread is None:
            return torch.ones(
                1, self.basis.num, dtype=self.basis.breakpoints.dtype, device=self.basis.breakpoints.device
            )
        return self.spread.to(torch.promote_types(self.spread.dtype, torch.float32)).exp()

    def expanded(self, heads: int) -> "BasisKernel":
        made = BasisKernel(self.basis, learn=self.spread is not None, heads=heads)
        if made.spread is not None and self.spread is not None:
            made.spread.data = repeated(self.spread, heads, "spread")
            made.keep_()
        return made


class CubicSplineKernel(SeriesKernel):
    r"""$1 + ab + \int_0^1 (a - t)_+ (b - t)_+ dt$ on [0, 1], the kernel of cubic smoothing splines.

    The integral is $m^2 M / 2 - m^3 / 6$ with m and M the smaller and the larger number (Wahba 1990, eq. 1.2.9). Its
    modes are those of a clamped beam, so the first `modes` of them err by at most $4 / (3 \pi^4 N^3)$, which is sharp.

    Args:
        modes: Number of modes N; 24 err by 1e-6.

    Example:
        >>> kernel = CubicSplineKernel()
        >>> f"{kernel.error:.1e}"
        '9.9e-07'
    """

    positive = True
    constant = True

    def __init__(self, modes: int = 24) -> None:
        super().__init__()
        basis = BeamModes(modes, extrapolation="clamp")
        self.basis: BeamModes = basis.at(torch.tensor([[0.0, 1.0]], device="cpu"))  # type: ignore[assignment]
        self.keep_()

    @property
    def error(self) -> float:
        """What a value is off by at most, for numbers from 0 to 1."""
        return 4 / (3 * pi**4 * self.basis.size**3)

    def spectrum(self) -> Float[Tensor, "#heads functions"]:
        modes = [beta**-4 for beta in self.basis.rates]
        place = self.basis.breakpoints
        dtype = torch.promote_types(place.dtype, torch.float32)
        return torch.tensor([[1.0, 1.0, *modes]], dtype=dtype, device=place.device)

    def expanded(self, heads: int) -> "CubicSplineKernel":
        return CubicSplineKernel(self.basis.size)


class Squeeze(nn.Module):
    """Maps all numbers into an interval, by a sigmoid.

    Example:
        >>> Squeeze(-1.0, 1.0)(torch.zeros(1))
        tensor([0.])
    """

    def __init__(self, low: float, high: float) -> None:
        super().__init__()
        self.low, self.high = low, high

    def forward(self, x: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """The interval's end plus a share of its width."""
        return self.low + (self.high - self.low) * x.sigmoid()

    def extra_repr(self) -> str:
        return f"{self.low}, {self.high}"
