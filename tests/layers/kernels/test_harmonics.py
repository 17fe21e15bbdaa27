"""Many harmonics from few against cosines and sines one by one."""

import pytest
import torch

from superpose.bases import Fourier
from superpose.layers.kernels import stationary
from superpose.layers.kernels.harmonics import recipe, split
from superpose.layers.kernels.stationary import SpectralKernel


@pytest.mark.parametrize("harmonics", [*range(1, 20), 24, 48])
def test_the_factors_are_enough_and_few(harmonics):
    coarse, fine = split(harmonics)
    assert (2 * coarse + 1) * (2 * fine + 1) >= 2 * harmonics + 1
    assert coarse + fine <= 1 + (2 * harmonics + 1) ** 0.5
    assert recipe(harmonics).abs().sum(1).max() <= 2


@pytest.mark.parametrize("harmonics", [1, 2, 3, 7, 16, 24, 33])
@pytest.mark.parametrize("mixes", [1, 3])
@pytest.mark.parametrize("first", [0, 1])
def test_sums_and_their_gradients_are_those_of_the_basis(harmonics, mixes, first, generator, monkeypatch):
    monkeypatch.setattr(stationary, "COLUMNS", 0)
    kernel = SpectralKernel(harmonics, radius=2.0).double()
    x = torch.randn(5, 7, 3, 4, generator=generator, dtype=torch.float64).clamp(-2, 2).requires_grad_()
    mix = torch.randn(mixes, 4, 2, generator=generator, dtype=torch.float64, requires_grad=True)
    ours = kernel.sums(x, mix, first)
    basis = Fourier(harmonics).double().at(torch.tensor([[-3.0, 3.0]], dtype=torch.float64))
    expected = torch.einsum("bshdm,hdc->bshcm", basis(x)[..., first:], mix.expand(3, -1, -1))
    torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-12)
    cotangent = torch.randn(ours.shape, generator=generator, dtype=torch.float64)
    mine = torch.autograd.grad(ours, (x, mix), cotangent)
    theirs = torch.autograd.grad(expected, (x, mix), cotangent)
    # The clamped points lie on the radius itself and keep their slope.
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-11)


def test_float32_loses_no_digits(generator):
    kernel = SpectralKernel(48)
    x = 4 * torch.randn(200, 1, 1, 1, generator=generator).clamp(-1.5, 1.5)
    mix = torch.ones(1, 1, 1)
    ours = kernel.sums(x, mix, 0).double()
    exact = kernel.double().basis(x.double()).flatten(0, 1)
    assert float((ours.flatten() - exact.flatten()).abs().max()) < 1e-5
