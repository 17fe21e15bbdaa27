"""Networks with product nodes, through everything that takes a network."""

import copy
import json
import math
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from torch.func import functional_call, stack_module_state, vmap

from superpose import (
    KAN,
    MLP,
    BSpline,
    Chebyshev,
    Gaussian,
    attribute,
    fit,
    load,
    move_grid,
    prune,
    pruning,
    refine,
    save,
)
from superpose._select import kernels
from superpose.fitting import compiled
from superpose.fitting.bundle import Bundle
from superpose.fitting.roughness import penalty_root
from superpose.models.part import Filled

SHAPES = [(2, (1, 1, 2), 1), (2, (2,)), (3, 2, (3, 1, 2), (2, 1)), (2, [2, 2], 2, (1, 4))]
shapes = pytest.mark.parametrize("widths", SHAPES, ids=str)


def _seeded(seed):
    return torch.Generator().manual_seed(seed)


def _inputs(rows, columns, seed=0):
    return torch.rand(rows, columns, generator=_seeded(seed), dtype=torch.float64) * 2 - 1


def _model(widths, seed=0, basis=None):
    return KAN(widths, basis, generator=_seeded(seed)).double()


def _edges(layer):
    return layer.matrix().view(*layer.weight.shape, -1).any(-1)


def _naive(model, row):
    """One row through the network, edge by edge and factor by factor."""
    values = [float(v) * float(s) + float(t) for v, s, t in zip(row, *model.input_scaling.buffers(), strict=True)]
    for layer, arities in zip(model.layers, model.arities, strict=True):
        features = layer.features(torch.tensor([values], dtype=torch.float64)).view(len(values), -1).tolist()
        edges = layer.matrix().view(layer.out_features, len(values), -1).tolist()
        sums = [
            sum(c * f for i in range(len(values)) for c, f in zip(edge[i], features[i], strict=True)) for edge in edges
        ]
        values, start = [], 0
        for arity in arities:
            values.append(math.prod(sums[start : start + arity]))
            start += arity
    return [v * float(s) + float(t) for v, s, t in zip(values, *model.output_scaling.buffers(), strict=True)]


# ------------------------------------------------------------------------------------------------- the network itself


@shapes
def test_against_a_plain_loop(widths):
    model, x = _model(widths), 1.2 * _inputs(5, widths[0])
    model.input_scaling.shift.fill_(0.1)
    model.output_scaling.scale.fill_(3.0)
    np.testing.assert_allclose(model(x).detach(), [_naive(model, row) for row in x.tolist()], rtol=1e-12, atol=1e-14)


@given(st.integers(0, 100), st.lists(st.lists(st.integers(1, 3), min_size=1, max_size=3), min_size=1, max_size=3))
@settings(max_examples=20, deadline=None)
def test_any_shape(seed, rows):
    model, x = _model((2, *map(tuple, rows)), seed, BSpline(3)), _inputs(2, 2, seed)
    assert model.arities == tuple(map(tuple, rows))
    assert model.widths == (2, *map(len, rows))
    assert [(layer.in_features, layer.out_features) for layer in model.layers] == list(
        zip(model.widths, map(sum, rows), strict=False)
    )
    np.testing.assert_allclose(model(x).detach(), [_naive(model, row) for row in x.tolist()], rtol=1e-10, atol=1e-12)


def test_gradients_with_a_factor_of_zero():
    model = _model((2, (2, 3), 1))
    with torch.no_grad():
        model.layers[0].keep_(torch.tensor([[True, True], [False, False], [True, True], [True, False], [True, True]]))
    x = _inputs(4, 2).requires_grad_()
    assert torch.autograd.gradcheck(model, x)
    names, parameters = zip(*model.named_parameters(), strict=True)
    assert torch.autograd.gradcheck(
        lambda *values: functional_call(model, dict(zip(names, values, strict=True)), (x.detach(),)), parameters
    )
    jacobian = Bundle.of([model]).outputs_and_jacobian(x.detach())[1]
    assert bool(torch.isfinite(jacobian).all())


def test_what_it_says_of_itself():
    assert repr(KAN((2, (1, 1, 2), 1))).startswith("KAN 2-(1,1,2)-1, BSpline")
    assert repr(KAN((2, (1,) * 5 + (2, 2), 1))).startswith("KAN 2-(1x5,2,2)-1, ")
    assert KAN((2, 3, 1)).arities == ((1, 1, 1), (1,))
    assert KAN((2, (1, 1, 1), 1)).arities == KAN((2, 3, 1)).arities
    model = KAN((2, (1, 1, 2), 1), BSpline(4))
    assert model.num_parameters == (2 * 4 + 3) * 8 == sum(p.numel() for p in model.parameters())


