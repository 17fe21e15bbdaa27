"""superpose.formula: formulas that are the truth, whatever the seed; and what cannot be is refused."""

import numpy as np
import pytest
import torch

from superpose import KAN, MLP, fit, formula, prune
from superpose.symbolic import Function, extraction

TARGETS = {
    "exp": ((2, 1, 1), lambda X: torch.exp(torch.sin(torch.pi * X[:, 0]) + X[:, 1] ** 2)),
    "product": ((2, 2, 1), lambda X: X[:, 0] * X[:, 1]),
    "root": ((2, 1, 1), lambda X: torch.sqrt(X[:, 0] ** 2 + X[:, 1] ** 2)),
    "sum": ((3, 1), lambda X: torch.exp(X[:, 0]) - 2 * X[:, 1] ** 2),
}


def rows(name, count, seed):
    generator = torch.Generator().manual_seed(seed)
    shape, target = TARGETS[name]
    X = torch.rand(count, shape[0], generator=generator, dtype=torch.float64) * 2 - 1
    return X, target(X).unsqueeze(1)


def fitted(name, seed=0, noise=0.0):
    X, y = rows(name, 500, seed)
    generator = torch.Generator().manual_seed(seed)
    y = y + noise * torch.randn(y.shape, generator=generator, dtype=torch.float64)
    return fit(KAN(TARGETS[name][0], generator=generator).double(), X, y, seed=seed).model, X, y


def error(found, name):
    X, y = rows(name, 1000, 99)
    return float(np.abs(found(X) - y[:, 0].numpy()).max() / y.std())


@pytest.fixture(scope="module")
def summed():
    return fitted("sum")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", TARGETS)
def test_the_truth_is_found(name, seed):
    model, X, y = fitted(name, seed)
    front = formula(model, X, y, validation=rows(name, 200, 50 + seed), seed=seed)
    assert error(front.best, name) < 1e-9
    assert front.best.held_out < 1e-9 * front.network_loss
    assert front.stopped == "finished"
    assert front.rows == 200


def test_a_sum_is_found_with_what_stands_on_its_edges(summed):
    front = formula(*summed, names=["a", "b", "c"], functions=["exp", "x^2", "sin"])
    assert repr(front.best) in ("-2*b**2 + exp(a)", "exp(a) - 2*b**2")
    assert front.symbols[0, 0, 0] == "e^{x}"
    assert front.symbols[0, 0, 1] == "x^{2}"
    assert front.symbols[0, 0, 2] in ("0", "x")
    assert [f.complexity for f in front] == sorted(f.complexity for f in front)
    losses = [f.held_out for f in front]
    assert losses == sorted(losses, reverse=True)
    assert "network" in repr(front)


def test_noise_is_not_written_down():
    model, X, y = fitted("sum", noise=0.05)
    front = formula(model, X, y, functions=["exp", "x^2", "sin", "tanh"])
    assert front.best.complexity <= 14
    assert error(front.best, "sum") < 0.05
    assert front.best.held_out < 1.5 * 0.05**2


def test_the_same_call_gives_the_same_formulas(summed):
    once, again = (formula(*summed, functions=["exp", "x^2"]) for _ in range(2))
    assert repr(once) == repr(again)


def test_the_model_and_the_data_stay_as_they_are(summed):
    model, X, y = summed
    before, kept = {k: v.clone() for k, v in model.state_dict().items()}, X.clone()
    formula(model, X, y, functions=["exp"])
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert torch.equal(X, kept)


def test_a_pruned_network_has_no_edges_to_replace(summed):
    model, X, y = summed
    pruned = prune(model, X, y).model
    front = formula(pruned, X, y, functions=["exp", "x^2"])
    assert set(front.symbols) == {(0, 0, 0), (0, 0, 1)}


def test_a_dead_network_is_its_constant():
    model, X, y = fitted("sum")
    model.layers[0].keep_(torch.zeros(1, 3, dtype=torch.bool))
    front = formula(model, X, y)
    assert len(front) == 1
    assert front.best.complexity == 3  # a constant with many digits


