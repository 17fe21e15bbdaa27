"""Many short fits from different starts, of which the best goes on.

Networks of minimal shape end in bad minima from most starts. Short fits on a part of the data, side by side, find a
good start: a round fits `ROUND` networks briefly, drops all but a quarter, and fits those again. Further rounds follow
while the best is not yet near its data.
"""

import copy
from dataclasses import replace

import torch

from superpose.fitting.bundle import Bundle, Data
from superpose.fitting.levenberg_marquardt import Smoothing, last, levenberg_marquardt
from superpose.fitting.losses import Loss
from superpose.fitting.watch import Candidate, Watch
from superpose.layers.init import draw_, glorot_deviations
from superpose.layers.products import balance_
from superpose.models import KAN, Network

ROUND = 16
MOST_STARTS = 64
ROWS = 600
STEPS = 16
MOST_WORK = 1.5e11
"""Multiplications spent on Gauss-Newton matrices in search of a start, some ten seconds."""
NEAR = 1e-3
"""Mean squared error of standardised targets below which a start is good enough."""


def best_start(
    model: Network, train: Data, loss: Loss, starts: int | None, generator: torch.Generator, watch: Watch
) -> Bundle:
    """The most promising of several fresh starts, the model itself among them."""
    if starts == 1:
        return Bundle.of([model])
    part = train if len(train) <= ROWS else train.rows(torch.randperm(len(train), generator=generator)[:ROWS])
    size = sum(p.numel() for p in model.parameters())
    affordable = MOST_WORK / (2 * STEPS * len(part) * model.widths[-1] * size**2)
    left = max(1, min(MOST_STARTS, int(affordable))) if starts is None else starts
    reached, best = float("inf"), Bundle.of([model])
    tried, first = 0, [best]
    while left > 0 and reached >= NEAR and not (watch.done and reached < float("inf")):
        count = min(left, ROUND)
        watch.tell(f"trying {count} starts, best so far {reached:.1e}" if tried else f"trying {count} starts")
        bundle = Bundle.joined([*first, _fresh(model, count - len(first), generator)]) if count > len(first) else best
        bundle, losses = _short_fit(bundle, part, loss, watch)
        bundle, losses = _short_fit(bundle.picked(losses.argsort()[: max(1, count // 4)]), part, loss, watch)
        leader = int(losses.argmin())
        if float(losses[leader]) < reached:
            reached, best = float(losses[leader]), bundle.picked(torch.tensor([leader]))
            watch.offer(shown(model, best, reached, loss))
        left, tried, first = left - count, tried + count, []
    return best


def _short_fit(bundle: Bundle, data: Data, loss: Loss, watch: Watch) -> tuple[Bundle, torch.Tensor]:
    def regrid(step: int, bundle: Bundle) -> Bundle | None:
        return bundle.moved(data, uniform=1.0, margin=0.01) if step % 2 == 0 else None

    steps = levenberg_marquardt(bundle, data, loss, Smoothing(1e-8, learned=False, ridge=1e-12), regrid)
    state = last(steps, STEPS, watch)
    return state.bundle, state.losses.nan_to_num(float("inf"))


@torch.no_grad()
def _fresh(model: Network, count: int, generator: torch.Generator) -> Bundle:
    """The same network with new parameters, so many times."""
    new, drawn = copy.deepcopy(model), []
    deviations = [glorot_deviations(layer) if isinstance(model, KAN) else None for layer in new.layers]
    for _ in range(count):
        for number, (layer, deviation) in enumerate(zip(new.layers, deviations, strict=True)):
            if deviation is None:
                torch.nn.init.xavier_normal_(layer.weight, generator=generator)
            else:
                draw_(layer, deviation, generator)
            if isinstance(new, KAN):
                balance_(layer, new.products[number])
        drawn.append([layer.matrix().double() for layer in new.layers])
    alike = Bundle.of([model]).picked(torch.zeros(count, dtype=torch.long))
    return replace(alike, matrices=[torch.stack(layer) for layer in zip(*drawn, strict=True)])


def shown(model: Network, bundle: Bundle, train_loss: float, loss: Loss) -> Candidate:
    """The first network of a bundle as a watch wants to see it."""
    return Candidate(
        train_loss,
        bundle.intervals,
        lambda data: float(bundle.losses(data, loss)[0]),
        lambda: bundle.written_to(model),
        lasting=True,
    )
