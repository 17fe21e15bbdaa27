"""Takes away the hidden nodes that a network does not need.

A network wider than its data need writes one function in many ways, which agree on the data and nowhere else. Wide
networks find their way more easily, so a fit starts wide and becomes narrow; the nodes stay in the network's shape,
with all their edges zero.
"""

import math

import torch

from superpose.fitting.bundle import Bundle, Data
from superpose.fitting.levenberg_marquardt import Smoothing, last, levenberg_marquardt
from superpose.fitting.losses import Loss
from superpose.fitting.problem import reach
from superpose.fitting.roughness import Observations
from superpose.fitting.watch import Watch

STEPS = 12
MOST_WORK = 1e10
"""Multiplications in one step of all candidates above which the search is not worth its time."""
ROWS_PER_PARAMETER = 4
"""With fewer rows for each parameter a loss says little about which nodes are needed."""


def narrowed(
    bundle: Bundle, reached: float, data: Data, loss: Loss, smoothing: Smoothing, watch: Watch, order: float = 0
) -> Bundle:
    """One network without the hidden nodes that can go; `reached` is its loss.

    A node can go when the refitted rest does as well by Schwarz's criterion (BIC): the loss may grow as much as the
    parameters saved are worth. While finer grids still lower the loss by a power `order` of their parameters, those
    saved are worth as much as the finer grids they would pay for. The criterion is that of a squared error and of many more rows than parameters; all
    nodes stay where it does not hold.
    """
    number = Observations.of(data, loss).number
    size = bundle.flat().shape[1]
    while not watch.done and not loss.noise_known and number >= ROWS_PER_PARAMETER * size:
        candidates = _removable(bundle)
        if not candidates or len(candidates) * len(data) * size**2 > MOST_WORK:
            return bundle
        watch.tell(f"narrowing: {len(candidates)} nodes")
        slimmer = Bundle.joined([bundle.without_node(layer, node) for layer, node in candidates])
        slimmer, losses = _refitted(slimmer, data, loss, smoothing, watch)
        slimmer, losses = _refitted(slimmer.picked(losses.argsort()[:2]), data, loss, smoothing, watch)
        saved = (slimmer.frozen().sum(1) - bundle.frozen().sum()).double()
        left = (~slimmer.frozen()).sum(1).double()
        worth = reached * torch.maximum(torch.exp(saved * math.log(number) / number), (1 + saved / left) ** order)
        leader = int((losses / worth).argmin())
        if not losses[leader] <= worth[leader]:
            return bundle
        reached, bundle = float(losses[leader]), slimmer.picked(torch.tensor([leader]))
    return bundle


def _removable(bundle: Bundle) -> list[tuple[int, int]]:
    """Living hidden nodes that are not the last of their layer, as pairs of layer and node."""
    living = [torch.where(~dead[0])[0].tolist() for dead in bundle.dead_nodes()]
    return [(layer, node) for layer, nodes in enumerate(living) for node in nodes if len(nodes) > 1]


def _refitted(
    bundle: Bundle, data: Data, loss: Loss, smoothing: Smoothing, watch: Watch
) -> tuple[Bundle, torch.Tensor]:
    def regrid(step: int, bundle: Bundle) -> Bundle | None:
        return bundle.stretched(data, margin=reach(data.total)) if step % 3 == 0 else None

    state = last(levenberg_marquardt(bundle, data, loss, smoothing, regrid), STEPS, watch)
    return state.bundle, state.losses.nan_to_num(float("inf"))
