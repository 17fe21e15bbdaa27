"""The two networks: shapes, counts, messages and where their randomness comes from."""

import copy
import pickle

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call, stack_module_state, vmap

from superpose.bases import Bernstein, BSpline, Chebyshev, Fourier, Gaussian, Legendre, Wavelet
from superpose.layers import power_law
from superpose.models import KAN, MLP, Network

BASES = [BSpline(3), Bernstein(), Chebyshev(4), Legendre(4), Fourier(), Gaussian(), Wavelet()]
bases = pytest.mark.parametrize("basis", BASES, ids=lambda basis: type(basis).__name__)
networks = pytest.mark.parametrize("network", [KAN, MLP])


@networks
@pytest.mark.parametrize("widths", [(1, 1), (2, 5, 1), [3, 4, 4, 2]], ids=str)
@pytest.mark.parametrize("batch", [(), (0,), (7,), (2, 3)], ids=str)
def test_shapes(network, widths, batch):
    model = network(widths)
    assert isinstance(model, Network)
    assert model.widths == tuple(widths)
    assert len(model.layers) == len(widths) - 1
    assert model(torch.zeros(*batch, widths[0])).shape == (*batch, widths[-1])


@bases
def test_parameter_count_of_a_kan(basis):
    model = KAN((2, 5, 3), basis)
    assert model.num_parameters == (2 * 5 + 5 * 3) * (basis.num + 1)
    assert model.num_parameters == sum(p.numel() for p in model.parameters())
    assert f"{model.num_parameters} parameters" in repr(model)


def test_parameter_count_of_an_mlp():
    assert MLP((2, 16, 1)).num_parameters == 2 * 16 + 16 + 16 + 1


def test_frozen_parameters_do_not_count():
    model = KAN((2, 1))
    model.layers[0].weight.requires_grad_(False)
    assert model.num_parameters == model.layers[0].coef.numel()


def test_repr_is_one_line():
    assert repr(KAN((2, 5, 1), Chebyshev(4), base=nn.Tanh())) == (
        "KAN 2-5-1, Chebyshev(degree=4, extrapolation='linear'), base Tanh, 90 parameters"
    )
    assert repr(MLP((2, 16, 1), nn.ReLU())) == "MLP 2-16-1, ReLU, 65 parameters"


@networks
@pytest.mark.parametrize("widths", [(2,), (), (2, 0, 1), (2, -1), (2, 1.5), (True, 2)], ids=str)
def test_wrong_widths_are_explained(network, widths):
    with pytest.raises(ValueError, match="widths must be two or more positive integers"):
        network(widths)


@networks
def test_wrong_input_is_explained(network):
    with pytest.raises(ValueError, match="the last axis of x has size 3, but the network has 2 inputs"):
        network((2, 1))(torch.zeros(5, 3))


@networks
def test_a_generator_decides_everything(network):
    state = torch.get_rng_state()
    first, again, other = (network((3, 4, 2), generator=torch.Generator().manual_seed(s)) for s in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    for a, b in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not all(torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))


@networks
def test_the_callers_random_state_decides_without_a_generator(network):
    def build():
        with torch.random.fork_rng():
            torch.set_rng_state(torch.Generator().manual_seed(5).get_state())
            return network((3, 4, 2))

    for a, b in zip(build().parameters(), build().parameters(), strict=True):
        assert torch.equal(a, b)


@networks
def test_units_of_inputs_and_outputs(network):
    model = network((2, 3, 1), generator=torch.Generator().manual_seed(0))
    x = torch.rand(6, 2)
    plain = model(x)
    model.output_scaling.scale.fill_(10)
    model.output_scaling.shift.fill_(-3)
    torch.testing.assert_close(model(x), 10 * plain - 3)
    model.input_scaling.scale.fill_(2)
    model.input_scaling.shift.fill_(1)
    torch.testing.assert_close(model((x - 1) / 2), 10 * plain - 3)
    torch.testing.assert_close(model.input_scaling.inverse(model.input_scaling(x)), x)
    assert "input_scaling.scale" in model.state_dict()


@networks
def test_state_dict_round_trip(network):
    first, second = network((2, 4, 1)), network((2, 4, 1))
    x = torch.rand(5, 2)
    assert not torch.equal(first(x), second(x))
    second.load_state_dict(first.state_dict())
    assert torch.equal(first(x), second(x))


@networks
def test_forward_is_deterministic_and_keeps_no_state(network):
    model = network((2, 4, 1))
    x = torch.rand(5, 2)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert torch.equal(model.train()(x), model.eval()(x))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@networks
def test_layers_are_linear_in_their_matrix(network):
    """What least squares and pruning build on, the same for both networks."""
    for layer in network((3, 4, 2)).layers:
        x = torch.rand(5, layer.weight.shape[1])
        torch.testing.assert_close(layer.features(x) @ layer.matrix().T, layer(x))
        target = torch.randn_like(layer.matrix())
        layer.set_matrix_(target)
        torch.testing.assert_close(layer.matrix(), target)


@bases
def test_a_few_steps_of_training_help(basis, generator):
    x = 2 * torch.rand(256, 2, generator=generator) - 1
    y = (x[:, :1] * 3).sin() * x[:, 1:]
    model = KAN((2, 5, 1), basis, init=power_law, generator=generator)
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=40, line_search_fn="strong_wolfe")

    def loss():
        optimizer.zero_grad()
        value = (model(x) - y).square().mean()
        value.backward()
        return value

    start = loss().item()
    optimizer.step(loss)
    assert loss().item() < 0.1 * start


@bases
def test_many_networks_at_once(basis):
    """An ensemble of networks with placements of their own, stacked and mapped over."""
    models = [KAN((2, 3, 1), basis) for _ in range(3)]
    for scale, model in enumerate(models, 1):
        layer = model.layers[0]
        layer.basis = layer.basis.at(scale * layer.basis.breakpoints)
    parameters, buffers = stack_module_state(models)
    x = 4 * torch.rand(5, 2) - 2
    out = vmap(lambda p, b: functional_call(models[0], (p, b), (x,)))(parameters, buffers)
    torch.testing.assert_close(out, torch.stack([model(x) for model in models]))


@networks
def test_a_network_survives_copying_and_pickling(network):
    model = network((2, 3, 1))
    x = torch.rand(5, 2)
    assert torch.equal(copy.deepcopy(model)(x), model(x))
    assert torch.equal(pickle.loads(pickle.dumps(model))(x), model(x))  # noqa: S301


def test_an_empty_activation_is_an_activation():
    empty = nn.Sequential()
    assert MLP((2, 3, 1), empty).layers[1].activation is empty
    assert isinstance(MLP((2, 3, 1)).layers[0].activation, nn.Identity)


@pytest.mark.as_shipped
def test_numpy_widths():
    model = KAN(tuple(np.array([2, 3, 1])))
    assert model.widths == (2, 3, 1)
    assert all(type(width) is int for width in model.widths)


@networks
def test_what_is_no_tensor_or_too_wide_is_named(network):
    model = network((2, 1))
    with pytest.raises(
        TypeError, match=r"x must be a tensor, got ndarray; give torch.as_tensor\(x, dtype=torch.float32\)"
    ):
        model(np.zeros((3, 2)))
    with pytest.raises(TypeError, match=r"x holds torch.float64, but the network torch.float32; call model.double\(\)"):
        model(torch.zeros(3, 2, dtype=torch.float64))
    assert model.double()(torch.zeros(3, 2)).dtype is torch.float64
