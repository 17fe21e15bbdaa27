"""What the initialisations say of themselves, measured."""

import pytest
import torch
from torch import nn

from superpose.bases import Bernstein, BSpline, Chebyshev, Fourier, Gaussian, Legendre, Wavelet
from superpose.layers import KANLinear, power_law, variance_preserving

BASES = [BSpline(), BSpline(20), BSpline(5, 0), Bernstein(), Chebyshev(), Legendre(), Fourier(), Gaussian(), Wavelet()]
bases = pytest.mark.parametrize("basis", BASES, ids=repr)
inits = pytest.mark.parametrize("init", [variance_preserving, power_law], ids=lambda init: init.__name__)


def _uniform(samples: int, features: int, generator: torch.Generator) -> torch.Tensor:
    """Spread evenly over [-1, 1]: variance 1/3."""
    return 2 * torch.rand(samples, features, generator=generator) - 1


def _gains(layer: KANLinear, generator: torch.Generator) -> tuple[float, float]:
    """What the layer multiplies the mean square of values by, and, backward, that of slopes."""
    x = _uniform(400, layer.in_features, generator).requires_grad_()
    y = layer(x)
    cotangent = torch.randn(y.shape, generator=generator)
    (pulled,) = torch.autograd.grad(y, x, cotangent)
    return 3 * y.square().mean().item(), pulled.square().mean().item()


@bases
@pytest.mark.parametrize(("inputs", "outputs"), [(200, 200), (60, 240), (240, 60)])
def test_value_gain_and_slope_gain_add_to_two(basis, inputs, outputs, generator):
    values, slopes = _gains(KANLinear(inputs, outputs, basis, generator=generator), generator)
    assert values + slopes == pytest.approx(2, rel=0.1)


@pytest.mark.parametrize("basis", [BSpline(), Bernstein(), Gaussian(), Chebyshev(3)], ids=repr)
def test_gentle_families_keep_both_gains_near_one(basis, generator):
    values, slopes = _gains(KANLinear(200, 200, basis, generator=generator), generator)
    assert 0.6 < values < 1.4
    assert 0.6 < slopes < 1.4


@bases
def test_the_domain_does_not_matter(basis, generator):
    """The same gains wherever the inputs lie: their own domain is measured."""
    layer = KANLinear(200, 200, basis, base=nn.Identity(), generator=generator)
    layer.basis = layer.basis.at(4 * layer.basis.breakpoints)
    variance_preserving(layer, generator)
    x = 4 * _uniform(400, 200, generator)
    cotangent = torch.randn(400, 200, generator=generator)
    x.requires_grad_()
    (pulled,) = torch.autograd.grad(layer(x), x, cotangent)
    values = layer(x).square().mean().item() / (16 / 3)
    assert values + pulled.square().mean().item() == pytest.approx(2, rel=0.1)


def _through_six_layers(basis, generator: torch.Generator) -> tuple[float, float, float]:
    """Mean square of the values, their variance over samples, mean square of slopes; each as a multiple of the start."""
    layers = nn.Sequential(*(KANLinear(128, 128, basis, generator=generator) for _ in range(6)))
    x = _uniform(512, 128, generator).requires_grad_()
    y = layers(x)
    (pulled,) = torch.autograd.grad(y, x, torch.randn(y.shape, generator=generator))
    return 3 * y.square().mean().item(), 3 * y.var(0).mean().item(), pulled.square().mean().item()


@bases
def test_no_family_explodes_or_dies_over_six_layers(basis, generator):
    """The stated factor is 100 for any family: a plain sum of unscaled functions would be off by 128 to the sixth."""
    for ratio in _through_six_layers(basis, generator):
        assert 1 / 100 < ratio < 100


def test_the_default_basis_over_six_layers(generator):
    values, variance, slopes = _through_six_layers(BSpline(), generator)
    assert 1 / 3 < values < 3
    assert 1 / 8 < variance < 8
    assert 1 / 6 < slopes < 6


@bases
def test_power_law_deviations(basis, generator):
    layer = KANLinear(30, 200, basis, init=power_law, generator=generator)
    terms = 30 * (basis.num + 1)
    assert layer.weight.std().item() == pytest.approx(terms**-0.25, rel=0.05)
    assert layer.coef.std().item() == pytest.approx(terms**-1.75, rel=0.05)
    assert layer.coef.mean().item() == pytest.approx(0, abs=4 * terms**-1.75 / layer.coef.numel() ** 0.5)


def test_power_law_takes_other_exponents(generator):
    layer = KANLinear(30, 200, generator=generator)
    power_law(layer, generator, base=1.0, basis=0.5)
    terms = 30 * (layer.basis.num + 1)
    assert layer.weight.std().item() == pytest.approx(1 / terms, rel=0.05)
    assert layer.coef.std().item() == pytest.approx(terms**-0.5, rel=0.05)


@inits
def test_a_generator_gives_the_same_bits_and_leaves_the_global_state(init):
    state = torch.get_rng_state()
    first, again = (KANLinear(3, 4, init=init, generator=torch.Generator().manual_seed(7)) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first.weight, again.weight)
    assert torch.equal(first.coef, again.coef)


@inits
def test_without_a_generator_the_global_state_is_used(init):
    state = torch.get_rng_state()
    first = KANLinear(3, 4, init=init)
    assert not torch.equal(torch.get_rng_state(), state)
    torch.set_rng_state(state)
    again = KANLinear(3, 4, init=init)
    assert torch.equal(first.coef, again.coef)


@inits
def test_parameters_stay_trainable_leaves(init):
    layer = KANLinear(3, 4, init=init)
    for parameter in layer.parameters():
        assert parameter.is_leaf
        assert parameter.requires_grad
        assert parameter.grad is None
    with torch.no_grad():
        init(layer)


def test_any_function_can_initialise():
    def zero(layer, generator):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.coef)

    assert not KANLinear(3, 2, init=zero)(torch.rand(5, 3)).any()
