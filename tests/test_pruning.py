"""Pruning: what goes does not matter, what matters stays, and nothing that went comes back."""

import copy

import numpy as np
import pandas as pd
import pytest
import torch

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
    load,
    move_grid,
    prune,
    pruning,
    refine,
    save,
)
from superpose.fitting.bundle import Bundle

EXACT = [BSpline(4), BSpline(3, degree=1, extrapolation="clamp"), Bernstein(4), Chebyshev(4), Legendre(4), Fourier(3)]
BASES = [*EXACT, BSpline(5, extrapolation="zero"), Gaussian(6), Wavelet(2)]
bases = pytest.mark.parametrize("basis", BASES, ids=repr)


def _seeded(seed):
    return torch.Generator().manual_seed(seed)


def _table(rows=400, inputs=4, seed=0):
    """Targets of the first two columns only."""
    x = torch.rand(rows, inputs, generator=_seeded(seed), dtype=torch.float64) * 2 - 1
    return x, torch.exp(torch.sin(torch.pi * x[:, :1]) + x[:, 1:2] ** 2)


def _random(widths=(4, 3, 2), basis=None, seed=0):
    """A network that was never fitted, on grids that its data fill, in units of its own."""
    model = KAN(widths, basis, generator=_seeded(seed)).double()
    with torch.no_grad():
        model.output_scaling.scale.fill_(3.0)
        model.output_scaling.shift.fill_(-2.0)
    return move_grid(model, _table(inputs=widths[0], seed=seed)[0], uniform=0.5)


def _judge(x):
    return pruning._Judge.of(x, x[:, :1], None)


def _masks(model):
    return [layer.matrix().view(*layer.weight.shape, -1).ne(0).any(-1) for layer in model.layers]


def _same(model, other, x, exact=False):
    with torch.no_grad():
        torch.testing.assert_close(model(x), other(x), **({"rtol": 0, "atol": 0} if exact else {}))


@pytest.fixture(scope="module")
def fitted():
    """A network with two inputs too many, and rows that it has not seen."""
    x, y = _table(1000)
    y = y + 0.1 * torch.randn(y.shape, generator=_seeded(5), dtype=torch.float64)
    model = fit(KAN((4, 3, 1), generator=_seeded(2)).double(), x[:600], y[:600], starts=4).model
    return model, x[:600], y[:600], x[600:], y[600:]


@pytest.fixture(scope="module")
def pruned(fitted):
    return prune(fitted[0], *fitted[3:])


# --------------------------------------------------------------------------------------------------- what goes


def test_inputs_that_do_not_matter_go_and_the_report_says_so(fitted, pruned):
    model, x = pruned.model, fitted[3]
    assert pruned.inputs == (2, 3)
    assert pruned.after <= pruned.before + 1e-3
    moved = x.clone()
    moved[:, 2:] += 1e3
    _same(model, lambda _: model(moved), x, exact=True)
    lines = repr(pruned).splitlines()
    assert lines[0].startswith("pruned from 4-3-1 with 15 edges to 4-")
    assert f"on {len(x)} rows" in lines[1]
    assert lines[2] == "inputs that no longer matter: x3, x4"


def test_the_errors_of_the_report_are_those_of_the_models(fitted, pruned):
    x, y = (part.numpy() for part in fitted[3:])
    shares = []
    for model in (fitted[0], pruned.model):
        with torch.no_grad():
            shares.append(((model(fitted[3]).numpy() - y) ** 2)[:, 0] / y.var())
    assert pruned.before == pytest.approx(shares[0].mean())
    assert pruned.after == pytest.approx(shares[1].mean())
    assert pruned.uncertainty == pytest.approx((shares[1] - shares[0]).std() / np.sqrt(len(x)))
    assert pruned.rows == len(x)