def test_plain_networks_are_what_they_were():
    plain, written = KAN((2, 3, 1), generator=_seeded(0)), KAN((2, (1, 1, 1), 1), generator=_seeded(0))
    assert list(plain.state_dict()) == list(written.state_dict()) == list(KAN((2, (2, 2), 1)).state_dict())
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), written.parameters(), strict=True))
    assert not any("products" in name for name in plain.state_dict())


@pytest.mark.parametrize("widths", [((2,), 1), ((1, 1), 2, 1), "2-1", 3], ids=str)
def test_inputs_are_a_number(widths):
    with pytest.raises(TypeError, match="widths must be a row of integers"):
        KAN(widths)


@pytest.mark.parametrize("row", [(), (0,), (1, -2), (1.5,), (True,), ((2,),)], ids=str)
def test_arities_that_cannot_be(row):
    with pytest.raises(ValueError, match="arities must be one or more positive integers"):
        KAN((2, row, 1))


def test_a_perceptron_has_no_products():
    with pytest.raises(TypeError, match="a perceptron has no product nodes"):
        MLP((2, (1, 2), 1))


def test_copies_and_many_at_once():
    models, x = [KAN((2, (1, 2), 1), generator=_seeded(s)) for s in range(3)], _inputs(5, 2).float()
    assert torch.equal(copy.deepcopy(models[0])(x), models[0](x))
    assert torch.equal(pickle.loads(pickle.dumps(models[0]))(x), models[0](x))  # noqa: S301
    parameters, buffers = stack_module_state(models)
    out = vmap(lambda p, b: functional_call(models[0], (p, b), (x,)))(parameters, buffers)
    torch.testing.assert_close(out, torch.stack([model(x) for model in models]))


# ---------------------------------------------------------------------------------------------------------- its grids


@torch.no_grad()
@shapes
def test_grids(widths):
    model, x = _model(widths), _inputs(200, widths[0])
    torch.testing.assert_close(refine(model, 10)(x), model(x), rtol=1e-6, atol=1e-8)
    moved = move_grid(model, x, uniform=1.0, margin=0)
    values = moved.input_scaling(x)
    for layer, products in zip(moved.layers, moved.products, strict=True):
        torch.testing.assert_close(layer.basis.domain, torch.stack([values.min(0).values, values.max(0).values], 1))
        values = products(layer(values))


# ------------------------------------------------------------------------------------------------------------ its fit


@pytest.mark.parametrize("widths", [(2, (2,), 1), (2, (1, 2), 1), (2, (2,))], ids=str)
@pytest.mark.parametrize("seed", range(2))
def test_a_product_is_found(widths, seed):
    x = _inputs(400, 2, seed)
    y = x[:, :1] * x[:, 1:]
    result = fit(_model(widths, seed), x[:300], y[:300], starts=8)
    assert result.solver == "lm"
    assert result.model.arities == KAN(widths).arities
    assert (result.model(x[300:]) - y[300:]).square().mean().sqrt() < 1e-3


@pytest.mark.parametrize(("solver", "steps"), [("lbfgs", 200), ("adam", 300)])
def test_the_other_solvers(solver, steps):
    x = _inputs(400, 2)
    y = x[:, :1] * x[:, 1:]
    fits = [fit(_model((2, (2,), 1), seed), x, y, solver=solver, max_iter=steps) for seed in range(3)]
    assert min(result.loss for result in fits) < 1e-3  # not every start is a good one


def test_a_fit_through_finer_grids_and_on_from_there():
    x = _inputs(500, 3)
    y = x[:, :1] * x[:, 1:2] / (1 + x[:, 2:] ** 2)
    first = fit(_model((3, (1, 3), 1)), x, y, intervals=(4, 8, 16), starts=8)
    assert first.loss < 1e-5
    second = fit(first.model, x, y, max_iter=3)
    assert second.loss < 1e-5
    assert (fit(_model((3, (3,), 1), basis=Chebyshev(5)), x, y, starts=8).loss) < 1e-2


def test_a_product_gets_no_shift():
    """A product and a constant are no product."""
    x = _inputs(300, 2) + 1.5
    y = torch.cat([x[:, :1] * x[:, 1:], x[:, :1]], 1)
    model = fit(_model((2, (2, 1))), x, y, starts=8).model
    assert model.output_scaling.shift[0] == 0
    assert model.output_scaling.shift[1] == pytest.approx(float(y[:, 1].mean()))
    assert (model(x) - y).abs().max() < 1e-3


