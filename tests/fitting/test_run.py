"""The one verb, from outside: what comes back, what stays untouched, what is refused.

Names such as N8 refer to a list of failures seen in an earlier library; each has a test that it cannot happen here.
"""

import copy
import random
import time

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from superpose import KAN, MLP, BSpline, Chebyshev, Wavelet, fit, move_grid
from superpose.models import Network

# The pieces are tested with the shape checks on; whole fits would take minutes with them.
pytestmark = [
    pytest.mark.as_shipped,
    # Adam and L-BFGS read their loss without detaching it, of which PyTorch warns once.
]

SOLVERS = ["lm", "lbfgs", "adam"]
solvers = pytest.mark.parametrize("solver", SOLVERS)
networks = pytest.mark.parametrize("network", [KAN, MLP])


def _kan(widths=(2, 2, 1), intervals=4, dtype=torch.float64, seed=0, **options) -> KAN:
    return KAN(widths, BSpline(intervals, **options), generator=torch.Generator().manual_seed(seed)).to(dtype)


def _curve(rows=60, noise=0.0, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.uniform(-2, 3, (rows, 1))
    return x, 5 + 2 * np.sin(2 * x) + noise * rng.standard_normal((rows, 1))


def _plane(rows=60, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, (rows, 2))
    return x, np.exp(x[:, :1]) * (1 + x[:, 1:] ** 2)


def _rms(model: Network, x, y) -> float:
    with torch.no_grad():
        return float((model(torch.as_tensor(x)) - torch.as_tensor(y)).square().mean().sqrt())


def _bits(model: Network) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def _same(first: dict, second: dict) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def _all_finite(model: Network, x) -> bool:
    with torch.no_grad():
        return bool(torch.isfinite(model(torch.as_tensor(x, dtype=model.input_scaling.scale.dtype))).all())


# ------------------------------------------------------------------------------------------------ what comes back


@solvers
@networks
def test_every_solver_reduces_the_loss(solver, network):
    x, y = _plane()
    model = network((2, 4, 1), generator=torch.Generator().manual_seed(0)).double()
    steps = {"lm": 8, "lbfgs": 60, "adam": 300}[solver]
    result = fit(model, x, y, solver=solver, max_iter=steps, starts=2)
    assert result.solver == solver
    assert result.stopped == "finished"
    assert len(result.history) >= steps
    assert [record.step for record in result.history] == list(range(1, len(result.history) + 1))
    assert result.loss <= result.history[0].train_loss
    assert result.history[0].validation_loss is None
    assert result.history[0].intervals == (5 if network is KAN else 0)
    assert all(a.seconds <= b.seconds for a, b in zip(result.history, result.history[1:], strict=False))
    assert _rms(result.model, x, y) < 0.5 * y.std()
    # The loss is that of targets with variance 1, on the data given.
    if solver == "lm":
        assert result.loss == pytest.approx((_rms(result.model, x, y) / y.std()) ** 2, rel=1e-6)
    assert type(result.model) is network
    assert "loss" in repr(result) and solver in repr(result) and "finished" in repr(result)


def test_auto_chooses_by_size():
    x, y = _curve(40)
    assert fit(_kan((1, 1)), x, y, max_iter=1).solver == "lm"
    big = np.random.default_rng(0).uniform(-1, 1, (2000, 8))
    wide = KAN((8, 40, 1), BSpline(10))
    assert fit(wide, big, big[:, :1], max_iter=1, max_time=5).solver == "lbfgs"
    assert fit(wide, np.tile(big, (5, 1)), np.tile(big[:, :1], (5, 1)), max_iter=1, max_time=5).solver == "adam"
    assert fit(_kan((1, 1)), x, y, loss=lambda p, t: (p - t).abs(), max_iter=1).solver == "lbfgs"


@pytest.mark.parametrize("loss", ["mse", "huber"])
@solvers
def test_losses_by_name(solver, loss):
    x, y = _curve()
    result = fit(_kan((1, 1)), x, y, solver=solver, loss=loss, max_iter=12 if solver == "lm" else 600, starts=2)
    assert _rms(result.model, x, y) < (0.3 if solver == "lm" else 0.6) * y.std()


@solvers
def test_classes(solver):
    """Two half moons."""
    rng = np.random.default_rng(0)
    turn, which = rng.uniform(0, np.pi, 300), rng.integers(0, 2, 300)
    x = np.stack([np.cos(turn) + which * (1 - 2 * np.cos(turn)), np.sin(turn) + which * (0.5 - 2 * np.sin(turn))], 1)
    x += 0.08 * rng.standard_normal(x.shape)
    steps = {"lm": 12, "lbfgs": 60, "adam": 300}[solver]
    result = fit(_kan((2, 3, 2)), x[:200], which[:200], loss="cross_entropy", solver=solver, max_iter=steps, starts=2)
    guess = result.model(torch.tensor(x[200:])).argmax(-1).numpy()
    assert (guess == which[200:]).mean() > 0.95
    assert torch.equal(result.model.output_scaling.scale, torch.ones(2, dtype=torch.float64))


@pytest.mark.parametrize("solver", ["lbfgs", "adam"])
@pytest.mark.parametrize("reduced", [False, True])
def test_a_loss_of_ones_own_in_the_units_of_the_data(solver, reduced):
    x, y = _curve()
    seen = []

    def loss(prediction, target):
        seen.append(target)
        value = (prediction - target).abs()
        return value.mean() if reduced else value

    result = fit(_kan((1, 1)), x, y, loss=loss, solver=solver, max_iter=600)
    assert _rms(result.model, x, y) < 0.6 * y.std()
    targets = torch.cat([t.detach() for t in seen])
    assert float(targets.min()) >= y.min() - 1e-6 and float(targets.max()) <= y.max() + 1e-6
    with torch.no_grad():
        reached = float((result.model(torch.tensor(x)) - torch.tensor(y)).abs().mean())
    assert result.loss == pytest.approx(reached, rel=0.2)


def test_outliers_and_huber():
    x, y = _curve(150, noise=0.02)
    wild = y.copy()
    wild[::15] += 30
    squared, robust = (fit(_kan((1, 1), 8), x, wild, loss=loss, starts=2) for loss in ("mse", "huber"))
    # The bound between small and large errors is a share of the spread that the outliers widen too.
    assert _rms(robust.model, x, y) < 0.3 * _rms(squared.model, x, y)


# ------------------------------------------------------------------------------------------------------- accuracy


def test_one_layer_without_smoothing_is_linear_least_squares():
    x, y = _curve(80, noise=0.3)
    model = fit(_kan((1, 1), 6), x, y, smoothing=0.0, solver="lm", starts=1, max_iter=30).model
    layer = model.layers[0]
    design = layer.features(model.input_scaling(torch.tensor(x))).detach().numpy()
    best = design @ np.linalg.lstsq(design, y, rcond=None)[0]
    np.testing.assert_allclose(model(torch.tensor(x)).detach(), best, atol=1e-6)
    assert _rms(model, x, y) == pytest.approx(np.sqrt(((best - y) ** 2).mean()), rel=1e-9)


def _formula(rows, seed):
    x = torch.rand(rows, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2 - 1
    return x, torch.exp(torch.sin(torch.pi * x[:, :1]) + x[:, 1:] ** 2)


@pytest.mark.parametrize("seed", range(5))
def test_a_formula_of_two_variables(seed):
    x, y = _formula(3000, seed)
    began = time.perf_counter()
    result = fit(_kan((2, 1, 1), 5, seed=seed), x, y, intervals=(5, 10), seed=seed)
    assert time.perf_counter() - began < 20
    coarse = min(record.train_loss for record in result.history if record.intervals == 5)
    assert np.sqrt(coarse) * float(y.std()) < 1e-2
    assert {record.intervals for record in result.history} == {5, 10}
    assert _rms(result.model, *_formula(2000, 100 + seed)) < 5e-4


def test_more_intervals_than_rows():
    x, y = _formula(100, 0)
    result = fit(_kan((2, 1, 1), 5), x, y, intervals=(5, 20, 100))
    assert result.model.num_parameters > 100
    assert result.model.layers[0].basis.size == 100
    assert _rms(result.model, *_formula(1000, 1)) < 2e-3


def test_noise_is_not_fitted():
    x, y = _curve(100, noise=0.1)
    result = fit(_kan((1, 1), 100), x, y, starts=1)
    assert _rms(result.model, *_curve(500, seed=1)) < 0.1
    assert np.sqrt(result.loss) * y.std() > 0.07
    loose = fit(_kan((1, 1), 100), x, y, smoothing=0.0, starts=1)
    assert np.sqrt(loose.loss) * y.std() < 0.06


def test_a_strong_penalty_leaves_a_polynomial():
    x, y = _curve(100)
    model = fit(_kan((1, 1), 20, degree=1), x, y, smoothing=1e4).model
    model.layers[0].weight.data.zero_()
    scaled = torch.linspace(-0.99, 0.99, 50, dtype=torch.float64).unsqueeze(1)
    values = model.layers[0](scaled)[:, 0].detach().numpy()
    line = np.polynomial.Polynomial.fit(scaled[:, 0].numpy(), values, 1)
    np.testing.assert_allclose(values, line(scaled[:, 0].numpy()), atol=1e-3)


@pytest.mark.parametrize("basis", [Chebyshev(6), BSpline(6, degree=0), BSpline(6, degree=5)], ids=repr)
def test_other_bases(basis):
    # N7 among them: degree 0.
    x, y = _plane(100)
    model = KAN((2, 2, 1), basis, generator=torch.Generator().manual_seed(0)).double()
    result = fit(model, x, y, starts=4)
    assert _rms(result.model, x, y) < (0.5 if basis.num == 6 else 0.1) * y.std()
    assert _all_finite(result.model, 3 * x)


# ---------------------------------------------------------------------------------------- weights and validation


def _close(first: Network, second: Network, x, tolerance: float) -> None:
    with torch.no_grad():
        a, b = (model(torch.as_tensor(x)) for model in (first, second))
    torch.testing.assert_close(a, b, rtol=0, atol=tolerance)


@pytest.mark.parametrize(("solver", "tolerance"), [("lm", 1e-7), ("lbfgs", 1e-4)])
def test_weight_two_is_a_row_twice(solver, tolerance):
    x, y = _curve(50, noise=0.2)
    weight = np.where(np.arange(50) % 3 == 0, 2.0, 1.0)
    options = {"solver": solver, "max_iter": 20, "starts": 1}
    weighted = fit(_kan((1, 1)), x, y, sample_weight=weight, **options)
    twice = np.repeat(np.arange(50), weight.astype(int))
    repeated = fit(_kan((1, 1)), x[twice], y[twice], **options)
    _close(weighted.model, repeated.model, x, tolerance)
    assert weighted.loss == pytest.approx(repeated.loss, rel=1e-4)


@solvers
def test_weight_zero_is_no_row(solver):
    x, y = _curve(50, noise=0.2)
    weight = (np.arange(50) % 3 > 0) * 1.0
    far, wild = np.where(weight > 0, x[:, 0], 1e9)[:, None], np.where(weight > 0, y[:, 0], -1e9)[:, None]
    options = {"solver": solver, "max_iter": 10, "starts": 1}
    weighted = fit(_kan((1, 1)), far, wild, sample_weight=weight, **options)
    absent = fit(_kan((1, 1)), x[weight > 0], y[weight > 0], **options)
    assert _same(_bits(weighted.model), _bits(absent.model))


def test_weights_without_noise_to_learn_are_relative():
    x, y = _curve(50, noise=0.2)
    weight = np.random.default_rng(0).uniform(0.5, 2, 50)
    first = fit(_kan((1, 1)), x, y, sample_weight=weight, smoothing=1e-6, starts=1)
    second = fit(_kan((1, 1)), x, y, sample_weight=weight[:, None].tolist(), smoothing=1e-6, starts=1)
    _close(first.model, second.model, x, 1e-9)


@solvers
def test_validation_by_a_share(solver):
    x, y = _curve(100, noise=0.3)
    result = fit(_kan((1, 1), 20), x, y, validation=0.3, solver=solver, max_iter=30)
    losses = [record.validation_loss for record in result.history]
    assert all(isinstance(value, float) for value in losses)
    assert result.loss == min(losses)


def test_validation_by_a_table_judges_the_model():
    x, y = _curve(60, noise=0.5)
    other = _curve(40, seed=5)
    result = fit(_kan((1, 1), 30), x, y, validation=other, solver="lbfgs", max_iter=200)
    assert len(result.history) < 200  # stops when it no longer gains
    want = (_rms(result.model, *other) / y.std()) ** 2
    assert result.loss == pytest.approx(want, rel=1e-6)
    # Nothing of the held-out table goes into the network (N2).
    moved = fit(_kan((1, 1), 30), x, y, validation=(other[0] * 100, other[1] + 7), solver="lbfgs", max_iter=3)
    plain = fit(_kan((1, 1), 30), x, y, solver="lbfgs", max_iter=3)
    assert torch.equal(moved.model.input_scaling.scale, plain.model.input_scaling.scale)
    assert torch.equal(moved.model.output_scaling.shift, plain.model.output_scaling.shift)
    weighted = fit(_kan((1, 1), 30), x, y, validation=(*other, np.ones(40)), solver="lbfgs", max_iter=200)
    assert weighted.loss == result.loss


def test_intervals_grow_until_the_held_out_rows_say_stop():
    x, y = _curve(150, noise=0.3)
    result = fit(_kan((1, 1), 3), x, y, intervals="auto", validation=0.3, max_iter=6)
    sizes = sorted({record.intervals for record in result.history})
    assert sizes[0] == 3 and len(sizes) < 6 and all(b == 2 * a for a, b in zip(sizes, sizes[1:], strict=False))
    assert _rms(result.model, *_curve(300, seed=4)) < 0.3


# ------------------------------------------------------------------------------------------------- time and Ctrl-C


@pytest.mark.parametrize(("solver", "widths"), [("lm", (2, 5, 1)), ("lbfgs", (2, 5, 1)), ("adam", (2, 5, 1))])
def test_the_time_is_kept(solver, widths):
    x, y = _plane(2000)
    began = time.perf_counter()
    result = fit(_kan(widths, 10), x, y, solver=solver, max_time=0.5, max_iter=10_000)
    assert time.perf_counter() - began < 2
    assert result.stopped == "time"
    assert result.history
    assert _all_finite(result.model, x)


def test_hardly_any_time_still_gives_a_model():
    x, y = _plane()
    result = fit(_kan(), x, y, max_time=1e-9)
    assert result.stopped == "time" and _all_finite(result.model, x)


@pytest.mark.parametrize("solver", ["lbfgs", "adam"])
def test_ctrl_c_gives_the_best_so_far(solver):
    x, y = _curve()
    calls = []

    def loss(prediction, target):
        calls.append(0)
        if len(calls) > 40:
            raise KeyboardInterrupt
        return (prediction - target).square()

    result = fit(_kan((1, 1)), x, y, loss=loss, solver=solver)
    assert result.stopped == "interrupted"
    assert 0 < len(result.history) < 41
    assert result.loss == min(record.train_loss for record in result.history)


def test_ctrl_c_in_levenberg_marquardt(monkeypatch):
    x, y = _curve()
    from superpose.fitting.watch import Watch

    see, seen = Watch.see, []

    def interrupted(watch, candidate, **options):
        seen.append(see(watch, candidate, **options))
        if len(seen) == 4:
            raise KeyboardInterrupt
        return seen[-1]

    monkeypatch.setattr(Watch, "see", interrupted)
    result = fit(_kan((1, 1)), x, y, solver="lm")
    assert result.stopped == "interrupted" and len(result.history) == 4
    assert _rms(result.model, x, y) < y.std()


def test_ctrl_c_before_the_first_step_is_passed_on():
    def loss(prediction, target):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(_kan((1, 1)), *_curve(), loss=loss, solver="adam")


# ------------------------------------------------------------------------------------------------- nothing behind


@solvers
def test_the_same_seed_gives_the_same_bits(solver):
    x, y = _plane()
    options = {"solver": solver, "max_iter": 5, "validation": 0.2, "starts": 3}
    first, again, other = (fit(_kan(), x, y, seed=seed, **options).model for seed in (1, 1, 2))
    assert _same(_bits(first), _bits(again))
    assert not _same(_bits(first), _bits(other))


@solvers
def test_the_global_random_state_is_untouched(solver):
    # N8: pykan seeds torch, NumPy and random, even in the middle of a fit.
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    fit(_kan(), *_plane(), solver=solver, max_iter=3, validation=0.2, starts=3)
    after = torch.get_rng_state(), np.random.get_state()[1], random.getstate()  # noqa: NPY002
    assert torch.equal(before[0], after[0]) and np.array_equal(before[1], after[1]) and before[2] == after[2]


@solvers
def test_nothing_is_printed_or_written(solver, tmp_path, monkeypatch, capfd):
    # N9: pykan writes checkpoints into the working directory.
    monkeypatch.chdir(tmp_path)
    fit(_kan(), *_plane(), solver=solver, max_iter=3, starts=2)
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []


def test_one_line_tells_how_it_goes(capsys):
    fit(_kan((1, 1)), *_curve(), verbose=1, max_iter=4, validation=0.2, max_time=60)
    out, err = capsys.readouterr()
    assert out == ""
    for part in ("lm", "train", "validation", "intervals 4", "4 steps", "s left"):
        assert part in err
    assert err.count("\n") == 1


@solvers
def test_model_and_data_stay_as_they_are(solver):
    # N10, N11: a result shares nothing with what was given.
    model, (x, y) = _kan(), map(torch.tensor, _plane())
    model.train(False)
    before, data = _bits(model), (x.clone(), y.clone())
    result = fit(model, x, y, solver=solver, max_iter=3, starts=2)
    with torch.no_grad():
        for tensor in result.model.state_dict().values():
            tensor.zero_()
    assert _same(_bits(model), before)
    assert torch.equal(x, data[0]) and torch.equal(y, data[1])
    assert all(p.grad is None for p in model.parameters())
    assert all(p.is_leaf and p.requires_grad for p in result.model.parameters())
    assert not result.model.training


@pytest.mark.parametrize("solver", ["lbfgs", "adam", "auto"])
def test_frozen_parameters_stay_frozen(solver):
    # N10: flags survive.
    model = _kan((1, 1))
    model.layers[0].weight.requires_grad_(False)
    result = fit(model, *_curve(), solver=solver, max_iter=5)
    assert torch.equal(result.model.layers[0].weight, model.layers[0].weight)
    assert not result.model.layers[0].weight.requires_grad
    assert not torch.equal(result.model.layers[0].coef, model.layers[0].coef)


@solvers
def test_going_on_keeps_the_units(solver):
    x, y = _curve(80)
    first = fit(_kan((1, 2, 1)), x, y, max_iter=4, starts=2)
    second = fit(first.model, x[:40] * 0.5, y[:40] * 0.5, solver=solver, max_iter=4)
    for name in ("input_scaling.scale", "input_scaling.shift", "output_scaling.scale", "output_scaling.shift"):
        assert torch.equal(_bits(first.model)[name], _bits(second.model)[name])
    better = fit(first.model, x, y, solver=solver, max_iter=8)
    if solver == "adam":  # its first steps are as long as its rate, however good the start
        return
    # Moving the grids costs a little, which few steps do not quite win back.
    assert better.loss <= first.loss * 2
    assert _rms(better.model, x, y) < 2 * _rms(first.model, x, y)


def test_grids_that_are_told_to_stay():
    model = _kan((2, 2, 1))
    result = fit(model, *_plane(), move=False, max_iter=3)
    for old, new in zip(model.layers, result.model.layers, strict=True):
        assert torch.equal(old.basis.knots, new.basis.knots)
    assert torch.equal(result.model.output_scaling.scale, model.output_scaling.scale)


# ------------------------------------------------------------------------------------------------ stubborn tables


@solvers
@networks
def test_a_constant_target(solver, network):
    x, _ = _plane(30)
    model = fit(network((2, 2, 1)).double(), x, np.full(30, 7.5), solver=solver, max_iter=30, starts=2).model
    assert _all_finite(model, x) and _rms(model, x, np.full((30, 1), 7.5)) < 0.3


@solvers
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_constant_column(solver, dtype):
    x, y = _plane(40)
    for value in (0.0, 3.0, -1e6):
        x[:, 0] = value
        model = fit(_kan(dtype=dtype), x, y, solver=solver, max_iter=4, starts=2).model
        assert _all_finite(model, x)
        with torch.no_grad():
            model(torch.as_tensor(x, dtype=dtype))
        x[:, 0] = value + 1  # and a value never seen
        assert _all_finite(model, x)


@solvers
@networks
@pytest.mark.parametrize("rows", [1, 2])
def test_one_row_and_two(solver, network, rows):
    # N16.
    x, y = _plane(rows)
    result = fit(network((2, 2, 1)).double(), x, y, solver=solver, max_iter=20, starts=2)
    assert np.isfinite(result.loss) and _all_finite(result.model, x) and _all_finite(result.model, x + 5)
    if solver == "lm":
        assert _rms(result.model, x, y) < 0.05 * abs(y).max()


@solvers
def test_more_parameters_than_rows(solver):
    x, y = _plane(12)
    result = fit(_kan((2, 3, 1), 20), x, y, solver=solver, max_iter=8, starts=1)
    assert result.model.num_parameters > 200
    assert _rms(result.model, *_plane(200, seed=1)) < 3 * y.std()


@solvers
def test_scales_do_not_matter(solver):
    x, y = _plane(40)
    options = {"solver": solver, "max_iter": 6, "starts": 2}
    want = fit(_kan(), x, y, **options)
    for scale in (1e-30, 1e30):
        result = fit(_kan(), x * scale, y * scale, **options)
        assert result.loss == pytest.approx(want.loss, rel=1e-2)
        with torch.no_grad():
            scaled = result.model(torch.tensor(x * scale)) / scale
        torch.testing.assert_close(scaled, want.model(torch.tensor(x)).detach(), rtol=0.05, atol=0.02)


@solvers
def test_float32(solver):
    # N24: the dtype of the model stays, whatever that of the data.
    x, y = _plane(60)
    result = fit(_kan(dtype=torch.float32), x, y, solver=solver, max_iter=12 if solver == "lm" else 400, starts=4)
    assert {p.dtype for p in result.model.state_dict().values()} == {torch.float32}
    assert _rms(result.model, x.astype(np.float32), y) < (0.05 if solver == "lm" else 0.4) * y.std()
    assert _rms(result.model, x.astype(np.float32), y) / y.std() == pytest.approx(np.sqrt(result.loss), rel=0.3)


def test_numbers_beyond_float32_are_explained():
    x, y = _plane(20)
    with pytest.raises(ValueError, match=r"model\.double\(\)"):
        fit(_kan(dtype=torch.float32), x, y * 1e200)
    with pytest.raises(ValueError, match=r"model\.double\(\)"):
        fit(_kan(dtype=torch.float32), x * 1e60, y)


def test_what_tables_come_in():
    x, y = np.arange(20).reshape(10, 2) % 7, np.arange(10) ** 2 % 11
    frame, series = pd.DataFrame(x, columns=["a", "b"]), pd.Series(y)
    want = _bits(fit(_kan(), x.astype(float), y.astype(float), max_iter=2, starts=1).model)
    for rows, targets in (
        (x, y),
        (x.tolist(), y.tolist()),
        (frame, series),
        (frame.astype("float32"), series.to_frame()),
        (torch.tensor(x), torch.tensor(y)),
        (np.asfortranarray(x)[::1], y[:, None]),
        (torch.tensor(x, dtype=torch.float64, requires_grad=True), y),
    ):
        assert _same(_bits(fit(_kan(), rows, targets, max_iter=2, starts=1).model), want)
    one = fit(_kan((1, 1)), y, y, max_iter=2)  # a single input may be a plain row of numbers
    assert _all_finite(one.model, y[:, None])
    yes = fit(_kan((1, 2)), y, pd.Series(y > 4), loss="cross_entropy", max_iter=2)
    assert _all_finite(yes.model, y[:, None])


def test_several_targets_of_different_size():
    x, y = _plane(80)
    both = np.concatenate([y * 1e6, np.sin(x[:, :1]) * 1e-6], 1)
    model = fit(_kan((2, 3, 2)), x, both, starts=4).model
    error = (model(torch.tensor(x)).detach().numpy() - both).std(0)
    assert (error < 0.05 * both.std(0)).all()


def test_a_dangling_node():
    # N1: a node without incoming edges, grids that move, and a gradient through it.
    model = _kan((2, 3, 1))
    with torch.no_grad():
        model.layers[0].weight[1] = 0
        model.layers[0].coef[..., 1] = 0
    for solver in SOLVERS:
        result = fit(model, *_plane(), solver=solver, starts=1, max_iter=6)
        x = torch.tensor(_plane()[0], requires_grad=True)
        result.model(x).sum().backward()
        gradients = [x.grad, *(p.grad for p in result.model.parameters())]
        assert all(bool(torch.isfinite(gradient).all()) for gradient in gradients)


def test_beyond_the_data():
    # N6: just outside the range of the data the function goes on; far outside it stays a straight line.
    x, y = _curve(100)
    model = fit(_kan((1, 1), 10), x, y).model
    near = np.linspace(3, 3.05, 10)[:, None]
    assert _rms(model, near, 5 + 2 * np.sin(2 * near)) < 0.05
    far = model(torch.linspace(100, 300, 3, dtype=torch.float64)[:, None])[:, 0].detach()
    assert float((far[2] - 2 * far[1] + far[0]).abs()) < 1e-6 * float(far.abs().max())


def test_a_network_that_gives_nan_is_never_the_best():
    x, y = _curve()
    calls = []

    def loss(prediction, target):
        calls.append(0)
        return (prediction - target).square() * (float("nan") if len(calls) > 20 else 1.0)

    result = fit(_kan((1, 1)), x, y, loss=loss, solver="adam", max_iter=40)
    assert np.isfinite(result.loss) and _all_finite(result.model, x)
    with pytest.raises(ValueError, match="the loss was not a finite number at any step"):
        fit(_kan((1, 1)), x, y, loss=lambda p, t: (p - t) * float("nan"), solver="adam", max_iter=3)


# -------------------------------------------------------------------------------------------------------- refused

X, Y = _plane(10)
HOLED, ENDLESS = X.copy(), Y.copy()
HOLED[3, 1], ENDLESS[2] = np.nan, np.inf

REFUSED = {
    "nan": ((HOLED, Y), {}, ValueError, "x holds NaN or infinity in 1 of 10 rows; drop or fill them first"),
    "inf": ((X, ENDLESS), {}, ValueError, "y holds NaN or infinity in 1 of 10 rows"),
    "text": ((X.astype(str), Y), {}, TypeError, "x must be numbers in rows and columns"),
    "object": ((X, [None] * 10), {}, TypeError, "y must be numbers in rows and columns"),
    "ragged": (([[1, 2], [3]], Y), {}, TypeError, "x must be numbers in rows and columns"),
    "dates": ((X, np.full(10, "2020-01-01", "datetime64[s]")), {}, TypeError, "y must be numbers in rows and columns"),
    "complex": ((X + 1j, Y), {}, TypeError, "x must hold real numbers"),
    "one column": ((X[:, :1], Y), {}, ValueError, r"x must have shape \(samples, 2\), got \(10, 1\)"),
    "flat x": ((X[:, 0], Y), {}, ValueError, r"x must have shape \(samples, 2\), got \(10,\)"),
    "wide y": ((X, X), {}, ValueError, r"y must have shape \(samples, 1\), got \(10, 2\)"),
    "lying y (N15)": ((X, Y.T), {}, ValueError, r"y must have shape \(samples, 1\), got \(1, 10\)"),
    "scalar y": ((X, 1.0), {}, ValueError, r"y must have shape \(samples, 1\), got \(\)"),
    "short y": ((X, Y[:9]), {}, ValueError, "x has 10 rows but y has 9"),
    "one y for all (N15)": ((X, Y[:1]), {}, ValueError, "x has 10 rows but y has 1"),
    "empty": ((X[:0], Y[:0]), {}, ValueError, "x has no rows"),
    "short weights": ((X, Y), {"sample_weight": np.ones(9)}, ValueError, "sample_weight has 9 values for 10 rows"),
    "negative weights": ((X, Y), {"sample_weight": -np.ones(10)}, ValueError, "sample_weight must not be negative"),
    "zero weights": ((X, Y), {"sample_weight": np.zeros(10)}, ValueError, "not zero everywhere"),
    "nan weights": ((X, Y), {"sample_weight": HOLED[:, 1]}, ValueError, "sample_weight holds NaN"),
    "solver": ((X, Y), {"solver": "sgd"}, ValueError, "solver is 'sgd'; choose one of auto, lm, lbfgs, adam"),
    "loss": ((X, Y), {"loss": "mae"}, ValueError, "loss is 'mae'; choose one of mse, huber, cross_entropy, or give"),
    "lm with a function": ((X, Y), {"loss": lambda p, t: p, "solver": "lm"}, ValueError, "needs a named loss"),
    "share of 0": ((X, Y), {"validation": 0.0}, ValueError, "a share must lie between 0 and 1"),
    "share of 1": ((X, Y), {"validation": 1}, ValueError, "validation is 1; a share must lie between 0 and 1"),
    "share of little": ((X, Y), {"validation": 0.01}, ValueError, "of 10 rows leaves no rows to judge by"),
    "share of nearly all": ((X, Y), {"validation": 0.99}, ValueError, "of 10 rows leaves no rows to fit"),
    "validation of one": ((X, Y), {"validation": (X,)}, ValueError, r"validation must be a share .* or \(x, y"),
    "validation of other width": ((X, Y), {"validation": (Y, Y)}, ValueError, r"x must have shape \(samples, 2\)"),
    "intervals of 0": ((X, Y), {"intervals": (0, 5)}, ValueError, "intervals must be positive integers that increase"),
    "falling intervals": ((X, Y), {"intervals": (10, 5)}, ValueError, "intervals must be positive integers that"),
    "equal intervals": ((X, Y), {"intervals": (5, 5)}, ValueError, "intervals must be positive integers that"),
    "half intervals": ((X, Y), {"intervals": (2.5, 5)}, ValueError, "intervals must be positive integers that"),
    "no intervals": ((X, Y), {"intervals": ()}, ValueError, "intervals must be positive integers that"),
    "one number of intervals": ((X, Y), {"intervals": 5}, ValueError, "intervals must be 'auto' or a row of sizes"),
    "some intervals": ((X, Y), {"intervals": "many"}, ValueError, "intervals must be 'auto' or a row of sizes"),
    "intervals of adam": ((X, Y), {"intervals": (5,), "solver": "adam"}, ValueError, "only Levenberg-Marquardt goes"),
    "smoothing": ((X, Y), {"smoothing": -1.0}, ValueError, "smoothing is -1.0; it must be 'auto' or a number"),
    "smoothing by name": ((X, Y), {"smoothing": "lots"}, ValueError, "smoothing is 'lots'"),
    "no starts": ((X, Y), {"starts": 0}, ValueError, "starts is 0; it must be an integer of at least 1"),
    "no steps": ((X, Y), {"max_iter": 0}, ValueError, "max_iter is 0; it must be an integer of at least 1"),
    "no time": ((X, Y), {"max_time": 0}, ValueError, "max_time is 0; it must be a positive number of seconds"),
}


@pytest.mark.parametrize(("data", "options", "error", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_is_explained(data, options, error, message):
    with pytest.raises(error, match=message):
        fit(_kan(), *data, **options)


@pytest.mark.parametrize("y", [[0, 1, 2], [0, -1, 1], [0, 0.5, 1]], ids=str)
def test_classes_that_cannot_be(y):
    with pytest.raises(ValueError, match="for cross-entropy y must hold class numbers from 0 to 1"):
        fit(_kan((2, 2)), X[:3], y, loss="cross_entropy")


def test_a_loss_that_mixes_rows_up_is_explained():
    # N15: labels of shape (N,) against predictions (N, 1) give (N, N).
    with pytest.raises(
        ValueError, match=r"the loss returned shape \(10, 10\); a scalar or one value for each of the 10"
    ):
        fit(_kan(), X, Y, loss=lambda p, t: p - t[:, 0], solver="adam")


def test_a_perceptron_has_no_intervals():
    with pytest.raises(ValueError, match="intervals are those of a KAN; a MLP has none"):
        fit(MLP((2, 3, 1)), X, Y, intervals=(5, 10))


def test_frozen_parameters_and_second_order():
    model = _kan()
    model.layers[0].coef.requires_grad_(False)
    with pytest.raises(ValueError, match="with frozen ones choose 'lbfgs' or 'adam'"):
        fit(model, X, Y, solver="lm")


def test_only_networks_are_fitted():
    with pytest.raises(TypeError, match=r"model must be a superpose\.KAN or superpose\.MLP, got Linear"):
        fit(nn.Linear(2, 1), X, Y)


def test_a_network_can_be_copied_after_a_fit():
    result = fit(_kan(), X, Y, max_iter=2, starts=1)
    assert _same(_bits(copy.deepcopy(result.model)), _bits(result.model))


def test_grids_placed_before_a_fit_are_placed_in_the_units_of_the_data():
    """move_grid and then fit: the first layer's grid must follow the inputs into their new units."""
    x = torch.linspace(100, 110, 200, dtype=torch.float64).unsqueeze(1)
    y = (x - 100).sin()
    model = KAN((1, 1), BSpline(12), generator=torch.Generator().manual_seed(0)).double()
    result = fit(move_grid(model, x), x, y)
    low, high = result.model.layers[0].basis.domain[0].tolist()
    assert -1.3 < low < -0.8 and 0.8 < high < 1.3
    assert _rms(result.model, x, y) < 1e-3


def test_the_first_step_on_a_new_grid_does_not_replace_a_better_network(monkeypatch):
    from superpose.fitting.watch import Watch

    see, losses = Watch.see, []

    def interrupted(watch, candidate, **options):
        best = see(watch, candidate, **options)
        losses.append(candidate.train_loss)
        if len(losses) == 13:
            raise KeyboardInterrupt
        return best

    monkeypatch.setattr(Watch, "see", interrupted)
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(500, 2, generator=generator, dtype=torch.float64) * 2 - 1
    y = torch.exp(torch.sin(3 * x[:, :1]) + x[:, 1:] ** 2)
    result = fit(KAN((2, 1, 1), generator=generator).double(), x, y, intervals=(5, 11))
    assert result.stopped == "interrupted"
    assert result.loss <= min(losses) * 1.0001


def test_ctrl_c_between_starts_keeps_the_best_start(monkeypatch):
    from superpose.fitting import run

    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "run_stages", interrupted)
    x, y = _curve()
    result = fit(_kan((1, 1)), x, y, solver="lm", starts=4)
    assert result.stopped == "interrupted" and result.loss < 1 and not result.history
    assert _rms(result.model, x, y) < y.std()


def test_auto_intervals_hold_rows_out_and_wavelets_grow_by_levels():
    x, y = _curve()
    result = fit(KAN((1, 1), Wavelet(2), generator=torch.Generator().manual_seed(0)).double(), x, y, intervals="auto")
    assert all(record.validation_loss is not None for record in result.history)
    assert result.model.layers[0].basis.levels <= 10


@pytest.mark.parametrize("solver", ["lm", "lbfgs", "adam"])
def test_fit_works_where_gradients_are_off(solver):
    x, y = _curve()
    with torch.no_grad():
        result = fit(_kan((1, 1)), x, y, solver=solver, max_iter=5, starts=1)
    assert result.history[-1].train_loss < result.history[0].train_loss


def test_numbers_that_float32_cannot_tell_apart_are_refused():
    """Times of one night as Julian dates, and targets far from zero; with float64 both are fitted."""
    day = np.random.default_rng(0).uniform(0, 1, 200)
    date, y = 2_460_000 + day, np.sin(6 * day)
    with pytest.raises(
        ValueError, match=r"column 0 of x varies by 5.0e-01 about 2.46e\+06, which torch.float32 hardly"
    ):
        fit(KAN((1, 1)), date, y, starts=1, max_iter=5)
    with pytest.raises(ValueError, match=r"column 0 of y varies by .* about 1e\+09, which torch.float32 hardly"):
        fit(KAN((1, 1)), day, y + 1e9, starts=1, max_iter=5)
    found = fit(KAN((1, 1)).double(), date, y + 1e9, starts=1, max_iter=20)
    predicted = found.model(torch.tensor(date)[:, None])[:, 0].detach().numpy()
    assert np.std(predicted - y - 1e9) < 0.05
    fit(KAN((2, 1)), np.column_stack([day, np.full(200, 1e7)]), y, starts=1, max_iter=2)  # a constant varies by nothing