def test_what_goes_is_what_costs_least():
    x = torch.rand(500, 6, generator=_seeded(0), dtype=torch.float64) * 2 - 1
    y = x @ torch.tensor([1.0, 0.3, 0.1, 0.03, 0.01, 0.0], dtype=torch.float64)
    model = fit(KAN((6, 1), BSpline(2), generator=_seeded(0)).double(), x, y, starts=1).model
    for tolerance, gone in [(0, ()), (3e-7, (5,)), (3e-4, (4, 5)), (3e-3, (3, 4, 5)), (3e-2, (2, 3, 4, 5))]:
        result = prune(model, x, y, tolerance=tolerance)
        assert result.inputs == gone or (tolerance == 0 and result.inputs in ((), (5,)))
        assert result.after <= result.before + tolerance + 1e-12
        cost = float((x[:, list(gone)] * torch.tensor([1.0, 0.3, 0.1, 0.03, 0.01, 0.0])[list(gone)]).sum(1).var())
        assert result.after - result.before == pytest.approx(cost / float(y.var()), rel=0.02, abs=1e-7)


def test_the_error_of_other_rows_and_of_another_kind_can_decide(fitted):
    model, x, y, held_x, held_y = fitted
    result = prune(model, x, y, validation=(held_x, held_y))
    assert result.rows == len(held_x)
    assert result.inputs == (2, 3)
    absolute = prune(model, held_x, held_y, error=lambda out, y: (out - y).abs()[:, 0], tolerance=1e6)
    assert absolute.inputs == (0, 1, 2, 3)
    two = KAN((4, 2), generator=_seeded(0)).double()
    two = fit(two, x, (y[:, 0] > 1).long(), loss="cross_entropy", starts=1).model
    classes = (held_y[:, 0] > 1).long()
    entropy = torch.nn.CrossEntropyLoss(reduction="none")
    result = prune(two, held_x, classes, error=entropy, tolerance=0.02)
    assert result.inputs == (2, 3)
    assert result.before == pytest.approx(float(entropy(two(held_x), classes).mean().detach()))


def test_what_pruning_gains_is_not_spent_on_what_is_needed():
    x = torch.rand(400, 3, generator=_seeded(0), dtype=torch.float64) * 2 - 1
    learned = x @ torch.tensor([1.0, 0.2, 0.12], dtype=torch.float64)
    model = fit(KAN((3, 1), BSpline(2), generator=_seeded(0)).double(), x, learned, starts=1).model
    y = x[:, :1] + 0.2 * x[:, 1:2]  # the third edge does harm of 0.014, and the second one is worth 0.038
    assert prune(model, x, y, tolerance=0.03).inputs == (2,)
    assert prune(model, x, y, tolerance=0.045).inputs == (1, 2)


def test_large_networks_are_pruned_in_few_trials(monkeypatch):
    x, y = _table(100, 40)
    model = KAN((40, 20, 1), BSpline(2), generator=_seeded(0)).double()
    with torch.no_grad():
        for layer in model.layers[:1]:
            layer.weight[:, 2:] = 0
            layer.coef[2:] *= 1e-6
    trials = []
    left = pruning._Search.left
    monkeypatch.setattr(pruning._Search, "left", lambda self, masks: trials.append(1) or left(self, masks))
    result = prune(model, x, y)
    assert set(range(2, 40)) <= set(result.inputs)
    assert len(trials) < 150  # of 820 edges


def test_two_outputs_are_kept_apart():
    x, y = _table(300, 3)
    y = torch.cat([x[:, :1] ** 2, 1000 * x[:, 1:2] ** 3], 1)
    model = fit(KAN((3, 2), generator=_seeded(0)).double(), x, y, starts=1).model
    result = prune(model, x, y)
    assert [edge for mask in _masks(result.model) for edge in mask.nonzero().tolist()] == [[0, 0], [1, 1]]
    assert result.inputs == (2,)


# ---------------------------------------------------------------------------------------------------- constants