@pytest.mark.skipif(not hasattr(kernels, "network"), reason="the compiled kernels are missing")
def test_the_kernels_leave_products_alone():
    bundle, x = Bundle.of([_model((2, (1, 2), 1))]), _inputs(3, 2)
    assert compiled.obstacle(x, bundle.stages) == "it is for nodes that are sums, not products"
    assert compiled.obstacle(x, bundle.stages[1:]) is None


def test_nodes_go_with_all_their_factors():
    bundle, x = Bundle.of([_model((2, (1, 2, 3), (2, 1)), s) for s in range(2)]), _inputs(6, 2)
    slim = bundle.without_node(0, 1)
    assert [dead.tolist() for dead in slim.dead_nodes()] == [[[False, True, False]] * 2]
    frozen = slim.frozen()[0].split([matrix[0].numel() for matrix in slim.matrices])
    first, second = (part.view(rows, cols, -1) for part, (rows, cols) in zip(frozen, [(6, 2), (3, 3)], strict=True))
    assert first.all(2).all(1).tolist() == [False, True, True, False, False, False]
    assert second.all(2).all(0).tolist() == [False, True, False]
    assert not first[[0, 3, 4, 5]].any()
    gradient, hessian = slim.outputs_and_jacobian(x)
    assert bool(torch.isfinite(gradient).all()) and bool(torch.isfinite(hessian).all())
    half = bundle.matrices[0].clone()
    half[:, 1] = 0  # a factor without edges is no dead node: the other factor can wake it
    assert not any(dead.any() for dead in Bundle(bundle.stages, [half, bundle.matrices[1]]).dead_nodes())


def test_roughness_does_not_ask_which_factor_has_a_constant():
    model, x = _model((2, (1, 2), (1, 2))), _inputs(50, 2)
    other = copy.deepcopy(model)
    with torch.no_grad():
        for layer in other.layers:
            layer.set_matrix_(layer.matrix() * torch.tensor([[1.0], [4.0], [0.25]]))
    bundles = [Bundle.of([each]) for each in (model, other)]
    torch.testing.assert_close(bundles[0].hidden(x)[-1], bundles[1].hidden(x)[-1])
    rough = [(penalty_root(b, x) @ b.flat().unsqueeze(-1)).squeeze(-1) for b in bundles]
    torch.testing.assert_close(rough[0], rough[1])


# ------------------------------------------------------------------------------------------- its scores, and its parts


def test_the_score_of_a_product_goes_to_each_factor():
    model, x = _model((3, (1, 3), 1)), _inputs(100, 3)
    found = attribute(model, x)
    assert [tuple(edges.shape) for edges in found.edges] == [(4, 3), (1, 2)]
    assert [len(nodes) for nodes in found.nodes] == [2, 1]
    features = model.layers[0].features(model.input_scaling(x)).detach().view(100, 3, -1)
    edges = np.einsum("nif,oif->noi", features.numpy(), model.layers[0].matrix().detach().view(4, 3, -1).numpy())
    sums = edges.sum(2)
    node = np.array([0, 1, 1, 1])
    want = found.nodes[0].numpy()[node, None] * edges.std(0) / sums.std(0)[:, None]
    np.testing.assert_allclose(found.edges[0], want, rtol=1e-9)
    np.testing.assert_allclose(found.inputs, want.sum(0), rtol=1e-9)


@torch.no_grad()
def test_a_factor_without_edges_is_its_mean():
    model, x = _model((2, (2, 1), 1)), _inputs(200, 2)
    mask = torch.tensor([[False, False], [True, True], [True, True]])
    sums = model.layers[0](model.input_scaling(x))
    products = Filled.of(model.products[0], mask, sums.mean(0))
    left = sums * mask.any(1)
    want = torch.stack([sums[:, 0].mean() * sums[:, 1], sums[:, 2]], 1)
    torch.testing.assert_close(products(left), want)
    # A node without any edge is a constant for the nodes behind, and zero here.
    gone = Filled.of(model.products[0], torch.tensor([[False] * 2] * 2 + [[True] * 2]), sums.mean(0))
    assert not gone.constants.any()


@pytest.fixture(scope="module")
def pruned():
    """Nodes and factors that are too many, and an input that does not matter."""
    x = _inputs(600, 3)
    y = x[:, :1] * x[:, 1:2] + 0.3 * x[:, :1]
    model = fit(_model((3, (1, 3, 2), 1)), x[:400], y[:400], starts=8).model
    return model, x, y, prune(model, x[400:], y[400:], tolerance=1e-3)


