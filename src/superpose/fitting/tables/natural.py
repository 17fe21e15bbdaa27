"""Natural functions of splines on given data: orthonormal there, from the straight line to the most wiggly.

Fitting a noisy table in the coefficients of a basis is badly conditioned, and a penalty on roughness is a matrix. In
the basis of Demmler and Reinsch (1975, Oscillation matrices with spline smoothing, Numerische Mathematik 24) the data
are uncorrelated within an input and the penalty is a row of numbers. Directions that the data do not see, such as all
but the straight line of a column with two values, are left out.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from superpose.bases import BSpline
from superpose.fitting.roughness import roughness
from superpose.grids import gauss_points

UNSEEN = 1e-5
"""Share of a column's variance below which a function counts as not seen by the data."""


@dataclass(frozen=True)
class Natural:
    """Functions of every input, written in B-splines; J of them over all inputs.

    Attributes:
        basis: The placed splines, in float64.
        maps: For every input the matrix from the coefficients of the functions to those of the splines.
        rough: Mean squared second derivative of every function, of which the data's variance is one.
        means: What was taken off every function so that its mean over the data is zero.
        owner: The input every function belongs to.
    """

    basis: BSpline
    maps: list[Tensor]
    rough: Float[Tensor, " J"]
    means: Float[Tensor, " J"]
    owner: Tensor

    @classmethod
    @torch.no_grad()
    def of(cls, basis: BSpline, x: Float[Tensor, "N inputs"], weight: Float[Tensor, " N"], most: int = 32) -> "Natural":
        """The functions for data with weights that sum to one, `most` of them per input."""
        forms = bending(basis)
        maps, rough, means, owner = [], [], [], []
        for i in range(x.shape[1]):
            points, inverse = np.unique(x[:, i].numpy(), return_inverse=True)
            mass = torch.from_numpy(np.bincount(inverse, weight.numpy(), len(points)))
            values = _values(basis, i, points)
            mean = mass @ values
            centred = values - mean
            own, bends = _directions((centred * mass.unsqueeze(1)).T @ centred, forms[i])
            maps.append(own[:, :most])
            rough.append(bends[:most])
            means.append(mean @ own[:, :most])
            owner.append(torch.full((maps[-1].shape[1],), i))
        return cls(basis, maps, torch.cat(rough), torch.cat(means), torch.cat(owner))

    @torch.no_grad()
    def __call__(self, x: Float[Tensor, "N inputs"]) -> Float[Tensor, "N J"]:
        """Values of all functions, those of an input side by side."""
        parts, start = [], 0
        for i, own in enumerate(self.maps):
            points, inverse = np.unique(x[:, i].numpy(), return_inverse=True)
            table = _values(self.basis, i, points) @ own - self.means[start : start + own.shape[1]]
            parts.append(table[torch.from_numpy(inverse)])
            start += own.shape[1]
        return torch.cat(parts, 1)

    def coefficients(
        self, matrix: Float[Tensor, "outputs J"], shift: Float[Tensor, " outputs"]
    ) -> Float[Tensor, "outputs inputs num"]:
        """Coefficients in the splines of `matrix @ functions + shift`; the shift is spread over the inputs."""
        parts = matrix.split([own.shape[1] for own in self.maps], dim=1)
        coef = torch.stack([part @ own.T for part, own in zip(parts, self.maps, strict=True)], 1)
        # B-splines sum to one, so adding a number to all coefficients adds it to the function.
        return coef + ((shift - matrix @ self.means) / len(self.maps))[:, None, None]


def _values(basis: BSpline, column: int, points: np.ndarray) -> Float[Tensor, "N num"]:
    """All splines of one input at some points, continued as the basis says: by straight lines or constants."""
    from scipy.interpolate import BSpline as Compiled

    knots, degree = basis.knots[column].numpy(), basis.degree
    low, high = knots[degree], knots[-degree - 1]
    values = Compiled.design_matrix(np.clip(points, low, high), knots, degree).toarray()
    outside = np.flatnonzero((points < low) | (points > high))
    if len(outside) and degree and basis.extrapolation == "linear":
        slope = Compiled(knots, np.eye(values.shape[1]), degree).derivative()
        inside = np.clip(points[outside], low, high)
        values[outside] += (points[outside] - inside)[:, None] * slope(inside)
    return torch.from_numpy(values)


def _directions(gram: Tensor, form: Tensor) -> tuple[Tensor, Tensor]:
    """Functions without the constant, of variance one, in order of their roughness."""
    scale = float(gram.diagonal().amax())
    if scale < 1e-20:
        return gram[:, :0], gram[0, :0]
    eye = torch.eye(len(gram), dtype=gram.dtype)
    rest = torch.linalg.qr(torch.cat([torch.ones_like(gram[:, :1]), eye], 1))[0][:, 1:]
    seen = rest.T @ gram @ rest + UNSEEN * scale * eye[1:, 1:]
    factor = torch.linalg.cholesky(seen)
    half = torch.linalg.solve_triangular(factor, rest.T @ form @ rest, upper=False)
    bends, vectors = torch.linalg.eigh(torch.linalg.solve_triangular(factor, half.T, upper=False))
    own = rest @ torch.linalg.solve_triangular(factor.T, vectors, upper=True)
    variance = torch.einsum("ji,jk,ki->i", own, gram, own).clamp_min(1e-30)
    keep = variance > 0.5
    # The sign of an eigenvector is arbitrary; fixed, equal data give equal networks.
    # Weights that rise unevenly see neither an odd nor an even function as zero.
    uneven = torch.linspace(1, 2, len(own), dtype=own.dtype) ** 3
    own = own * torch.where(uneven @ own < 0, -1.0, 1.0)
    return (own / variance.sqrt())[:, keep], (bends.clamp_min(0) / variance)[keep]


def bending(basis: BSpline) -> Float[Tensor, "inputs num num"]:
    """Integral of the squared second derivative over the domain, its length taken as 2, as a form in the coefficients."""
    if basis.degree < 2:
        return roughness(basis)
    low, high = basis.domain.unbind(-1)
    nodes, weights = gauss_points(basis.breakpoints, basis.degree)
    rows = basis(nodes.T, order=2).transpose(0, 1)
    return rows.transpose(1, 2) @ (rows * (weights * ((high - low) / 2).unsqueeze(-1) ** 3).unsqueeze(-1))