@torch.no_grad()
@bases
def test_every_node_keeps_its_mean_whatever_goes(basis):
    for seed in range(3):
        model, x = _random((4, 3, 3, 2), basis, seed), _table(seed=seed)[0]
        search = pruning._Search.of(model, x, _judge(x), 0.0)
        drawn = _seeded(seed)
        masks = [torch.rand(mask.shape, generator=drawn) < 0.6 for mask in _masks(model)]
        masks = pruning._consistent(masks, model.products)
        left, _ = search.left(masks)
        before, after = model.input_scaling(x), left.input_scaling(x)
        for old, new, mask in zip(model.layers[:-1], left.layers[:-1], masks[:-1], strict=True):
            before, after = old(before), new(after)
            alive = mask.any(1)
            torch.testing.assert_close(after.mean(0)[alive], before.mean(0)[alive], rtol=1e-8, atol=1e-8)
        torch.testing.assert_close(left(x).mean(0), model(x).mean(0), rtol=1e-8, atol=1e-8)
        small = pruning.shrunk(model, left, masks)
        _same(small, left, x)


@torch.no_grad()
def test_a_cut_edge_leaves_its_mean_behind_and_nothing_else():
    model, x = _random((2, 1)), _table(inputs=2)[0]
    layer, scaled = model.layers[0], model.input_scaling(x)
    kept = torch.tensor([[True, False]])
    left, _ = pruning._Search.of(model, x, _judge(x), 0.0).left([kept])
    values = [layer.features(scaled).view(len(x), 2, -1)[:, i] @ layer.matrix().view(2, -1)[i] for i in range(2)]
    expected = model.output_scaling((values[0] + values[1].mean()).unsqueeze(1))
    torch.testing.assert_close(left(x), expected)
    far = 50 * x  # the constant is one outside the grid too
    hidden = _random((2, 1, 1))
    left, _ = pruning._Search.of(hidden, x, _judge(x), 0.0).left([kept, torch.tensor([[True]])])
    first, far = hidden.layers[0], hidden.input_scaling(far)
    parts = first.features(far).view(len(x), 2, -1)[:, 0] @ first.matrix().view(2, -1)[0]
    rest = left.layers[0](far)[:, 0] - parts
    torch.testing.assert_close(rest, rest[:1].expand(len(x)), rtol=1e-6, atol=1e-6)


def test_a_constant_is_what_is_left_of_a_network_that_nobody_needs():
    x, y = _table()
    model = _random((4, 3, 3, 1))
    result = prune(model, x, torch.randn(len(x), generator=_seeded(0)), tolerance=1e9)
    with torch.no_grad():
        assert float(result.model(x).std()) < 1e-12
        torch.testing.assert_close(result.model(x).mean(), model(x).mean())
    assert result.model.widths == (4, 1, 1, 1)
    assert result.inputs == (0, 1, 2, 3)
    assert len(result.edges) == result.edges_before == 24
    for again in (refine(result.model, 10), move_grid(result.model, x), fit(result.model, x, y).model):
        assert bool(torch.isfinite(again(x)).all())


def test_nodes_that_are_dead_or_constant_become_constants_and_not_zero():
    x, _ = _table(inputs=2)
    model = _random((2, 4, 1))
    with torch.no_grad():
        first, second = model.layers
        for node in (1, 2):
            first.weight[node] = 0
            first.coef[:, :, node] = 0
        first.coef[0, :, 2] = 0.3  # a constant
        second.weight[:, 3] = 0  # not heard
        second.coef[3] = 0
        result = prune(model, x, model(x), tolerance=1e-12)
    assert result.nodes == ((0, 1), (0, 2), (0, 3))
    assert result.model.widths == (2, 1, 1)
    _same(result.model, model, x)
    assert bool(attribute(result.model, x).inputs.isfinite().all())


# ------------------------------------------------------------------------------------------ what stays as it is


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_nothing_to_prune_changes_no_bit(dtype):
    x, _ = _table(inputs=2)
    model = _random((2, 3, 1)).to(dtype)
    with torch.no_grad():
        result = prune(model, x, model(x.to(dtype)), tolerance=0)
    assert not result.edges
    before, after = model.state_dict(), result.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_the_given_model_and_the_settings_stay(fitted):
    model = copy.deepcopy(fitted[0])
    model.layers[0].coef.requires_grad_(False)
    before = copy.deepcopy(model.state_dict())
    result = prune(model, *fitted[3:])
    assert all(torch.equal(before[name], model.state_dict()[name]) for name in before)
    for old, new in zip(model.layers, result.model.layers, strict=True):
        assert new.basis.config() == old.basis.config()
        assert new.coef.requires_grad == old.coef.requires_grad
        assert new.base is not old.base
        assert type(new.base) is type(old.base)
    torch.testing.assert_close(result.model.layers[0].basis.breakpoints, model.layers[0].basis.breakpoints)
    edges = sum(int(mask.sum()) for mask in _masks(result.model))
    trainable = [edges * 9, int(_masks(result.model)[0].sum()) * 8]
    assert result.model.num_parameters == trainable[0] - trainable[1]


