"""The network in natural coordinates: exact derivatives, and the same function as the KAN it becomes."""

import pytest
import torch

from superpose import BSpline
from superpose.fitting.tables.natural import Natural
from superpose.fitting.tables.network import HiddenFunctions, TableNetwork


@pytest.fixture
def x(generator):
    return torch.rand(200, 3, generator=generator, dtype=torch.float64) * 2 - 1


@pytest.fixture
def start(x, generator):
    inputs = Natural.of(BSpline(4).expanded(3).double(), x, torch.full((200,), 1 / 200, dtype=torch.float64))
    additive = 0.2 * torch.randn(2, len(inputs.rough) + 1, generator=generator, dtype=torch.float64)

    def build(widths):
        return TableNetwork.start(inputs, HiddenFunctions.of(5, 3, 5), widths, additive, generator)

    return build


@pytest.mark.parametrize("degree", [1, 2, 3, 5])
def test_hidden_functions_are_their_splines(generator, degree):
    hidden = HiddenFunctions.of(5, degree)
    z = 2 * torch.randn(50, 4, generator=generator, dtype=torch.float64)
    expected = hidden.natural(z.reshape(-1, 1)).view(50, 4, -1).transpose(1, 2).flatten(1)
    assert torch.allclose(hidden.values(hidden.powers(z)), expected, atol=1e-9)
    z.requires_grad_()
    steps = hidden.values(hidden.powers(z.detach() + 1e-6)) - hidden.values(hidden.powers(z.detach() - 1e-6))
    assert torch.allclose(hidden.values(hidden.slopes(z.detach())), steps / 2e-6, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("widths", [(), (4,), (4, 3)])
def test_it_starts_as_the_additive_model(start, x, widths):
    network, additive = start(widths), start(())
    features = network.inputs(x)
    assert torch.allclose(network.outputs(features), additive.outputs(features), atol=1e-10)


@pytest.mark.parametrize("widths", [(), (4,), (4, 3)])
def test_derivatives_agree_with_differences_and_each_other(start, x, generator, widths):
    network = start(widths)
    shift = 0.1 * torch.randn(len(network.flat()), generator=generator, dtype=torch.float64)
    network = network.with_flat(network.flat() + shift)
    features = network.inputs(x)
    outputs, jacobian = network.outputs_and_jacobian(features)
    assert torch.allclose(outputs, network.outputs(features), atol=1e-10)
    direction = torch.randn(shift.shape, generator=generator, dtype=torch.float64)
    steps = [network.with_flat(network.flat() + sign * 1e-6 * direction).outputs(features) for sign in (1, -1)]
    assert torch.allclose(jacobian @ direction, (steps[0] - steps[1]) / 2e-6, rtol=1e-3, atol=1e-4)
    gradient = torch.cat([g.flatten() for g in network.gradient(features, lambda outputs: outputs)])
    assert torch.allclose(gradient, torch.einsum("nk,nkp->p", outputs, jacobian), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("widths", [(), (4,), (4, 3)])
def test_the_kan_is_the_same_function(start, x, widths):
    network = start(widths)
    assert torch.allclose(network.as_kan()(x), network.outputs(network.inputs(x)), atol=1e-9)