def test_what_a_product_does_not_need_goes(pruned):
    _, x, _, result = pruned
    assert result.after <= result.before + 1e-3
    assert 2 in result.inputs
    assert (
        result.edges_before - len(result.edges) == sum(int(_edges(layer).sum()) for layer in result.model.layers) < 21
    )
    assert all(bool(_edges(layer).any(1).all()) for layer in result.model.layers)
    assert bool(torch.isfinite(result.model(x)).all())


def test_what_is_left_is_a_network_like_any_other(pruned, tmp_path):
    _, x, y, result = pruned
    again = fit(result.model, x[:400], y[:400])
    assert again.model.arities == result.model.arities
    assert (again.model(x) - y).square().mean().sqrt() < 1e-2
    save(again.model, tmp_path / "m.safetensors")
    loaded = load(tmp_path / "m.safetensors")
    assert torch.equal(loaded(x), again.model(x))
    torch.testing.assert_close(refine(loaded, 10)(x), loaded(x), rtol=1e-5, atol=1e-6)
    last = prune(loaded, x[400:], y[400:])
    assert last.after <= last.before + 1e-3
    assert bool(torch.isfinite(move_grid(last.model, x)(x)).all())


def test_a_nearly_constant_factor_becomes_a_constant():
    x = _inputs(500, 2)
    model = _model((2, (2,), 1))
    with torch.no_grad():
        one = torch.ones(model.layers[0].basis.num, dtype=torch.float64)
        for layer in model.layers:
            layer.coef *= 0.3
        model.layers[0].coef[:, :, 0] *= 1e-3
        model.layers[0].weight[0] *= 1e-3
        model.layers[0].coef[0, :, 0] += 3 * one
    y = model(x).detach()
    result = prune(model, x, y, tolerance=1e-4)
    assert result.model.arities == ((1,), (1,))
    assert {(0, 0, 0), (0, 0, 1)} <= set(result.edges)
    assert result.after < 1e-4
    assert y.std() > 0


@torch.no_grad()
@pytest.mark.parametrize("basis", [BSpline(4), Chebyshev(4), Gaussian(6)], ids=repr)
def test_outputs_keep_their_means_whatever_goes(basis):
    for seed in range(4):
        x = _inputs(300, 3, seed)
        model = move_grid(_model((3, (1, 2, 3), (2, 1), (2, 1)), seed, basis), x, uniform=0.5)
        search = pruning._Search.of(model, x, pruning._Judge.of(x, model(x), None), 0.0)
        drawn = _seeded(seed)
        masks = [torch.rand(layer.weight.shape, generator=drawn) < 0.6 for layer in model.layers]
        masks = pruning._consistent(masks, model.products)
        left, _ = search.left(masks)
        torch.testing.assert_close(left(x).mean(0), model(x).mean(0), rtol=1e-8, atol=1e-8)
        small = pruning.shrunk(model, left, masks)
        torch.testing.assert_close(small(x), left(x), rtol=1e-9, atol=1e-9)
        for layer in small.layers[:-1]:
            assert layer.mask is None or bool(layer.mask.any(1).all())


def test_a_constant_is_what_is_left_of_a_network_that_nobody_needs():
    x = _inputs(200, 2)
    model = _model((2, (2, 3), (2, 1), (2,)))
    result = prune(model, x, torch.randn(len(x), generator=_seeded(0)), tolerance=1e9)
    assert result.model.arities == ((1,), (1,), (1,))
    with torch.no_grad():
        assert float(result.model(x).std()) < 1e-12
        torch.testing.assert_close(result.model(x).mean(), model(x).mean())
    for again in (refine(result.model, 10), move_grid(result.model, x), fit(result.model, x, x[:, 0]).model):
        assert bool(torch.isfinite(again(x)).all())


# ----------------------------------------------------------------------------------------------------------- its files


def _document(path):
    with safe_open(path, framework="pt") as file:
        return json.loads(file.metadata()["superpose"])


@shapes
def test_files(widths, tmp_path):
    model, path = _model(widths), tmp_path / "m.safetensors"
    save(model, path)
    loaded, x = load(path), _inputs(4, widths[0])
    assert (repr(loaded), loaded.widths, loaded.arities) == (repr(model), model.widths, model.arities)
    assert torch.equal(loaded(x), model(x))
    document = _document(path)
    assert document["format"] == 3
    assert document["arities"] == [list(row) for row in model.arities]


def test_a_plain_network_keeps_the_format_that_older_versions_read(tmp_path):
    for network in (KAN((2, (1, 1), 1)), MLP((2, 3, 1))):
        save(network, tmp_path / "m.safetensors")
        document = _document(tmp_path / "m.safetensors")
        assert document["format"] == 2
        assert "arities" not in document
