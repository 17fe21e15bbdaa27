"""What is logged, against the same numbers computed by hand from a network that nobody watches."""

import copy
import csv

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.plugins.precision import MixedPrecision
from torch.nn.functional import cross_entropy

from superpose.train.watching import WatchLayers


class Kept(Logger):
    """Keeps what is logged."""

    name = version = None

    def __init__(self):
        super().__init__()
        self.rows = []

    def log_hyperparams(self, *_, **__):
        pass

    def log_metrics(self, metrics, step=None):
        if "gradient" in metrics:
            self.rows.append((step, metrics))


class Hooks(Callback):
    """Counts the hooks in every step."""

    def __init__(self):
        self.counts = []

    def on_before_backward(self, trainer, pl_module, loss):
        self.counts.append(sum(len(m._forward_hooks) for m in pl_module.modules()))


def _norm(parameters):
    return torch.cat([p.grad.flatten() for p in parameters]).norm().item()


def test_a_step(make, fit, data):
    module, kept = make(), Kept()
    twin = copy.deepcopy(module)
    fit(module, WatchLayers(every_n_steps=2), logger=kept)
    assert [step for step, _ in kept.rows] == [0, 2]
    x, y = next(iter(data()))
    first = twin.blocks[0](x)
    cross_entropy(twin(x), y).backward()
    row = kept.rows[0][1]
    assert row["mean/blocks.0"] == pytest.approx(first.mean().item(), rel=1e-5)
    assert row["variance/blocks.0"] == pytest.approx(first.var(correction=0).item(), rel=1e-5)
    assert row["rms/blocks.0"] == pytest.approx(first.square().mean().sqrt().item(), rel=1e-5)
    assert row["gradient/blocks.1"] == pytest.approx(_norm(twin.blocks[1].parameters()), rel=1e-4)
    assert row["gradient"] == pytest.approx(_norm(twin.parameters()), rel=1e-4)
    act = twin.blocks[0].mlp.act2
    assert row["numerator/blocks.0.mlp.act2"] == pytest.approx(act.weight_numerator.norm().item())
    assert row["denominator/blocks.0.mlp.act2"] == pytest.approx(act.weight_denominator.norm().item())
    assert row["min_q/blocks.0.mlp.act2"] >= 1
    assert row["outside/blocks.0.mlp.act2"] == 0
    assert set(kept.rows[1][1]) == set(row)
    assert not any(name.endswith("fc1") for name in row)


def test_accumulated_batches_are_one_step(make, fit, data):
    module, kept = make(lr=0.0), Kept()
    fit(module, WatchLayers(every_n_steps=1, modules=["blocks.?"]), logger=kept, accumulate_grad_batches=4)
    ((step, row),) = kept.rows
    x, y = next(iter(data(16, 16)))
    assert step == 0
    assert row["variance/blocks.1"] == pytest.approx(module.blocks(x).var(correction=0).item(), rel=1e-4)
    module.zero_grad()
    cross_entropy(module(x), y).backward()
    assert row["gradient"] == pytest.approx(_norm(module.parameters()), rel=1e-4)


def test_other_steps_have_no_hooks(make, fit):
    module, hooks = make(), Hooks()
    fit(module, WatchLayers(every_n_steps=3), hooks, logger=Kept())
    assert hooks.counts == [6, 0, 0, 6]
    assert not any(m._forward_hooks for m in module.modules())


def test_watching_changes_nothing(make, fit):
    watched, alone = make(dropout=0.5), make(dropout=0.5)
    with torch.random.fork_rng():
        torch.default_generator.manual_seed(5)
        fit(watched, WatchLayers(every_n_steps=1), logger=Kept())
        torch.default_generator.manual_seed(5)
        fit(alone)
    assert torch.equal(torch.stack(watched.losses), torch.stack(alone.losses))


def test_an_error_leaves_no_hooks(make, fit, monkeypatch):
    module = make()
    monkeypatch.setattr(type(module), "training_step", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        fit(module, WatchLayers(every_n_steps=1))
    assert not any(m._forward_hooks for m in module.modules())


@pytest.mark.parametrize("how", ["in place", "wrapped"])
def test_compiled_networks_are_seen(make, fit, how):
    """And compiled code runs in the steps between."""
    module, kept, compiled = make(lr=0.0), Kept(), []

    def backend(graph, _):
        return lambda *args: (compiled.append(1), graph(*args))[1]

    if how == "in place":
        module.blocks.compile(backend=backend)
    else:
        module.blocks = torch.compile(module.blocks, backend=backend)
    fit(module, WatchLayers(every_n_steps=3), logger=kept)
    assert len(kept.rows) == 2
    assert "variance/blocks.1.mlp.act2" in kept.rows[0][1]
    assert len(compiled) == 2, "one call for each of the two steps that are not logged"


def test_half_precision(make, fit):
    """Gradients without the scale that float16 needs."""
    rows = {}
    for name, plugin in {"32": None, "16": MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu"))}.items():
        kept = Kept()
        fit(make(), WatchLayers(every_n_steps=1), logger=kept, **({"plugins": [plugin]} if plugin else {}))
        rows[name] = kept.rows[0][1]
    for column in ("gradient", "gradient/blocks.0", "variance/blocks.0", "mean/blocks.1.mlp.act2"):
        assert rows["16"][column] == pytest.approx(rows["32"][column], rel=0.05)


def test_files(make, fit, tmp_path):
    fit(make(), WatchLayers(every_n_steps=2), logger=CSVLogger(tmp_path, name="", version=""))
    rows = list(csv.DictReader((tmp_path / "metrics.csv").read_text().splitlines()))
    assert [row["step"] for row in rows if row["variance/blocks.0"]] == ["0", "2"]


def test_bad_arguments_raise(make, fit):
    with pytest.raises(ValueError, match="every_n_steps must be at least 1, got 0"):
        WatchLayers(every_n_steps=0)
    with pytest.raises(ValueError, match="no layer is called 'layers"):
        fit(make(), WatchLayers(modules=["layers.*"]))
