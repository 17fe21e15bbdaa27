"""The Kolmogorov-Arnold layer: one learnable function of one variable on every edge."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from superpose.bases import Basis, BSpline
from superpose.layers.init import Initializer, variance_preserving


class KANLinear(nn.Module):
    r"""Sums of learnable univariate functions: $y_o = \sum_i w_{oi}\, b(x_i) + \sum_m c_{imo}\, \psi_m(x_i)$.

    $b$ is the residual base function and $\psi_m$ the basis (Liu et al. 2024, arXiv 2404.19756, eq. 2.10, with the
    spline's scale folded into its coefficients). It stands where `nn.Linear` and an activation stood.

    Args:
        in_features: Size of the last axis of the input.
        out_features: Size of the last axis of the output.
        basis: Family of functions on the edges; a copy of it is placed for every input. `BSpline()` if None.
        base: Residual function; `nn.SiLU()` if None, and `nn.Identity()` or any other module as given.
        init: Sets the parameters, see `superpose.layers.init`.
        generator: Source of randomness; the caller's global state if None.

    Raises:
        ValueError: If a number of features is below 1, or the input's last axis is not `in_features`.

    Example:
        >>> layer = KANLinear(3, 2, BSpline(intervals=4))
        >>> layer(torch.zeros(10, 3)).shape
        torch.Size([10, 2])
    """

    basis: Basis
    base: nn.Module
    mask: Tensor | None
    """Which edges there are, (outputs, inputs); all of them if None."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        basis: Basis | None = None,
        *,
        base: nn.Module | None = None,
        init: Initializer = variance_preserving,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if in_features < 1 or out_features < 1:
            raise ValueError(f"in_features and out_features must be at least 1, got {in_features} and {out_features}.")
        if not isinstance(basis, Basis | None):
            raise TypeError(f"basis must be an object such as superpose.BSpline(intervals=5), got {basis!r}.")
        self.in_features, self.out_features = in_features, out_features
        self.basis = (BSpline() if basis is None else basis).expanded(in_features)
        self.base = nn.SiLU() if base is None else base
        self.weight = nn.Parameter(torch.empty(out_features, in_features))
        self.coef = nn.Parameter(torch.empty(in_features, self.basis.num, out_features))
        self.register_buffer("mask", None)
        init(self, generator)

    def forward(self, x: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
        """Apply every edge function and sum at the outputs."""
        if x.shape[-1] != self.in_features:
            raise ValueError(f"the last axis of x has size {x.shape[-1]}, but in_features is {self.in_features}.")
        if self.mask is None:
            return self.basis.edges(x, self.coef, self.base, self.weight)
        return self.basis.edges(x, self.coef * self.mask.T.unsqueeze(1), self.base, self.weight * self.mask)

    def features(self, x: Float[Tensor, "batch inputs"]) -> Float[Tensor, "batch features"]:
        """What the layer is linear in: the base and all basis functions of every input, side by side."""
        return torch.cat([self.base(x).unsqueeze(-1), self.basis(x)], -1).flatten(1)

    def matrix(self) -> Float[Tensor, "outputs features"]:
        """The parameters as the matrix that multiplies `features`."""
        matrix = torch.cat([self.weight.unsqueeze(-1), self.coef.permute(2, 0, 1)], -1)
        return (matrix if self.mask is None else matrix * self.mask.unsqueeze(-1)).flatten(1)

    @torch.no_grad()
    def set_matrix_(self, matrix: Float[Tensor, "outputs features"]) -> None:
        """Write the parameters from the matrix that multiplies `features`."""
        split = matrix.view(self.out_features, self.in_features, 1 + self.basis.num)
        self.weight.copy_(split[..., 0])
        self.coef.copy_(split[..., 1:].permute(1, 2, 0))

    @torch.no_grad()
    def keep_(self, edges: Bool[Tensor, "outputs inputs"]) -> None:
        """Take all other edges away for good: whatever trains the layer, they stay zero."""
        self.mask = edges if self.mask is None else self.mask & edges
        self.set_matrix_(self.matrix())

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}"
