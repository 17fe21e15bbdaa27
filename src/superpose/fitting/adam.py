"""Adam on minibatches."""

import copy
from collections.abc import Iterator

import torch

from superpose.fitting.bundle import Data
from superpose.fitting.losses import Loss
from superpose.fitting.watch import Candidate
from superpose.models import KAN, Network


def adam(
    model: Network, data: Data, loss: Loss, generator: torch.Generator, *, batch_size: int = 256, rate: float = 1e-2
) -> Iterator[Candidate]:
    """Yield the network after each pass over the data."""
    model = copy.deepcopy(model)
    dtype = next(model.parameters()).dtype
    x, y, weight = data.x.to(dtype), data.y if data.y.dtype == torch.long else data.y.to(dtype), data.weight.to(dtype)
    optimiser = torch.optim.Adam(model.parameters(), lr=rate)
    while True:
        total = 0.0
        for rows in torch.randperm(len(x), generator=generator).split(batch_size):
            optimiser.zero_grad()
            share = weight[rows] / weight[rows].sum().clamp_min(1e-30)
            value = (loss.values(model.body(x[rows]), y[rows]) * share).sum()
            value.backward()
            optimiser.step()
            total += float(value.detach()) * float(weight[rows].sum())
        yield candidate(model, loss, total)


def candidate(model: Network, loss: Loss, train_loss: float) -> Candidate:
    """What a first-order solver shows after a step."""
    size = model.layers[0].basis.size if isinstance(model, KAN) else 0
    return Candidate(train_loss, size, lambda data: mean_loss(model, data, loss), lambda: copy.deepcopy(model))


@torch.no_grad()
def mean_loss(model: Network, data: Data, loss: Loss) -> float:
    """Weighted mean loss of a network in its own units."""
    dtype = next(model.parameters()).dtype
    targets = data.y if data.y.dtype == torch.long else data.y.to(dtype)
    return float((loss.values(model.body(data.x.to(dtype)), targets) * data.weight.to(dtype)).sum())
