"""Moments against NumPy, the smallest denominator against the formula, and that nothing stays in the network."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from superpose.layers import GroupRational, RationalMlp
from superpose.layers.statistics import Recorder, layer_statistics, layers_of, pooled


def _x(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _hooks(model):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def test_moments_are_those_of_the_outputs():
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2)).double()
    x = _x(50, 4).double()
    seen = layer_statistics(model, x)
    hidden = x.numpy() @ model[0].weight.detach().numpy().T + model[0].bias.detach().numpy()
    assert list(seen) == ["0", "2"]
    assert seen["0"].mean == pytest.approx(hidden.mean(), rel=1e-5)
    assert seen["0"].variance == pytest.approx(hidden.var(), rel=1e-5)
    assert seen["0"].rms == pytest.approx(np.sqrt(np.mean(hidden**2)), rel=1e-5)
    assert _hooks(model) == 0


def test_smallest_denominator_and_share_outside():
    layer = GroupRational(4, groups=2, activation="silu")
    x = 6 * _x(200, 4) + 2
    x = torch.where(x.abs() < 1, x.sign(), x)
    b, values = layer.weight_denominator.detach().double().abs().numpy(), x.double().numpy()
    q = 1 + sum(b[[0, 0, 1, 1], j] * np.abs(values) ** (j + 1) for j in range(4))
    seen = layer_statistics(nn.Sequential(layer), x)["0"]
    assert seen.smallest_q == pytest.approx(q.min(), rel=1e-5)
    assert seen.smallest_q > 1.001
    assert seen.outside == pytest.approx(np.mean(np.abs(values) > 8))
    assert 0 < seen.outside < 1


def test_a_large_mean_costs_no_digits():
    """Where the mean of the squares minus the square of the mean would be noise."""
    values = 1e4 + _x(6, 100).numpy()
    rows = [[100, each.mean(dtype=float), each.var(dtype=float), math.inf, 0] for each in values]
    whole = pooled(torch.tensor(rows))
    assert float(whole[2]) == pytest.approx(values.var(dtype=float), rel=1e-2)
    assert float(whole[1]) == pytest.approx(values.mean(dtype=float))


def test_calls_are_weighted_by_what_they_see():
    layer = nn.Linear(3, 2)
    recorder, x = Recorder({"layer": layer}), _x(10, 3)
    recorder.attach()
    layer(x[:2])
    recorder.detach()
    layer(1e6 * x)
    recorder.attach()
    layer(x[2:])
    recorder.detach()
    seen = recorder.named(recorder.measured(torch.device("cpu")))["layer"]
    assert seen.variance == pytest.approx(layer(x).var(correction=0).item(), rel=1e-5)


def test_layers_of_a_network():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Linear(2, 8)
            self.blocks = nn.ModuleList([RationalMlp(8), RationalMlp(8)])

    names = ["blocks.0", "blocks.0.act1", "blocks.0.act2", "blocks.1", "blocks.1.act1", "blocks.1.act2"]
    assert list(layers_of(Net())) == names
    assert list(layers_of(Net(), ["stem", "blocks.*.fc2"])) == ["stem", "blocks.0.fc2", "blocks.1.fc2"]
    assert list(layers_of(torch.compile(Net(), backend="eager"))) == names


def test_a_wrong_name_raises():
    with pytest.raises(ValueError, match="no layer is called 'block'"):
        layers_of(nn.Sequential(nn.Linear(2, 2)), ["block"])


def test_modes_come_back():
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5).eval(), nn.BatchNorm1d(2))
    layer_statistics(model, _x(5, 2))
    assert [m.training for m in model] == [True, False, True]
    assert int(model[2].num_batches_tracked) == 0