def test_float32_networks_stay_float32(fitted):
    model = copy.deepcopy(fitted[0]).float()
    result = prune(model, *fitted[3:])
    assert {p.dtype for p in result.model.parameters()} == {torch.float32}
    assert result.inputs == (2, 3)
    assert result.after <= result.before + 1.1e-3


def test_rows_outside_the_grids_do_no_harm(fitted):
    result = prune(fitted[0], 3 * fitted[3], fitted[4], tolerance=0.01)
    assert bool(torch.isfinite(result.model(10 * fitted[3])).all())
    assert result.after <= result.before + 0.01 + 1e-9


# ----------------------------------------------------------------------------- what is gone does not come back


@pytest.mark.parametrize("solver", ["lm", "lbfgs", "adam"])
def test_edges_stay_away_in_a_fit(fitted, pruned, solver):
    steps = {"lm": 6, "lbfgs": 10, "adam": 3}[solver]
    again = fit(pruned.model, *fitted[1:3], solver=solver, max_iter=steps).model
    assert again.widths == pruned.model.widths
    for before, after in zip(_masks(pruned.model), _masks(again), strict=True):
        assert not bool((after & ~before).any())
    moved = fitted[3].clone()
    moved[:, 2:] = 7.0
    _same(again, lambda _: again(moved), fitted[3], exact=True)
    assert bool(torch.isfinite(again(fitted[3])).all())
    if solver == "lm":  # which may also narrow, refine and move the grids
        _, error = (float((m(fitted[3]) - fitted[4]).detach().square().mean()) for m in (pruned.model, again))
        assert error < 1.2 * 0.01


def test_edges_stay_away_from_fresh_starts_and_on_finer_grids(pruned):
    x, y = _table(200)
    fresh = KAN((4, 2, 1), generator=_seeded(0)).double()
    fresh.layers[0].keep_(torch.tensor([[True, False, False, False], [False, True, False, False]]))
    again = fit(fresh, x, y, starts=6, intervals=(5, 10), max_iter=4).model
    assert _masks(again)[0].tolist() == fresh.layers[0].mask.tolist()
    assert again.layers[0].basis.size == 10


def test_edges_stay_away_in_a_loop_of_ones_own(fitted, pruned):
    model = copy.deepcopy(pruned.model)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(5):
        optimiser.zero_grad()
        (model(fitted[1]) - fitted[2]).square().mean().backward()
        optimiser.step()
    for before, layer in zip(_masks(pruned.model), model.layers, strict=True):
        assert bool((layer.weight[~before] == 0).all())
        assert bool((layer.coef.permute(2, 0, 1)[~before] == 0).all())
        assert bool((layer.weight[before] != 0).any())


def test_edges_stay_away_on_other_grids_and_in_files(fitted, pruned, tmp_path):
    x = fitted[3]
    save(pruned.model, tmp_path / "model.safetensors")
    loaded = load(tmp_path / "model.safetensors")
    _same(loaded, pruned.model, x, exact=True)
    _same(refine(pruned.model, 10), pruned.model, x)
    others = [loaded, refine(pruned.model, 10), refine(pruned.model, 7), move_grid(pruned.model, x)]
    for other in [*others, fit(loaded, *fitted[1:3], max_iter=2).model]:
        for before, mask in zip(_masks(pruned.model), _masks(other), strict=True):
            assert torch.equal(before, mask)
    assert repr(loaded) == repr(pruned.model)


