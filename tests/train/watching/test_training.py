"""The callbacks under the module and the configuration of our own command."""

import math

import pytest
import torch
from torch.nn.functional import cross_entropy
from torchmetrics import MetricCollection

from superpose.train.config import parser
from superpose.train.module import Optimization, Training
from superpose.train.table import MetricsTable, read_rows
from superpose.train.task import Task
from superpose.train.watching import NonFiniteError, StopAtNonFinite, WatchLayers


class Vectors(Task):
    """Classifies vectors."""

    def __init__(self, model, broken_at):
        super().__init__()
        self.model, self.metrics, self.broken_at = model, MetricCollection({}), broken_at
        self.seen = []

    def loss(self, batch):
        self.seen.append(batch[0].sum().item())
        if len(self.seen) == self.broken_at:
            with torch.no_grad():
                self.model.blocks[1].mlp.act2.weight_denominator[3, 2] = math.nan
        return {"loss": cross_entropy(self.model(batch[0]), batch[1])}

    def judge(self, batch):
        pass


def test_names_begin_in_the_network(make, fit, tmp_path):
    task = Vectors(make(), 3)
    module = Training(task, Optimization(1), log_every=1)
    table = MetricsTable(tmp_path / "metrics.csv")
    with pytest.raises(NonFiniteError) as caught:
        fit(module, WatchLayers(1), StopAtNonFinite(tmp_path / "bad"), logger=table)
    finding = caught.value.finding
    assert (finding.layer, finding.tensor, finding.count) == ("blocks.1.mlp.act2", "weight_denominator", 1)
    assert caught.value.path == tmp_path / "bad" / "nonfinite-step2-rank0.pt"
    assert task.seen[2] == task.seen[3], "the step was computed once more"
    rows = read_rows(tmp_path / "metrics.csv")
    assert [row["step"] for row in rows if row["train/loss"]] == ["0", "1", "2"]
    watched = {row["step"]: row for row in rows if row.get("variance/blocks.1")}
    assert list(watched) == ["0", "1", "2"]
    assert math.isfinite(float(watched["1"]["variance/blocks.1"]))
    assert math.isnan(float(watched["2"]["variance/blocks.1"]))
    assert math.isfinite(float(watched["2"]["variance/blocks.0"]))


def test_a_run_that_goes_on_writes_no_row_twice(make, fit, tmp_path):
    """What was watched before the update that the checkpoint lacks."""
    module = Training(Vectors(make(), 0), Optimization(1), log_every=1)
    path = tmp_path / "metrics.csv"
    fit(module, WatchLayers(1), logger=MetricsTable(path))
    table = MetricsTable(path, 2)
    table.log_metrics({"train/loss": 1.0}, 2)
    rows = read_rows(path)
    assert [row["step"] for row in rows] == ["0", "0", "1", "1", "2"]


def test_the_configuration_knows_them():
    chosen = parser().parse_args(
        [
            "--task=Classification", "--task.model=test_vit", "--task.num_classes=3", "--data=SmallImages",
            "--data.root=images", "--data.batch_size=8", "--optimization.epochs=1", "--callbacks+=WatchLayers", "--callbacks.every_n_steps=10",
            "--callbacks+=StopAtNonFinite",
        ]
    )  # fmt: skip
    names = ["superpose.train.watching.WatchLayers", "superpose.train.watching.StopAtNonFinite"]
    assert [each.class_path for each in chosen.callbacks] == names
    assert chosen.callbacks[0].init_args.every_n_steps == 10