def test_one_row_outside_does_not_matter(summed):
    model, X, y = summed
    X = torch.cat([X, torch.tensor([[-1.5, 2.0, 3.0]], dtype=torch.float64)])
    y = torch.cat([y, TARGETS["sum"][1](X[-1:]).unsqueeze(1)])
    front = formula(model, X, y, functions=["exp", "x^2", "log", "sqrt"])
    assert error(front.best, "sum") < 1e-6


def test_constant_targets():
    X, _ = rows("sum", 100, 0)
    y = torch.full((100, 1), 2.0, dtype=torch.float64)
    model = fit(KAN((3, 1), generator=torch.Generator().manual_seed(0)).double(), X, y, starts=1).model
    assert repr(formula(model, X, y, functions=["exp"]).best) in ("2", "2.0")


def test_time_and_interruptions_give_the_best_so_far(summed, monkeypatch):
    front = formula(*summed, max_time=1e-9)
    assert front.stopped == "time"
    assert len(front) >= 1
    assert "not finished (time)" in repr(front)
    count = 0

    def interrupting(*arguments, **more):
        nonlocal count
        count += 1
        raise KeyboardInterrupt

    monkeypatch.setattr(extraction, "reduced", interrupting)
    front = formula(*summed, functions=["exp", "x^2"])
    assert count == 1
    assert front.stopped == "interrupted"
    assert error(front.best, "sum") < 1e-6


def test_a_function_of_ones_own():
    X = torch.rand(300, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 4 - 2
    y = torch.nn.functional.softplus(3 * X)
    import sympy

    own = Function(
        "softplus", lambda x: np.logaddexp(0, x), lambda x: 1 / (1 + np.exp(-x)),
        lambda x: sympy.log(1 + sympy.exp(x)), torch.nn.functional.softplus,
    )  # fmt: skip
    model = fit(KAN((1, 1), generator=torch.Generator().manual_seed(0)).double(), X, y, starts=1).model
    front = formula(model, X, y, functions=[own, "sin"])
    assert front.best.held_out < 1e-20
    assert "log(exp(3" in repr(front.best)


def test_one_of_several_outputs():
    X, y = rows("sum", 400, 0)
    both = torch.cat([y, X[:, 1:2] ** 2], 1)
    model = fit(KAN((3, 2), generator=torch.Generator().manual_seed(0)).double(), X, both, starts=1).model
    front = formula(model, X, both, output=1, functions=["x^2", "exp"])
    assert repr(front.best) == "x2**2"
    with pytest.raises(ValueError, match="output=0 to 1"):
        formula(model, X, both)
    with pytest.raises(ValueError, match="output is 2"):
        formula(model, X, both, output=2)


def test_what_cannot_be_raises(summed):
    model, X, y = summed
    bad = X.clone()
    bad[0, 0] = torch.nan
    with pytest.raises(ValueError, match="NaN"):
        formula(model, bad, y)
    with pytest.raises(TypeError, match="only a KAN"):
        formula(MLP((3, 2, 1)), X, y)
    with pytest.raises(ValueError, match="X has 500 rows but y has 499"):
        formula(model, X, y[1:])
    with pytest.raises(ValueError, match="between 0 and 1"):
        formula(model, X, y, validation=1.5)
    with pytest.raises(ValueError, match=r"or \(X, y\)"):
        formula(model, X, y, validation=(X, y, y))
    with pytest.raises(ValueError, match="at least 10"):
        formula(model, X[:8], y[:8])
    with pytest.raises(ValueError, match="max_time"):
        formula(model, X, y, max_time=0)
    with pytest.raises(ValueError, match="no function 'sine'"):
        formula(model, X, y, functions=["sine"])
    with pytest.raises(ValueError, match="3 inputs, but there are 1 names"):
        formula(model, X, y, names=["a"])


def test_two_inputs_of_one_name_raise():
    X = np.random.default_rng(0).uniform(-1, 1, (50, 2))
    model = KAN((2, 1), generator=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match="2 inputs are called 'a'; give names= that differ"):
        formula(model, X, X[:, 0], names=["a", "a"])
