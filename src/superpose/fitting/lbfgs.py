"""L-BFGS on the whole table."""

import copy
from collections.abc import Iterator

import torch

from superpose.fitting.adam import candidate, mean_loss
from superpose.fitting.bundle import Data
from superpose.fitting.losses import Loss
from superpose.fitting.watch import Candidate
from superpose.models import Network


def lbfgs(model: Network, data: Data, loss: Loss) -> Iterator[Candidate]:
    """Yield the network after each iteration."""
    model = copy.deepcopy(model)
    dtype = next(model.parameters()).dtype
    x, y, weight = data.x.to(dtype), data.y if data.y.dtype == torch.long else data.y.to(dtype), data.weight.to(dtype)
    optimiser = torch.optim.LBFGS(
        model.parameters(), max_iter=1, max_eval=40, history_size=20, line_search_fn="strong_wolfe"
    )

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        value = (loss.values(model.body(x), y) * weight).sum()
        value.backward()
        return value

    while True:
        optimiser.step(closure)
        yield candidate(model, loss, mean_loss(model, data, loss))
