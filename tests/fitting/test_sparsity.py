"""The penalty on scores: its value, its derivatives, and what is left of the edges."""

import math

import numpy as np
import pytest
import torch
from torch.func import functional_call

from superpose import KAN, MLP, BSpline, Chebyshev, attribute, fit, prune
from superpose.fitting.bundle import Bundle, Data
from superpose.fitting.levenberg_marquardt import Smoothing
from superpose.fitting.losses import MeanSquaredError
from superpose.fitting.sparsity import Release, Sparsity, penalty, sparsity_loss
from superpose.fitting.thin import thinned
from superpose.fitting.watch import Watch
from superpose.scores import scored

MAKERS = {
    "spline": lambda g: KAN((2, 3, 2), BSpline(4), generator=g),
    "chebyshev": lambda g: KAN((2, 2, 2, 1), Chebyshev(3), generator=g),
    "products": lambda g: KAN((2, (1, 3), (2, 1)), BSpline(3), generator=g),
}
makers = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())


def _seeded(seed):
    return torch.Generator().manual_seed(seed)


def _inputs(rows, columns, seed=0):
    return torch.rand(rows, columns, generator=_seeded(seed), dtype=torch.float64) * 2 - 1


def _data(x, y):
    return Data(x, y, torch.full((len(x),), 1 / len(x), dtype=torch.float64), float(len(x)))


def _table(rows=600, inputs=4, seed=0):
    """Two of the inputs matter, and three edges are enough."""
    x = _inputs(rows, inputs, seed)
    return x, torch.exp(torch.sin(torch.pi * x[:, :1]) + x[:, 1:2] ** 2)


def _edges(model):
    return sum(int(layer.matrix().view(*layer.weight.shape, -1).any(-1).sum()) for layer in model.layers)


def _naive(model, x):
    """The penalty from the values of every edge at every row, layer by layer."""
    values, edges = x, []
    for layer, products in zip(model.layers, model.products, strict=True):
        features = layer.features(values).view(len(x), layer.in_features, -1).numpy()
        parameters = layer.matrix().view(layer.out_features, layer.in_features, -1).numpy()
        functions = np.einsum("nif,oif->noi", features, parameters)
        edges.append((functions, list(products.nodes)))
        values = products(torch.from_numpy(functions.sum(2)))
    score, total = [1 / model.widths[-1]] * model.widths[-1], 0.0
    for functions, nodes in reversed(edges):
        scores = np.zeros(functions.shape[1:])
        for o in range(scores.shape[0]):
            for i in range(scores.shape[1]):
                scores[o, i] = score[nodes[o]] * functions[:, o, i].std() / functions[:, o].sum(1).std()
        shares = scores.flatten() / scores.sum()
        total += scores.sum() - sum(p * math.log(p) for p in shares) / max(1, math.log(scores.size))
        score = scores.sum(0)
    return total / len(edges)


@makers
@torch.no_grad()
def test_against_a_plain_loop(make):
    for seed in range(3):
        model, x = make(_seeded(seed)).double(), _inputs(30, 2, seed)
        assert float(sparsity_loss(model, x)) == pytest.approx(_naive(model, x), rel=1e-8)


@makers
def test_gradients_against_finite_differences(make):
    model, x = make(_seeded(0)).double(), _inputs(12, 2)
    names, parameters = zip(*model.named_parameters(), strict=True)

    class Penalty(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self):
            return sparsity_loss(self.model, x)

    def value(*given):
        return functional_call(Penalty(), {f"model.{n}": p for n, p in zip(names, given, strict=True)}, ())

    assert torch.autograd.gradcheck(value, parameters)


@makers
def test_the_expansion(make):
    """The exact gradient, and a curvature by which every edge pays its spread once."""
    model, x = make(_seeded(1)).double(), _inputs(40, 2)
    model.layers[0].keep_(torch.rand(model.layers[0].weight.shape, generator=_seeded(3)) < 0.7)
    bundle = Bundle.of([model])
    found = Sparsity.of(0.5, model, _data(x, x)).expansion(bundle)
    value = 0.5 * sparsity_loss(model, x)
    assert float(found.value) == pytest.approx(float(value.detach()))
    by = torch.autograd.grad(value, [p for layer in model.layers for p in (layer.weight, layer.coef)])
    rows = [
        torch.cat([w.unsqueeze(-1), c.permute(2, 0, 1)], -1).flatten() for w, c in zip(by[::2], by[1::2], strict=True)
    ]
    torch.testing.assert_close(found.gradient[0], torch.cat(rows))
    curvature, flat = found.curvature[0], bundle.flat()[0]
    assert float(torch.linalg.eigvalsh(curvature).min()) > -1e-9 * float(curvature.abs().max())
    torch.testing.assert_close(curvature, curvature.T)
    # At c itself the block (p / s) C of an edge gives p s, for s^2 = c' C c.
    scores = scored(model, x)
    spreads = [moments.spread for moments in scores.moments]
    slopes = torch.autograd.grad(penalty(scores), spreads)
    pays = sum((slope.clamp_min(0) * spread).sum() for slope, spread in zip(slopes, spreads, strict=True))
    torch.testing.assert_close(flat @ curvature @ flat, 0.5 * pays.detach())


