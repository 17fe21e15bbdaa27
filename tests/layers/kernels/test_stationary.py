"""Kernels of the difference against their formulas, within the error they state."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from superpose.layers.kernels import GaussianKernel, LaplaceKernel, SpectralKernel

ONES = torch.ones(1, 1, 1, dtype=torch.float64)


def values(kernel, a, b):
    """The kernel at all pairs, by the features of one coordinate."""
    shape = (1, -1, 1, 1)
    q, k = kernel.double()(a.view(shape), b.view(shape), ONES, ONES, False)
    return q[0, :, 0] @ k[0, :, 0].T


def gaussian(a, b, sigma):
    return torch.exp(-((a[:, None] - b[None, :]) ** 2) / (2 * sigma**2))


def extremes(dim):
    """Normalised tokens, among them those of one coordinate against all others, the farthest there are."""
    generator = torch.Generator().manual_seed(dim)
    drawn = torch.randn(6, dim, generator=generator, dtype=torch.float64)
    one = torch.eye(dim, dtype=torch.float64)[:2]
    tokens = torch.cat([drawn, drawn**5, one, -one])
    return torch.nn.functional.layer_norm(tokens, (dim,), eps=1e-12)


@pytest.mark.parametrize("sigma", [0.25, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("eps", [1e-3, 1e-6, 1e-10])
@pytest.mark.parametrize("radius", [2.0, 6.0])
def test_a_gaussian_is_within_its_error(sigma, eps, radius):
    kernel = GaussianKernel(sigma, eps=eps, radius=radius).double()
    a = torch.linspace(-radius, radius, 301, dtype=torch.float64)
    error = float((values(kernel, a, a) - gaussian(a, a, sigma)).abs().max())
    assert error <= kernel.error + 1e-14
    assert kernel.error <= 1.01 * eps


@settings(max_examples=40, deadline=None)
@given(st.floats(0.1, 5), st.floats(0.5, 8), st.floats(-10, -2))
def test_a_gaussian_is_within_its_error_anywhere(sigma, radius, exponent):
    kernel = GaussianKernel(sigma, eps=10**exponent, radius=radius).double()
    a = torch.linspace(-radius, radius, 97, dtype=torch.float64)
    error = float((values(kernel, a, a) - gaussian(a, a, kernel.sigma.item())).abs().max())
    assert error <= kernel.error + 1e-13
    assert kernel.error <= 1.01 * 10**exponent + 1e-15


@pytest.mark.parametrize("dim", [8, 24, 32, 37])
@pytest.mark.parametrize("sigma", [0.25, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("eps", [1e-4, 1e-6])
def test_sums_over_all_pairs_of_normalised_coordinates(dim, sigma, eps):
    """Values and slopes against the naive double sum, at the farthest tokens too, where sums are small."""
    z = extremes(dim).requires_grad_()
    kernel = GaussianKernel(sigma, eps=eps, radius=math.sqrt(dim - 1)).double()
    mix = torch.ones(1, dim, 1, dtype=torch.float64)
    q, k = kernel(z[None, :, None], z[None, :, None], mix, mix, False)
    ours = q[0, :, 0] @ k[0, :, 0].T
    naive = torch.exp(-((z[:, None, :, None] - z[None, :, None, :]) ** 2) / (2 * sigma**2)).sum((-1, -2))
    assert float((ours - naive).detach().abs().max()) <= dim**2 * (kernel.error + 1e-15)
    # Jensen: pairs are at a mean squared distance of 2, so that no mean over pairs is below exp(-1 / sigma^2).
    assert float(((ours - naive) / naive).detach().abs().max()) <= kernel.error * math.exp(1 / sigma**2) + 1e-13
    mine, theirs = (torch.autograd.grad(total.sum(), z, retain_graph=True)[0] for total in (ours, naive))
    frequency = 2 * math.pi * kernel.basis.harmonics / kernel.period
    assert float((mine - theirs).abs().max()) <= 4 * len(z) * dim * eps * max(frequency, 1 / sigma)


@pytest.mark.parametrize("dim", [8, 32])
@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.0])
def test_float32_is_exact_to_a_millionth(dim, sigma):
    z = extremes(dim)
    kernel = GaussianKernel(sigma, eps=1e-7, radius=math.sqrt(dim - 1))
    x, mix = z.float()[None, :, None], torch.ones(1, dim, 1)
    q, k = kernel(x, x, mix, mix, False)
    ours = (q[0, :, 0] @ k[0, :, 0].T).double()
    z = z.float().double()
    naive = torch.exp(-((z[:, None, :, None] - z[None, :, None, :]) ** 2) / (2 * sigma**2)).sum((-1, -2))
    # Where sums are smallest, at the extremes of the narrow kernel, rounding counts most.
    assert float(((ours - naive) / naive).abs().median()) <= 1e-6
    assert float((ours - naive).abs().max() / naive.max()) <= 1e-6


def test_few_features_are_enough():
    """The table of what is needed on [-6, 6], harmonics rounded up to fours."""
    for sigma, eps, features in ((0.5, 1e-6, 47), (1.0, 1e-6, 29), (1.0, 1e-10, 39), (2.0, 1e-3, 11)):
        assert GaussianKernel(sigma, eps=eps).basis.num <= features + 10


def test_beyond_the_radius_numbers_count_as_its_ends():
    kernel = GaussianKernel(1.0, radius=2.0)
    a = torch.tensor([2.0, 2.5, 100.0], dtype=torch.float64)
    torch.testing.assert_close(values(kernel, a, a), torch.ones(3, 3, dtype=torch.float64), rtol=1e-6, atol=0)
    x = torch.tensor([[[[2.5]], [[1.0]]]], dtype=torch.float64, requires_grad=True)
    q, _ = kernel(x, x, ONES, ONES, False)
    (slope,) = torch.autograd.grad(q.square().cumsum(-1).sum(), x)
    assert slope[0, 0].item() == 0 != slope[0, 1].item()


@pytest.mark.parametrize("sigma", [0.6, 1.0, 1.9])
def test_a_learned_width_is_the_kernel_of_that_width(sigma):
    kernel = GaussianKernel(sigma, learn=(0.5, 2.0)).double()
    assert kernel.sigma.item() == pytest.approx(sigma, rel=1e-5)
    a = torch.linspace(-6, 6, 101, dtype=torch.float64)
    exact = gaussian(a, a, kernel.sigma.item())
    assert float((values(kernel, a, a) - exact).detach().abs().max()) <= kernel.error + 1e-14 <= 1.01e-6


def test_the_gradient_of_the_width():
    kernel = GaussianKernel([0.7, 1.3], learn=(0.5, 2.0), heads=2).double()
    x = extremes(8)[None, :, None].expand(-1, -1, 2, -1)
    mix = torch.ones(1, 8, 1, dtype=torch.float64)
    q, k = kernel(x, x, mix, mix, False)
    (ours,) = torch.autograd.grad((q * k.flip(1)).sin().sum() + (q.mT @ k).sum(), kernel.share, retain_graph=True)
    assert ours.abs().min() > 0
    (ours,) = torch.autograd.grad(torch.einsum("bshf,brhf->hsr", q, k).cos().sum(), kernel.share)
    sigma = kernel.sigma.detach().requires_grad_()
    pairs = (x[:, :, None, :, :, None] - x[:, None, :, :, None, :]) ** 2
    naive = torch.exp(-pairs / (2 * sigma[:, None, None] ** 2)).sum((-1, -2))
    (by_sigma,) = torch.autograd.grad(naive.cos().sum(), sigma)
    share = torch.sigmoid(kernel.share.detach())
    expected = by_sigma * sigma.detach() * math.log(4) * share * (1 - share)
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5)


def test_widths_stay_in_their_interval_whatever_is_learned():
    kernel = GaussianKernel(1.0, learn=(0.5, 2.0), heads=3)
    with torch.no_grad():
        kernel.share.copy_(torch.tensor([-1e4, 0.0, 1e4]))
    torch.testing.assert_close(kernel.sigma, torch.tensor([0.5, 1.0, 2.0]))


@pytest.mark.parametrize("sigma", [0.5, 2.0])
@pytest.mark.parametrize("harmonics", [4, 32, 200])
def test_a_laplace_kernel_is_within_its_error(sigma, harmonics):
    kernel = LaplaceKernel(sigma, harmonics=harmonics).double()
    a = torch.linspace(-6, 6, 241, dtype=torch.float64)
    exact = torch.exp(-(a[:, None] - a[None, :]).abs() / sigma)
    error = float((values(kernel, a, a) - exact).abs().max())
    assert 0.3 * kernel.error <= error <= kernel.error


def test_a_spectrum_starts_as_a_gaussian_and_is_never_negative():
    kernel = SpectralKernel(harmonics=24).double()
    a = torch.linspace(-6, 6, 61, dtype=torch.float64)
    torch.testing.assert_close(values(kernel, a, a).detach(), gaussian(a, a, 1.0), rtol=0, atol=1e-3)
    with torch.no_grad():
        kernel.spread.normal_(generator=torch.Generator().manual_seed(0))
    assert float(torch.linalg.eigvalsh(values(kernel, a, a).detach()).min()) > -1e-12
    shifted = values(kernel, a[:30] + 0.7, a[:30] + 0.7)
    torch.testing.assert_close(shifted, values(kernel, a[:30], a[:30]))


def test_wrong_arguments_raise():
    with pytest.raises(ValueError, match="sigma must be a positive number or one for each of 2 heads"):
        GaussianKernel([1.0, 2.0, 3.0], heads=2)
    with pytest.raises(ValueError, match="sigma must be a positive"):
        LaplaceKernel(-1.0)
    with pytest.raises(ValueError, match="eps is 2"):
        GaussianKernel(eps=2)
    with pytest.raises(ValueError, match="radius is 0"):
        GaussianKernel(radius=0)
    with pytest.raises(ValueError, match="interval"):
        GaussianKernel(3.0, learn=(0.5, 2.0))
    with pytest.raises(ValueError, match="harmonics is 0"):
        SpectralKernel(0)
    with pytest.raises(ValueError, match="radius=10"):
        GaussianKernel().coordinates(100)
