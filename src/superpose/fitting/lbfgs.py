"""L-BFGS on the whole table."""

import copy
from collections.abc import Iterator
from itertools import count

import torch

from superpose.fitting.adam import candidate, mean_loss
from superpose.fitting.bundle import Data
from superpose.fitting.losses import Loss
from superpose.fitting.sparsity import NONE, Release, sparsity_loss
from superpose.fitting.watch import Candidate
from superpose.models import Network


def lbfgs(model: Network, data: Data, loss: Loss, sparsity: Release = NONE) -> Iterator[Candidate]:
    """Yield the network after each iteration."""
    model = copy.deepcopy(model)
    dtype = next(model.parameters()).dtype
    x, y, weight = data.x.to(dtype), data.y if data.y.dtype == torch.long else data.y.to(dtype), data.weight.to(dtype)

    def optimiser() -> torch.optim.LBFGS:
        return torch.optim.LBFGS(
            model.parameters(), max_iter=1, max_eval=40, history_size=20, line_search_fn="strong_wolfe"
        )

    def closure() -> torch.Tensor:
        now.zero_grad()
        value = (loss.values(model.body(x), y) * weight).sum()
        if strength:
            value = value + strength * sparsity_loss(model, x)
        value.backward()
        return value

    now, strength = optimiser(), 0.0
    for step in count():
        if sparsity.strength(step) != strength:  # what was learned about the curvature is that of another function
            now, strength = optimiser(), sparsity.strength(step)
        now.step(closure)
        yield candidate(model, loss, mean_loss(model, data, loss))