def test_a_single_path_costs_one_and_edges_alike_cost_more():
    x = _inputs(200, 2)
    model = KAN((2, 2, 1), generator=_seeded(0)).double()
    model.layers[0].keep_(torch.tensor([[True, False], [False, False]]))
    model.layers[1].keep_(torch.tensor([[True, False]]))
    assert float(sparsity_loss(model, x).detach()) == pytest.approx(1)
    full = KAN((2, 2, 1), generator=_seeded(0)).double()
    assert float(sparsity_loss(full, x).detach()) > 1.5


def test_release():
    held = Release(0.3, 2)
    assert [held.strength(step) for step in range(4)] == [0.3, 0.3, 0, 0]


# -------------------------------------------------------------------------------------------------------- in a fit


def test_pruning_leaves_far_less_at_no_loss():
    x, y = _table()
    fits = [fit(KAN((4, 5, 1), generator=_seeded(0)).double(), x[:400], y[:400], sparsity=s) for s in (0, 0.01)]
    pruned = [prune(each.model, x[400:], y[400:]) for each in fits]
    left = [each.edges_before - len(each.edges) for each in pruned]
    assert left[1] <= 6 < left[0]
    assert pruned[1].inputs == (2, 3)
    with torch.no_grad():
        refitted = [fit(each.model, x[:400], y[:400], intervals=(10, 20)).model(x[400:]) for each in pruned]
        error = [float((outputs - y[400:]).square().mean()) for outputs in refitted]
    assert error[1] <= max(2 * error[0], 1e-8)


def test_held_out_rows_choose_among_sparse_networks():
    x, y = _table()
    found = fit(KAN((4, 5, 1), generator=_seeded(0)).double(), x, y, sparsity=0.01, validation=0.2)
    assert _edges(found.model) <= 8


def test_units_do_not_matter():
    x, y = _table(400)
    fits = [
        fit(KAN((4, 3, 1), generator=_seeded(1)).double(), a * x + b, c * y + d, sparsity=0.02, starts=4).model
        for a, b, c, d in [(1, 0, 1, 0), (1024, 0, 0.125, 0)]
    ]
    scores = [attribute(model, a * x).inputs for model, a in zip(fits, (1, 1024), strict=True)]
    torch.testing.assert_close(scores[0], scores[1], rtol=1e-3, atol=1e-3)
    assert _edges(fits[0]) == _edges(fits[1]) < 15


def test_edges_that_are_gone_stay_gone():
    x, y = _table(300)
    model = KAN((4, 3, 1), generator=_seeded(1)).double()
    model.layers[0].keep_(torch.tensor([[True, True, True, False]] * 3))
    found = fit(model, x, y, sparsity=0.02, starts=2).model
    assert not found.layers[0].matrix().view(3, 4, -1)[:, 3].any()


@pytest.mark.parametrize("solver", ["lbfgs", "adam"])
def test_first_order_solvers(solver):
    x, y = _table(300)

    def scores(sparsity):
        model = KAN((4, 3, 1), generator=_seeded(0)).double()
        found = fit(model, x, y, solver=solver, max_iter=80, sparsity=sparsity, validation=0.2)
        assert len(found.history) > 40  # it loses no patience while the penalty holds
        return found.model

    plain, sparse = (scores(sparsity) for sparsity in (0, 0.1))
    needless = [float(attribute(model, x).inputs[2:].sum()) for model in (plain, sparse)]
    assert needless[1] < needless[0]


def test_a_product_may_be_sparse():
    """What is left of a sum and a product is the product, from most starts."""
    x = _inputs(500, 3)
    y = x[:, :1] * x[:, 1:2]
    left = []
    for seed in range(3):
        found = fit(KAN((3, (1, 2), 1), generator=_seeded(seed)).double(), x[:400], y[:400], sparsity=0.01, seed=seed)
        result = prune(found.model, x[400:], y[400:])
        assert result.after < 2e-3
        left.append((result.model.arities, result.edges_before - len(result.edges)))
    assert left.count((((2,), (1,)), 3)) >= 2


def test_thinning_keeps_what_pays():
    x, y = _table(300)
    model = fit(KAN((4, 3, 1), generator=_seeded(1)).double(), x, y, starts=4).model
    scaled = _data(model.input_scaling(x), model.output_scaling.inverse(y))
    loss, bundle, watch = MeanSquaredError(), Bundle.of([model]), Watch("lm")
    for strength in (1e-9, 0.1):
        sparsity = Sparsity.of(strength, model, scaled)
        left = thinned(bundle, scaled, loss, Smoothing(), sparsity, watch)
        paid = [float(b.losses(scaled, loss)[0] + sparsity.value(b)[0]) for b in (bundle, left)]
        assert paid[1] <= paid[0]
        for matrix, mask in zip(left.matrices, left.masks, strict=True):
            assert mask is None or not matrix[0].view(*mask.shape, -1)[~mask].any()
    assert left.frozen().any()


@pytest.mark.parametrize("sparsity", [-1, float("nan"), float("inf"), True, "auto", None], ids=str)
def test_strengths_that_cannot_be(sparsity):
    x, y = _table(50)
    with pytest.raises(ValueError, match=r"sparsity is .* must be a number of at least 0"):
        fit(KAN((4, 1)), x, y, sparsity=sparsity)


def test_a_perceptron_has_no_edges():
    x, y = _table(50)
    with pytest.raises(ValueError, match="a MLP has no edges"):
        fit(MLP((4, 3, 1)), x, y, sparsity=0.1)
