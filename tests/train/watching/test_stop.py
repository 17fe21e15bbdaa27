"""Training stops before the bad update, names the place, and leaves a file that shows it again."""

import math

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.plugins.precision import MixedPrecision
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from superpose.train.watching import NonFiniteError, StopAtNonFinite, find_nonfinite
from superpose.train.watching.stop import the_chance


class Break(Callback):
    """Puts a value into a parameter before some batch."""

    def __init__(self, name, value, batch_idx):
        self.name, self.value, self.batch_idx = name, value, batch_idx

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if batch_idx == self.batch_idx:
            with torch.no_grad():
                pl_module.get_parameter(self.name).view(-1)[0] = self.value


class Root(torch.nn.Module):
    """Zero, with a slope that is not a number."""

    def forward(self, x):
        return (x * 0).sqrt()


def _stopped(fit, module, *callbacks, **options):
    with pytest.raises(NonFiniteError) as caught:
        fit(module, StopAtNonFinite(), *callbacks, **options)
    return caught.value


def _half(scale=65536.0):
    return [MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=scale))]


def test_a_good_training_is_left_alone(make, fit, tmp_path):
    watched, alone = make(dropout=0.5), make(dropout=0.5)
    with torch.random.fork_rng():
        torch.default_generator.manual_seed(5)
        fit(watched, StopAtNonFinite())
        torch.default_generator.manual_seed(5)
        fit(alone)
    assert torch.equal(torch.stack(watched.losses), torch.stack(alone.losses))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_weight(make, fit, accumulate):
    error = _stopped(
        fit, make(), Break("blocks.1.mlp.fc1.weight", math.nan, 2), max_epochs=2, accumulate_grad_batches=accumulate
    )
    assert (error.finding.layer, error.finding.tensor, error.finding.kind) == ("blocks.1.mlp.fc1", "weight", "nan")
    assert error.step == 2 // accumulate


def test_a_batch(make, fit, data):
    x, y = data().dataset.tensors
    x = x.clone()
    x[9, 3] = -math.inf
    error = _stopped(fit, make(), loader=DataLoader(TensorDataset(x, y), 4))
    assert (error.finding.layer, error.finding.tensor, error.finding.kind) == ("batch", "0", "inf")
    assert (error.finding.count, error.finding.size, error.step) == (1, 32, 2)


def test_the_second_of_two_batches(make, fit, data):
    """Accumulated for one step."""
    x, y = data().dataset.tensors
    x = x.clone()
    x[5] = math.nan
    error = _stopped(fit, make(), loader=DataLoader(TensorDataset(x, y), 4), accumulate_grad_batches=4)
    assert (error.finding.layer, error.step) == ("batch", 0)
    assert len(torch.load(error.path)["parts"]) == 4


def test_an_update_that_diverges(make, fit):
    """The weights are found before the layers that they spoil."""
    error = _stopped(fit, make(lr=1e38), max_epochs=3)
    assert error.finding.tensor in ("weight", "bias", "weight_numerator", "weight_denominator", "output")
    assert error.step > 0


def test_an_overflow_of_float16(make, fit):
    module = make()
    with torch.no_grad():
        module.blocks[1].mlp.fc1.weight.mul_(2e4)
        module.blocks[1].mlp.fc1.bias.fill_(6e4)
    error = _stopped(fit, module, plugins=_half())
    assert (error.finding.layer, error.finding.tensor) == ("blocks.1.mlp.fc1", "output")


def test_gradients_that_the_scale_overflows_are_no_error(make, fit):
    """The scaler leaves out the steps and lowers the scale."""
    module, plugins = make(), _half(2.0**24)
    fit(module, StopAtNonFinite(), plugins=plugins, max_epochs=2)
    assert plugins[0].scaler.get_scale() < 2.0**24
    assert all(p.isfinite().all() for p in module.parameters())


def test_gradients_that_no_scale_helps(make, fit):
    module, plugins = make(), _half(4.0)
    module.drop = Root()
    error = _stopped(fit, module, plugins=plugins, max_epochs=2)
    assert (error.finding.layer, error.finding.tensor) == ("drop", "gradient of the input")
    assert plugins[0].scaler.get_scale() < 1


def test_the_gradient_alone(make, fit):
    module = make()
    module.drop = Root()
    error = _stopped(fit, module)
    assert (error.finding.layer, error.finding.tensor, error.finding.kind) == ("drop", "gradient of the input", "nan")


def test_the_file_shows_it_again(make, fit, monkeypatch):
    """With the batch from before the step changed it, and with the same chance."""
    seen = []

    def training_step(self, batch, batch_idx):
        batch[0].mul_(float(np.random.rand()))  # noqa: NPY002
        out = self(batch[0])
        seen.append(out.detach().clone())
        return cross_entropy(out, batch[1])

    module = make(dropout=0.5)
    monkeypatch.setattr(type(module), "training_step", training_step)
    error = _stopped(fit, module, Break("head.weight", math.inf, 1))
    saved = torch.load(error.path)
    assert (saved["step"], saved["epoch"], saved["parts"][0]["batch_idx"]) == (1, 0, 1)
    fresh = make(dropout=0.5).train()
    fresh.load_state_dict(saved["state"])
    (part,) = saved["parts"]
    with the_chance(part["chance"]):
        found = find_nonfinite(fresh, lambda: fresh.training_step(part["batch"], 1))
    assert found == error.finding
    assert len(seen) == 4
    for again in seen[2:]:
        torch.testing.assert_close(again, seen[1], equal_nan=True)


def test_nothing_is_logged_twice(make, fit, tmp_path):
    logger = CSVLogger(tmp_path, name="", version="")
    error = _stopped(fit, make(), Break("head.weight", math.inf, 1), logger=logger)
    assert error.path.parent == tmp_path
    assert [row["step"] for row in logger.experiment.metrics] in ([0], [])


def test_optimizing_by_hand_raises(make, fit):
    module = make()
    module.automatic_optimization = False
    with pytest.raises(ValueError, match="optimizes by hand"):
        fit(module, StopAtNonFinite())
