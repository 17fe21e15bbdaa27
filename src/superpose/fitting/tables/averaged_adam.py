"""Adam on minibatches of a table in natural coordinates: one cycle of rates, averaged iterates, the best pass kept."""

import math

import torch
from torch import Tensor

from superpose.fitting.adam import Moments
from superpose.fitting.losses import Loss
from superpose.fitting.tables.network import Rows, TableNetwork, mean_loss
from superpose.fitting.tables.options import Journal, TableOptions

RATE = 3e-3
STEPS = 4000
"""Steps of a cycle, unless `PASSES` over the table say otherwise."""
PASSES = (8, 40)
STEEP = 0.5
DECAY = 200.0
"""Rate at which a straight line decays, times the number of rows."""
MOST_DECAY = 0.1


def table_adam(
    network: TableNetwork,
    rows: Rows,
    held_out: Rows | None,
    loss: Loss,
    options: TableOptions,
    generator: torch.Generator,
    journal: Journal,
) -> TableNetwork:
    """The average of the iterates after the pass with the lowest held-out loss, in float64."""
    best, since = (float("inf") if held_out is None else mean_loss(network, held_out, loss), network), 0
    network, rows = network.to(torch.float32), rows.to(torch.float32)
    held_out = None if held_out is None else held_out.to(torch.float32)
    moments = Moments.of(network.flat())
    decay = options.alpha * min(DECAY / rows.count, MOST_DECAY) * prices(network)
    batch = min(options.batch_size, max(32, len(rows) // 8))
    each = math.ceil(len(rows) / batch)
    passes = min(options.max_iter, max(PASSES[0], min(PASSES[1], round(STEPS / each))))
    for turn in range(passes):
        total = torch.zeros(())
        for index in torch.randperm(len(rows), generator=generator).split(batch):
            features, targets, weight = rows.features[index], rows.targets[index], rows.weight[index]
            share = weight / weight.sum()

            def pull(
                outputs: Tensor, targets: Tensor = targets, share: Tensor = share, weight: Tensor = weight
            ) -> Tensor:
                nonlocal total
                total = total + loss.values(outputs, targets) @ weight
                return loss.slopes(outputs.unsqueeze(0), targets)[0] * share.unsqueeze(1)

            gradient = torch.cat([g.flatten() for g in network.gradient(features, pull)])
            rate = RATE * schedule((moments.step + 1) / (passes * each))
            network = network.with_flat(moments.moved_(gradient, rate, decay))
        shown = network.with_flat(moments.average.clone())
        validation = mean_loss(shown, held_out, loss) if held_out is not None else None
        journal.note("adam", float(total), validation)
        score = float(total) if validation is None else validation
        since = 0 if score < best[0] - options.tol else since + 1
        if score < best[0]:
            best = score, shown
        # A pass of the first half may be worse than the additive start: the rates are still high.
        if journal.late or (held_out is not None and since >= options.patience and 2 * turn >= passes):
            break
    return best[1].to(torch.float64)


def schedule(share: float) -> float:
    """A short rise and a half cosine down (Smith and Topin 2019, Super-convergence)."""
    rise = 0.1
    return share / rise if share < rise else (1 + math.cos(math.pi * (share - rise) / (1 - rise))) / 2


def prices(network: TableNetwork) -> Tensor:
    """How much faster than a straight line every function decays; constants do not."""
    rough = [network.inputs.rough / 20]
    for before in network.matrices[:-1]:
        rough.append((network.hidden.natural.rough / 200).repeat_interleave(len(before)))
    rows = [torch.cat([((1 + r) ** STEEP).clamp(max=1e3), r.new_zeros(1)]) for r in rough]
    return torch.cat([r.repeat(len(m)) for r, m in zip(rows, network.matrices, strict=True)]).to(network.matrices[0])
