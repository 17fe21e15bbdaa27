"""Nodes that a network does not need go; those it needs stay."""

from itertools import islice

import pytest
import torch

from superpose import KAN, MLP, fit
from superpose.fitting.bundle import Bundle, Data
from superpose.fitting.levenberg_marquardt import Smoothing, levenberg_marquardt
from superpose.fitting.losses import MeanSquaredError


def seeded(widths, seed=0, kind=KAN):
    return kind(widths, generator=torch.Generator().manual_seed(seed)).double()


def uniform(rows, columns, seed):
    return torch.rand(rows, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2 - 1


def living(model):
    """Hidden nodes with an edge that is not zero, layer by layer."""
    return [int((layer.matrix() != 0).any(1).sum()) for layer in list(model.layers)[:-1]]


@pytest.mark.parametrize("kind", [KAN, MLP])
def test_a_dead_node_is_found_and_its_parameters_stay_zero(kind):
    bundle = Bundle.of([seeded((2, 3, 2), kind=kind)]).without_node(0, 1)
    assert bundle.dead_nodes()[0].tolist() == [[False, True, False]]
    first, second = (matrix[0] for matrix in bundle.matrices)
    width = bundle.stages[1].per_input
    assert int(bundle.frozen().sum()) == first.shape[1] + 2 * width
    x = uniform(80, 2, 1)
    data = Data(x, torch.stack([x.sum(1), x.prod(1)], 1), torch.full((80,), 1 / 80, dtype=torch.float64), 80.0)
    *_, state = islice(levenberg_marquardt(bundle, data, MeanSquaredError(), Smoothing(), lambda step, b: None), 5)
    assert float(state.losses[0]) < float(bundle.losses(data, MeanSquaredError())[0])
    assert not bool(state.bundle.matrices[0][0, 1].any())
    assert not bool(state.bundle.matrices[1][0][:, width : 2 * width].any())
    assert not torch.equal(state.bundle.matrices[0][0, 0], first[0])
    assert not torch.equal(state.bundle.matrices[1][0][:, :width], second[:, :width])


def test_a_dead_input_edge_alone_is_no_dead_node():
    bundle = Bundle.of([seeded((2, 3, 1))])
    bundle.matrices[0][:, 1] = 0
    assert not bool(bundle.dead_nodes()[0].any())
    assert not bool(bundle.frozen().any())


def test_a_wide_network_becomes_narrow_and_no_worse():
    x, test = uniform(600, 2, 0), uniform(600, 2, 1)

    def formula(x):
        return torch.exp(torch.sin(torch.pi * x[:, :1]) + x[:, 1:] ** 2)

    result = fit(seeded((2, 3, 1)), x, formula(x), intervals=(5, 10), starts=8)
    assert living(result.model)[0] < 3
    assert float((result.model(test) - formula(test)).detach().square().mean().sqrt()) < 5e-3


def test_nodes_that_are_needed_stay():
    x = uniform(600, 2, 0)
    result = fit(seeded((2, 2, 1)), x, x.prod(1, keepdim=True), starts=16)
    assert living(result.model) == [2]
    assert float((result.model(x) - x.prod(1, keepdim=True)).detach().square().mean().sqrt()) < 1e-3


def test_grids_that_stay_keep_their_nodes():
    x = uniform(300, 2, 0)
    model = seeded((2, 3, 1))
    result = fit(model, x, x.sum(1, keepdim=True), move=False)
    assert living(result.model) == [3]
