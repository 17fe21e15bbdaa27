"""Sums of many harmonics from few cosines."""

from functools import cache
from math import pi

import torch
from torch import Tensor

from superpose.layers.kernels.sums import Functions, Work

Waves = tuple[Tensor, Tensor]


class Harmonics(Work):
    r"""The sums of $1, \cos n \theta, \sin n \theta$ for n up to N, at about $4 \sqrt{N / 2}$ cosines a point and not 2N.

    Every n is $(2 B + 1) a + b$ with b from -B to B. The addition theorems make its cosine and sine of products of one
    function of $(2 B + 1) a \theta$ and one of $b \theta$, and the sum over the coordinates of all such products is a
    product of two matrices. What is left is a fixed matrix of zeros and signs.

    Args:
        functions: The functions one by one.
        harmonics: The number N.
        period: Where $\theta$ is one turn.
        radius: Where points are cut off.
        first: How many functions are left out at the start: 0, or 1 for the constant.
    """

    def __init__(self, functions: Functions, harmonics: int, period: float, radius: float, first: int) -> None:
        self.functions, self.harmonics, self.first = functions, harmonics, first
        self.period, self.radius = period, radius

    @property
    def rows(self) -> int:
        return 2 * (sum(split(self.harmonics)) + 1)

    def total(self, x: Tensor, mix: Tensor) -> Tensor:  # type: ignore[override]
        coarse, fine = (_stacked(*waves) for waves in self._waves(x))
        products = coarse @ _weighted(fine, mix).mT
        return products.unflatten(-1, (mix.shape[-1], -1)).transpose(-3, -2).flatten(-2) @ self._recipe(x).T

    def pulled(  # type: ignore[override]
        self, x: Tensor, mix: Tensor, grad: Tensor, needed: tuple[bool, bool]
    ) -> tuple[Tensor, Tensor]:
        far, near = self._waves(x)
        coarse, fine = _stacked(*far), _stacked(*near)
        # Batched derivatives (`is_grads_batched`) know no `unflatten` and no `einsum`.
        wanted = (grad @ self._recipe(x)).reshape(*grad.shape[:-1], coarse.shape[-2], fine.shape[-2])
        each = wanted.mT @ coarse.unsqueeze(-3)  # for the finer factors of every column, (t, h, c, rows, d)
        for_x = for_mix = x.new_zeros(())
        if needed[0]:
            finer = _weighted(fine, mix)
            for_coarse = wanted.transpose(-3, -2).reshape(*coarse.shape[:-1], finer.shape[-2]) @ finer
            for_fine = (each * mix.mT.unsqueeze(-2)).sum(-3)
            step = 2 * pi / self.period
            for_x = _slope(far, for_coarse, step * (2 * near[0].shape[-2] + 1)) + _slope(near, for_fine, step)
            for_x = for_x * (x.abs() <= self.radius)
        if needed[1]:
            for_mix = (fine.unsqueeze(-3) * each).sum((0, -2)).mT
        return for_x, for_mix

    def _waves(self, x: Tensor) -> tuple[Waves, Waves]:
        """Cosines and sines of the multiples of 2 B + 1 and of the numbers up to B, (t, h, multiples, d)."""
        coarse, fine = split(self.harmonics)
        number = torch.arange(1, coarse + fine + 1, dtype=x.dtype, device=x.device)
        number = torch.where(number > coarse, number - coarse, number * (2 * fine + 1))
        angle = x.clamp(-self.radius, self.radius).unsqueeze(-2) * (number * (2 * pi / self.period)).unsqueeze(-1)
        far, near = zip(*(wave.split([coarse, fine], -2) for wave in (angle.cos(), angle.sin())), strict=True)
        return far, near

    def _recipe(self, x: Tensor) -> Tensor:
        return recipe(self.harmonics)[self.first :].to(x)


def _stacked(cosine: Tensor, sine: Tensor) -> Tensor:
    """One, the cosines and the sines, as the rows of a matrix."""
    one = sine.new_ones(()).expand(*sine.shape[:-2], 1, sine.shape[-1])
    return torch.cat([one, cosine, sine], -2)


def _weighted(fine: Tensor, mix: Tensor) -> Tensor:
    """The finer factors times the weights of every column, (t, h, columns and factors, d)."""
    return (fine.unsqueeze(-3) * mix.mT.unsqueeze(-2)).flatten(-3, -2)


def _slope(waves: Waves, grad: Tensor, step: float) -> Tensor:
    """What a gradient of the stacked waves of multiples of `step` is for their points."""
    cosine, sine = waves
    _, for_cosine, for_sine = grad.split([1, cosine.shape[-2], cosine.shape[-2]], -2)
    rate = step * torch.arange(1, cosine.shape[-2] + 1, dtype=grad.dtype, device=grad.device)
    return ((cosine * for_sine - sine * for_cosine) * rate.unsqueeze(-1)).sum(-2)


@cache
def split(harmonics: int) -> tuple[int, int]:
    """The numbers A and B of the two kinds of factors: (2 A + 1)(2 B + 1) products are enough, and A + B is least."""
    pairs = ((a, b) for b in range(1, harmonics + 1) for a in range(harmonics + 1))
    enough = (pair for pair in pairs if (2 * pair[0] + 1) * (2 * pair[1] + 1) > 2 * harmonics)
    return min(enough, key=lambda pair: (sum(pair), pair[0] * pair[1]))


@cache
def recipe(harmonics: int) -> Tensor:
    """How 1, cos 1, sin 1, cos 2, ... are made of the products, one row each."""
    with torch.inference_mode(mode=False):  # it is kept, and may be needed for gradients later
        return _recipe(harmonics)


def _recipe(harmonics: int) -> Tensor:
    coarse, fine = split(harmonics)
    matrix = torch.zeros(2 * harmonics + 1, 2 * coarse + 1, 2 * fine + 1, device="cpu")
    matrix[0, 0, 0] = 1
    for n in range(1, harmonics + 1):
        a = (n + fine) // (2 * fine + 1)
        b = n - a * (2 * fine + 1)
        sign, size = (1 if b > 0 else -1), abs(b)
        matrix[2 * n - 1, a, size] = 1
        if a:
            matrix[2 * n, coarse + a, size] = 1
        if size:
            matrix[2 * n, a, fine + size] = sign
        if a and size:
            matrix[2 * n - 1, coarse + a, fine + size] = -sign
    return matrix.flatten(1)
