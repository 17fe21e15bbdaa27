"""The group-rational activation and layer against the formula, the published table of gains, and PyTorch's tools."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from torch import nn

from superpose.layers import GRKANLinear, GroupRational
from superpose.layers.rational_fit import RationalFit, fit_rational
from superpose.layers.rational_init import gain, kat_release, variance_preserving

# 1 / E[F(x)^2] by quadrature of the activations themselves.
GAINS = {"identity": 1.0, "relu": 2.0, "gelu": 2.3517, "silu": 2.8108}


def _random(layer, seed=0):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return layer


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("form", ["sum_abs", "abs_sum"])
def test_against_a_loop_over_elements(form, shared):
    layer = _random(GroupRational(6, 3, degrees=(3, 2), form=form, shared_numerator=shared, dtype=torch.float64))
    x = torch.randn(4, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    a, b = layer.weight_numerator.detach().numpy(), layer.weight_denominator.detach().numpy()
    expected = np.zeros((4, 6))
    for row in range(4):
        for channel in range(6):
            value, group = x[row, channel].item(), channel // 2
            p = sum(a[0 if shared else group, i] * value**i for i in range(4))
            terms = [b[group, j - 1] * value**j for j in (1, 2)]
            expected[row, channel] = p / (1 + (sum(map(abs, terms)) if form == "sum_abs" else abs(sum(terms))))
    np.testing.assert_allclose(layer(x).detach(), expected, rtol=1e-12)


def test_names_and_shapes_of_the_published_weights():
    state = GroupRational(24).state_dict()
    assert {name: tuple(value.shape) for name, value in state.items()} == {
        "weight_numerator": (1, 6),
        "weight_denominator": (8, 4),
    }


def test_it_starts_as_its_activation():
    layer = GroupRational(16, activation="gelu", dtype=torch.float64)
    x = torch.linspace(-8, 8, 1600, dtype=torch.float64).reshape(100, 16)
    assert (layer(x) - nn.functional.gelu(x)).abs().max() <= layer.fit.max_error * 1.001
    assert "starts as gelu within 3.4e-03 on [-8, 8]" in repr(layer)
    assert torch.equal(GroupRational(16)(x), x)


def test_it_starts_as_a_given_fit_or_function():
    fit = fit_rational("silu", (-3, 3), (7, 6), "abs_sum")
    layer = GroupRational(8, degrees=(7, 6), form="abs_sum", activation=fit)
    assert layer.fit is fit
    torch.testing.assert_close(layer.weight_numerator[0].detach(), torch.tensor(fit.numerator))
    assert GroupRational(8, activation=torch.sin).fit.name == "sin"


def test_images_and_other_axes():
    layer = GroupRational(8, 4, activation="silu", axis=1)
    x = torch.randn(2, 8, 3, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(layer(x), nn.functional.silu(x), atol=1e-3, rtol=0)
    assert "axis=1" in repr(layer)


def test_reset_goes_back_to_the_start():
    layer = GroupRational(8, activation="silu")
    before = [each.clone() for each in layer.state_dict().values()]
    _random(layer).reset_parameters()
    assert all(map(torch.equal, before, layer.state_dict().values()))


def test_device_and_dtype():
    layer = GRKANLinear(16, 4, device="meta", dtype=torch.bfloat16)
    assert {(each.device.type, each.dtype) for each in layer.parameters()} == {("meta", torch.bfloat16)}
    layer.to_empty(device="cpu").reset_parameters()
    assert layer(torch.ones(2, 16, dtype=torch.bfloat16)).isfinite().all()


def test_gradients_of_layer_and_parameters():
    layer = _random(GRKANLinear(4, 3, groups=2, degrees=(3, 2), dtype=torch.float64))
    x = torch.randn(2, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64, requires_grad=True)
    names = [name for name, _ in layer.named_parameters()]
    values = [each.detach().clone().requires_grad_() for each in layer.parameters()]

    def call(x, *parameters):
        return torch.func.functional_call(layer, dict(zip(names, parameters, strict=True)), (x,))

    assert torch.autograd.gradcheck(call, (x, *values))
    assert torch.autograd.gradgradcheck(call, (x, *values))


def test_all_coefficients_learn_from_the_identity():
    layer = GroupRational(8)
    layer(torch.randn(50, 8, generator=torch.Generator().manual_seed(0))).square().sum().backward()
    assert (layer.weight_numerator.grad != 0).all()
    assert (layer.weight_denominator.grad != 0).all()


def test_it_compiles():
    layer = GRKANLinear(16, 4, activation="silu")
    x = torch.randn(5, 16, generator=torch.Generator().manual_seed(0))
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), layer(x))


@pytest.mark.parametrize("name", GAINS)
def test_gain_of_the_activation(name):
    """Within what the fit's error on N(0, 1) can change."""
    layer = GroupRational(16, activation=fit_rational(name, (-4, 4)))
    assert gain(layer) == pytest.approx(GAINS[name], rel=6e-3 if name == "relu" else 2e-3)


def test_gain_is_of_the_rational_that_is_used():
    layer = _random(GroupRational(9, 2, degrees=(3, 2), dtype=torch.float64))
    a = layer.weight_numerator[0].tolist()
    squares = []
    for b in layer.weight_denominator.tolist():

        def square(x, b=b):
            q = 1 + sum(abs(c) * abs(x) ** (j + 1) for j, c in enumerate(b))
            return (np.polynomial.polynomial.polyval(x, a) / q) ** 2 * math.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)

        squares.append(quad(square, -12, 0)[0] + quad(square, 0, 12)[0])
    # Of nine channels, five belong to the first of two groups.
    assert gain(layer) == pytest.approx(9 / (5 * squares[0] + 4 * squares[1]), rel=1e-9)


@pytest.mark.parametrize("activation", ["identity", "silu", "gelu"])
def test_variance_is_preserved_through_a_deep_stack(activation):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(500, 512, generator=generator)
    for _ in range(6):
        layer = GRKANLinear(512, 512, activation=activation, init=variance_preserving, generator=generator)
        x = layer(x).detach()
    # Deviations of a layer with finite width grow in those behind it.
    assert 0.75 < float(x.square().mean()) < 1.33


def test_released_init_loses_the_variance():
    generator = torch.Generator().manual_seed(0)
    layer = GRKANLinear(256, 256, activation="silu", init=kat_release, generator=generator)
    assert float(layer.linear.weight.detach().std()) == pytest.approx(0.02, rel=0.02)
    assert not layer.linear.bias.any()
    assert float(layer(torch.randn(1000, 256, generator=generator)).detach().var()) < 0.05


def test_bad_requests_are_explained():
    with pytest.raises(ValueError, match="got 8 groups of 4 channels"):
        GroupRational(4)
    with pytest.raises(ValueError, match=r"the fit has degrees \(3, 2\) and form 'sum_abs', but the layer has"):
        GroupRational(8, activation=fit_rational("silu", degrees=(3, 2)))
    with pytest.raises(ValueError, match="no activation is called 'unknown'"):
        GroupRational(8, activation="unknown")
    with pytest.raises(ValueError, match="axis -1 of x has size 9, but the layer has 8 channels"):
        GroupRational(8)(torch.zeros(2, 9))
    with pytest.raises(ValueError, match="no weights keep the variance"):
        gain(GroupRational(8, activation=RationalFit((0.0,) * 6, (0.0,) * 4)))
