"""Adam on minibatches.

Not that of `torch.optim`, whose first use imports the compiler: that takes longer than a small fit.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

import torch
from torch import Tensor
from torch.nn.utils import parameters_to_vector

from superpose.fitting.bundle import Data
from superpose.fitting.losses import Loss
from superpose.fitting.sparsity import NONE, Release, sparsity_loss
from superpose.fitting.watch import Candidate
from superpose.models import KAN, Network

BETAS = (0.9, 0.99)
MEMORY = 0.98
"""Share of the running average of the parameters that a step keeps."""


def adam(
    model: Network,
    data: Data,
    loss: Loss,
    generator: torch.Generator,
    sparsity: Release = NONE,
    *,
    batch_size: int = 256,
    rate: float = 1e-2,
) -> Iterator[Candidate]:
    """Yield the network after each pass over the data."""
    model = copy.deepcopy(model)
    dtype = next(model.parameters()).dtype
    x, y, weight = data.x.to(dtype), data.y if data.y.dtype == torch.long else data.y.to(dtype), data.weight.to(dtype)
    parameters = [p for p in model.parameters() if p.requires_grad]
    moments = Moments.of(parameters_to_vector(parameters).detach())
    for step in count():
        total, strength = 0.0, sparsity.strength(step)
        for rows in torch.randperm(len(x), generator=generator).split(batch_size):
            share = weight[rows] / weight[rows].sum().clamp_min(1e-30)
            with torch.enable_grad():
                value = (loss.values(model.body(x[rows]), y[rows]) * share).sum()
                if strength:
                    value = value + strength * sparsity_loss(model, x[rows])
                gradient = parameters_to_vector(torch.autograd.grad(value, parameters))
            # Copied, not shared: parameters that are views of one vector could not be saved.
            parts = moments.moved_(gradient, rate).split([p.numel() for p in parameters])
            with torch.no_grad():
                for parameter, part in zip(parameters, parts, strict=True):
                    parameter.copy_(part.view_as(parameter))
            total += float(value.detach()) * float(weight[rows].sum())
        yield candidate(model, loss, total)


@dataclass
class Moments:
    """Parameters with what Adam remembers (Kingma and Ba 2015), and the running average of the parameters."""

    parameters: Tensor
    first: Tensor
    second: Tensor
    average: Tensor
    step: int = 0

    @classmethod
    def of(cls, parameters: Tensor) -> "Moments":
        """The beginning."""
        return cls(parameters, torch.zeros_like(parameters), torch.zeros_like(parameters), parameters.clone())

    def moved_(self, gradient: Tensor, rate: float, decay: Tensor | float = 0.0) -> Tensor:
        """One step; the decay is taken apart from the gradient (Loshchilov and Hutter 2019)."""
        self.step += 1
        self.first.lerp_(gradient, 1 - BETAS[0])
        self.second.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
        scale = (self.second / (1 - BETAS[1] ** self.step)).sqrt_().add_(1e-8)
        moved = self.parameters.addcdiv(self.first, scale, value=-rate / (1 - BETAS[0] ** self.step))
        self.parameters = moved = moved.div_(1 + rate * decay)
        self.average.lerp_(moved, max(1 - MEMORY, 1 / (1 + self.step)))
        return moved


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