def test_files_of_whole_networks_say_nothing_of_pruning(tmp_path):
    save(_random(), tmp_path / "model.safetensors")
    assert b"pruned" not in (tmp_path / "model.safetensors").read_bytes()


def test_pruning_goes_on_from_pruning(fitted, pruned):
    again = prune(pruned.model, *fitted[3:], tolerance=1e9)
    assert again.edges_before == pruned.edges_before - len(pruned.edges)
    assert again.inputs == (0, 1)  # the others had gone before
    assert not prune(pruned.model, *fitted[3:], tolerance=0).inputs


@torch.no_grad()
def test_a_layer_with_edges_taken_away_is_one_with_zeros():
    layer, x = _random((3, 2)).layers[0], _table(inputs=3)[0]
    zeroed = copy.deepcopy(layer)
    mask = torch.tensor([[True, False, True], [False, True, True]])
    zeroed.weight *= mask
    zeroed.coef *= mask.T.unsqueeze(1)
    layer.keep_(mask)
    assert torch.equal(layer(x), zeroed(x))
    assert torch.equal(layer.matrix(), zeroed.matrix())
    layer.weight.fill_(1.0)  # whatever somebody writes
    layer.coef.fill_(1.0)
    assert torch.equal(layer.matrix().ne(0).view(2, 3, -1).any(-1), mask)
    layer.keep_(torch.tensor([[False, True, True], [True, True, True]]))
    assert layer.mask.tolist() == [[False, False, True], [False, True, True]]


def test_the_solver_knows_which_edges_there_are():
    model = _random((3, 2, 1))
    model.layers[0].keep_(torch.tensor([[True, False, True], [False, True, True]]))
    bundle = Bundle.of([model])
    bundle = Bundle.joined([bundle, bundle]).picked(torch.tensor([1])).refined(6)
    marked = bundle.frozen()[0, : bundle.matrices[0][0].numel()].view(2, 3, -1)
    assert torch.equal(marked.all(-1), ~model.layers[0].mask)
    assert torch.equal(marked.any(-1), ~model.layers[0].mask)


# ----------------------------------------------------------------------------------------------- what users see


def test_names_of_columns_are_used(fitted):
    frame = pd.DataFrame(fitted[3].numpy(), columns=["mass", "axis", "albedo", "moons"])
    assert repr(prune(fitted[0], frame, fitted[4])).endswith("albedo, moons")
    assert repr(prune(fitted[0], frame, fitted[4], names=list("abcd"))).endswith("c, d")


def test_bad_arguments_are_explained():
    model, (x, y) = _random((4, 3, 1)), _table()
    spoiled = y.clone()
    spoiled[3] = float("nan")
    for args, words in [((x, spoiled), "1 of 400 rows"), ((x[:10], y), "10 rows but y has 400"), ((x[:, :2], y), "X")]:
        with pytest.raises(ValueError, match=words):
            prune(model, *args)
    for tolerance in (-1, float("nan"), "much", True):
        with pytest.raises(ValueError, match="tolerance"):
            prune(model, x, y, tolerance=tolerance)
    with pytest.raises(ValueError, match="each of 400 rows"):
        prune(model, x, y, error=lambda out, y: (out - y).square().mean())
    with pytest.raises(TypeError, match="only a KAN"):
        prune(MLP((4, 1)), x, y)
    with torch.no_grad():
        model.layers[0].coef.fill_(float("inf"))
    with pytest.raises(ValueError, match="not finite"):
        prune(model, x, y)


def test_targets_in_a_row_are_a_column_for_an_error_of_ones_own():
    X = torch.rand(300, 2, generator=torch.Generator().manual_seed(0)) * 2 - 1
    y = torch.sin(3 * X[:, 0]) + X[:, 1] ** 2
    model = fit(KAN((2, 1), generator=torch.Generator().manual_seed(0)), X, y, starts=1).model
    row, column = (prune(model, X, t, error=lambda p, q: (p - q).square().mean(1)) for t in (y, y[:, None]))
    assert (row.before, row.after) == (column.before, column.after)
    assert row.before < 1e-3
    assert repr(row) == repr(column)
