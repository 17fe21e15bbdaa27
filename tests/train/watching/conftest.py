"""A small Kolmogorov-Arnold network, a LightningModule around it, and a Trainer that writes nothing."""

import warnings

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from superpose.layers import RationalMlp


class Block(nn.Module):
    """A residual block, so that what is wrong reaches the next blocks."""

    def __init__(self, width):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.mlp = RationalMlp(width, 2 * width)

    def forward(self, x):
        return x + self.mlp(self.norm(x))


class Module(LightningModule):
    """Classifies vectors; foreign to our command."""

    def __init__(self, depth=2, width=8, dropout=0.0, lr=1e-2):
        super().__init__()
        with torch.random.fork_rng():
            torch.default_generator.manual_seed(3)
            self.blocks = nn.Sequential(*(Block(width) for _ in range(depth)))
            self.drop = nn.Dropout(dropout)
            self.head = nn.Linear(width, 3)
        self.lr, self.losses = lr, []

    def forward(self, x):
        return self.head(self.drop(self.blocks(x)))

    def training_step(self, batch, batch_idx):
        loss = cross_entropy(self(batch[0]), batch[1])
        self.losses.append(loss.detach())
        self.log("loss", loss)
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), self.lr)


@pytest.fixture
def make():
    """Makes modules."""
    return Module


def batches(rows=16, batch=4, width=8):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(rows, width, generator=generator)
    return DataLoader(TensorDataset(x, torch.arange(rows) % 3), batch)


@pytest.fixture
def data():
    """Makes batches of the same vectors."""
    return batches


@pytest.fixture
def fit(tmp_path, monkeypatch):
    """Fit a module under some callbacks."""

    def run(module, *callbacks, loader=None, logger=False, **options):
        options = {"max_epochs": 1, "accelerator": "cpu", "default_root_dir": tmp_path, **options}
        with warnings.catch_warnings():
            for message in ("The '.*dataloader' does not have many workers", "`isinstance.treespec, LeafSpec"):
                warnings.filterwarnings("ignore", message)
            trainer = Trainer(
                callbacks=list(callbacks), logger=logger, enable_progress_bar=False, enable_model_summary=False,
                enable_checkpointing=False, log_every_n_steps=1, **options,
            )  # fmt: skip
            trainer.fit(module, loader or batches())
        return trainer

    return run
