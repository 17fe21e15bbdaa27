"""Scores against loops over samples and edges, known functions and finite differences."""

import copy

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from superpose import (
    KAN,
    MLP,
    Bernstein,
    BSpline,
    Chebyshev,
    Fourier,
    Gaussian,
    Legendre,
    Wavelet,
    attribute,
    fit,
    move_grid,
    scores,
)
from superpose.layers import KANLinear
from superpose.scores import attribution, edge_moments

BASES = [
    BSpline(4), BSpline(1, degree=2), BSpline(7, degree=0), BSpline(3, degree=1, extrapolation="clamp"),
    BSpline(5, degree=5), BSpline(6, extrapolation="zero"), Bernstein(4), Chebyshev(4), Legendre(4), Fourier(3),
    Gaussian(6), Wavelet(2),
]  # fmt: skip
bases = pytest.mark.parametrize("basis", BASES, ids=repr)


@pytest.fixture(autouse=True)
def way(request, monkeypatch):
    """Splines are measured as a fine grid's are, by those that live at a sample, unless a test says otherwise."""
    monkeypatch.setattr(scores, "MANY", 48 if getattr(request, "param", "local") == "dense" else 0)


both_ways = pytest.mark.parametrize("way", ["dense", "local"], indirect=True)


def _model(widths=(3, 4, 2), basis=None, seed=0, base=None):
    model = KAN(widths, basis, base=base, generator=torch.Generator().manual_seed(seed)).double()
    x = torch.randn(50, widths[0], generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return move_grid(model, x, uniform=0.4)


def _rows(count=70, inputs=3, seed=1, wide=1.5):
    """Rows of which some lie far outside the grids."""
    return wide * torch.randn(count, inputs, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _edge_values(layer, x):
    """Every edge function at every sample, one number at a time."""
    basis, base = layer.basis(x).tolist(), layer.base(x).tolist()
    coef, weight = layer.coef.tolist(), layer.weight.tolist()
    values = np.zeros((layer.out_features, layer.in_features, len(x)))
    for o in range(layer.out_features):
        for i in range(layer.in_features):
            for n in range(len(x)):
                spline = sum(coef[i][m][o] * basis[n][i][m] for m in range(layer.basis.num))
                values[o, i, n] = weight[o][i] * base[n][i] + spline
    return values


def _slow_attribution(model, x):
    """Attribution as its definition says, from all values of all edges."""
    values, edges, sums = model.input_scaling(x), [], []
    for layer in model.layers:
        edges.append(_edge_values(layer, values))
        values = layer(values)
        sums.append(values.detach().numpy().std(0))
    node = np.full(len(sums[-1]), 1 / len(sums[-1]))
    scores_, nodes = [], []
    for edge, spread in zip(reversed(edges), reversed(sums), strict=True):
        nodes.insert(0, node)
        score = np.zeros(edge.shape[:2])
        for o in range(edge.shape[0]):
            for i in range(edge.shape[1]):
                score[o, i] = node[o] * edge[o, i].std() / spread[o] if spread[o] > 0 else 0
        scores_.insert(0, score)
        node = score.sum(0)
    return scores_, nodes, node


# -------------------------------------------------------------------------------------------------------- moments


@torch.no_grad()
@bases
@both_ways
def test_moments_are_those_of_a_loop_over_samples_and_edges(basis):
    layer, x = _model((3, 2), basis).layers[0], _rows(40)
    moments, values = edge_moments(layer, x), _edge_values(layer, x)
    np.testing.assert_allclose(moments.mean, values.mean(2), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(moments.spread, values.std(2), rtol=1e-9, atol=1e-12)


@torch.no_grad()
@bases
@both_ways
def test_chunks_change_nothing(basis, monkeypatch):
    layer, x = _model((3, 2), basis).layers[0], _rows(40)
    whole = edge_moments(layer, x)
    monkeypatch.setattr(scores, "CHUNK", 100)
    torch.testing.assert_close(edge_moments(layer, x), whole, rtol=1e-10, atol=1e-12)


@torch.no_grad()
def test_another_base_and_none_take_part():
    for base in (nn.Tanh(), nn.Identity()):
        layer, x = _model((2, 3), BSpline(3), base=base).layers[0], _rows(30, 2)
        values = _edge_values(layer, x)
        np.testing.assert_allclose(edge_moments(layer, x).spread, values.std(2), rtol=1e-10)


@torch.no_grad()
@both_ways
def test_constants_do_not_count_however_large():
    layer = _model((2, 3), BSpline(5)).layers[0]
    x = _rows(100, 2)
    before = edge_moments(layer, x)
    layer.coef += 1e6
    after = edge_moments(layer, x)
    torch.testing.assert_close(after.spread, before.spread, rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(after.mean, before.mean + 1e6)
    layer.weight.zero_()
    layer.coef.fill_(1e3)
    assert bool((edge_moments(layer, x).spread < 1e-9).all())


@torch.no_grad()
@pytest.mark.parametrize("basis", [BSpline(5), Chebyshev(4)], ids=repr)
def test_float32_networks_are_measured_in_float64(basis):
    model, x = _model((3, 4, 2), basis), _rows(200, wide=0.8)
    exact, single = attribute(model, x), attribute(copy.deepcopy(model).float(), x)
    assert single.inputs.dtype == torch.float64
    torch.testing.assert_close(single.inputs, exact.inputs, rtol=1e-4, atol=1e-5)


@torch.no_grad()
@both_ways
def test_far_outside_the_grid_stays_exact():
    layer, x = _model((1, 1), BSpline(4)).layers[0], 1e4 * _rows(30, 1)
    np.testing.assert_allclose(edge_moments(layer, x).spread, _edge_values(layer, x).std(2), rtol=1e-9)


@torch.no_grad()
def test_the_memory_does_not_grow_with_outputs():
    x = torch.rand(2000, 40)
    layer, wide = (KANLinear(40, outputs, BSpline(5)) for outputs in (1, 500))
    largest = []
    for each in (layer, wide):
        with torch.profiler.profile(profile_memory=True) as profile:
            edge_moments(each, x)
        largest.append(max(event.self_cpu_memory_usage for event in profile.events()))
    assert largest[1] <= max(largest[0], 8 * 500 * 40 * 9)  # far below 2000 x 500 x 40 numbers


# ----------------------------------------------------------------------------------------------------- attribution


@torch.no_grad()
@bases
def test_attribution_is_its_definition(basis):
    model, x = _model((2, 3, 2), basis), _rows(30, 2)
    result = attribute(model, x)
    edges, nodes, inputs = _slow_attribution(model, x)
    np.testing.assert_allclose(result.inputs, inputs, rtol=1e-8, atol=1e-12)
    for layer in range(2):
        np.testing.assert_allclose(result.edges[layer], edges[layer], rtol=1e-8, atol=1e-12)
        np.testing.assert_allclose(result.nodes[layer], nodes[layer], rtol=1e-8, atol=1e-12)


def test_a_known_sum_of_functions_is_ranked_by_its_spreads():
    x = torch.rand(600, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2 - 1
    terms = torch.stack([x[:, 0] ** 2, 0.3 * x[:, 1], 0.1 * x[:, 2] ** 3, 0 * x[:, 3]], 1)
    model = fit(KAN((4, 1), generator=torch.Generator().manual_seed(0)).double(), x, terms.sum(1)).model
    result = attribute(model, x)
    expected = terms.std(0, correction=0) / terms.sum(1).std(correction=0)
    torch.testing.assert_close(result.inputs, expected, rtol=2e-2, atol=1e-3)


@torch.no_grad()
def test_units_of_inputs_and_outputs_do_not_matter():
    model, x = _model(), _rows()
    before = attribute(model, x).inputs
    model.input_scaling.scale /= 1000
    model.output_scaling.scale *= 1e6
    torch.testing.assert_close(attribute(model, x * 1000).inputs, before)


@torch.no_grad()
@both_ways
def test_dead_nodes_constants_and_single_rows_give_zeros_and_never_nan():
    model, x = _model(), _rows()
    model.layers[0].weight[1] = 0
    model.layers[0].coef[:, :, 1] = 0
    result = attribute(model, x)
    assert result.nodes[0][1] == 0
    assert bool((result.edges[0][1] == 0).all())
    assert bool((result.edges[1][:, 1] == 0).all())
    assert bool(result.inputs.isfinite().all())
    alone = attribute(model, x[:1])
    assert bool((alone.inputs == 0).all())
    x[:, 2] = 3.0
    assert attribute(model, x).inputs[2] == pytest.approx(0, abs=1e-7)  # the root of a rounding error


@pytest.mark.parametrize("basis", [BSpline(4), BSpline(4, extrapolation="zero"), Chebyshev(3)], ids=repr)
@pytest.mark.parametrize("detach", [False, True])
@both_ways
def test_gradients_are_finite_differences(basis, detach):
    model, x = _model((2, 3, 1), basis), _rows(30, 2)

    def penalty(model, given):
        if not detach:
            return (attribution(model, x).edges[0] * torch.arange(1.0, 3)).sum()
        # With values of the nodes given, only the spreads of the edges themselves change.
        parts = zip(model.layers, given, strict=True)
        return sum((edge_moments(layer, values).spread * torch.arange(1.0, 3)[:1]).sum() for layer, values in parts)

    scaled = model.input_scaling(x)
    given = [scaled, model.layers[0](scaled).detach()]
    if detach:
        value = sum(moment.spread.sum() for moment in attribution(model, x, detach=True).moments)
    else:
        value = penalty(model, given)
    gradients = torch.autograd.grad(value, list(model.parameters()), allow_unused=True)
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        gradient = torch.zeros_like(parameter) if gradient is None else gradient
        direction = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
        ends = []
        for step in (1e-6, -1e-6):
            with torch.no_grad():
                parameter.add_(direction, alpha=step)
                ends.append(float(penalty(model, given)))
                parameter.sub_(direction, alpha=step)
        difference = (ends[0] - ends[1]) / 2e-6
        assert float((gradient * direction).sum()) == pytest.approx(difference, rel=1e-5, abs=1e-7)


@both_ways
def test_gradients_of_a_dead_network_are_finite():
    model = _model((2, 3, 1))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    attribution(model, _rows(20, 2)).inputs.sum().backward()
    assert all(bool(torch.isfinite(p.grad).all()) for p in model.parameters() if p.grad is not None)


# ------------------------------------------------------------------------------------------------ what users see


def test_any_table_will_do_and_names_come_along():
    model, x = _model((3, 2)), _rows(20)
    wanted = attribute(model, x).inputs
    for table in (x.numpy(), x.tolist(), pd.DataFrame(x.numpy(), columns=["mass", "axis", "albedo"])):
        torch.testing.assert_close(attribute(model, table).inputs, wanted)
    text = repr(attribute(model, pd.DataFrame(x.numpy(), columns=["mass", "axis", "albedo"])))
    lines = text.splitlines()
    assert lines[0] == "attribution from 20 rows"
    ranked = [["mass", "axis", "albedo"][i] for i in wanted.argsort(descending=True)]
    assert [line.split()[0] for line in lines[2:]] == ranked
    assert repr(attribute(model, x)).splitlines()[2].startswith("x")
    many = attribute(KAN((30, 1)).double(), _rows(20, 30))
    assert repr(many).splitlines()[-1] == "and 10 more"


def test_bad_tables_are_explained():
    model, x = _model((3, 2)), _rows(20)
    spoiled = x.clone()
    spoiled[4, 1] = float("nan")
    for table, words in [(spoiled, "1 of 20 rows"), (x[:, :2], r"\(samples, 3\)"), (x[:0], "with samples")]:
        with pytest.raises(ValueError, match=words):
            attribute(model, table)
    with pytest.raises(TypeError, match="must be numbers"):
        attribute(model, [["a", "b", "c"]])
    with pytest.raises(TypeError, match="real numbers"):
        attribute(model, x.to(torch.complex128))
    with pytest.raises(TypeError, match="only a KAN"):
        attribute(MLP((3, 2)), x)
    with pytest.raises(ValueError, match="2 names"):
        attribute(model, x, names=["a", "b"])


def test_the_model_stays_as_it_is():
    model, x = _model(), _rows()
    before = copy.deepcopy(model.state_dict())
    attribute(model, x)
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in before.items())
