"""Adam on minibatches of a table in natural coordinates: one cycle of rates, averaged iterates, the best pass kept."""

import math

import torch
from torch import Tensor

from superpose.fitting.losses import Loss
from superpose.fitting.table_network import Rows, TableNetwork
from superpose.fitting.table_options import Journal, TableOptions

RATE = 1e-2
STEPS = 2500
"""Steps of a cycle, unless the table is so small or large that `PASSES` say otherwise."""
PASSES = (8, 60)
MEMORY = 0.99


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
    start, network = network, network.to(torch.float32)
    rows, held_out = rows.to(torch.float32), None if held_out is None else held_out.to(torch.float32)
    parameters = [m.clone().requires_grad_() for m in network.matrices]
    first, second = [torch.zeros_like(p) for p in parameters], [torch.zeros_like(p) for p in parameters]
    average = [p.detach().clone() for p in parameters]
    decay = [options.alpha * price for price in prices(network)]
    batch = min(options.batch_size, len(rows))
    each = math.ceil(len(rows) / batch)
    passes = min(options.max_iter, max(PASSES[0], min(PASSES[1], round(STEPS / each))))
    best, since, step = (float("inf"), start), 0, 0
    for _ in range(passes):
        total = 0.0
        for index in torch.randperm(len(rows), generator=generator).split(batch):
            part = rows.part(index)
            with torch.enable_grad():
                value = (
                    loss.values(network.with_matrices(parameters).outputs(part.features), part.targets) * part.weight
                ).sum()
                gradients = torch.autograd.grad(value, parameters)
            step += 1
            rate = RATE * schedule(step / (passes * each))
            with torch.no_grad():
                torch._foreach_lerp_(first, gradients, 0.1)
                torch._foreach_mul_(second, 0.99)
                torch._foreach_addcmul_(second, gradients, gradients, 0.01)
                scale = torch._foreach_div(second, 1 - 0.99**step)
                torch._foreach_sqrt_(scale)
                torch._foreach_add_(scale, 1e-8)
                torch._foreach_addcdiv_(parameters, first, scale, -rate / (1 - 0.9**step))
                for p, d in zip(parameters, decay, strict=True):
                    p.div_(1 + rate * d)
                torch._foreach_lerp_(average, [p.detach() for p in parameters], max(1 - MEMORY, 1 / step))
            total += float(value) * float(rows.weight[index].sum())
        shown = network.with_matrices([p.clone() for p in average])
        validation = mean_loss(shown, held_out, loss) if held_out is not None else None
        journal.note("adam", total, validation)
        score = total if validation is None else validation
        since = 0 if score < best[0] - options.tol else since + 1
        if score < best[0]:
            best = score, shown
        if journal.late or (held_out is not None and since >= options.patience):
            break
    return best[1].to(torch.float64)


def schedule(share: float) -> float:
    """A short rise and a half cosine down (Smith and Topin 2019, Super-convergence)."""
    rise = 0.1
    return share / rise if share < rise else (1 + math.cos(math.pi * (share - rise) / (1 - rise))) / 2


def prices(network: TableNetwork) -> list[Tensor]:
    """How much faster than a straight line every function decays; constants do not."""
    rough = [network.inputs.rough / 20]
    for before in network.matrices[:-1]:
        rough.append((network.hidden.natural.rough / 200).repeat(len(before)))
    made = [torch.cat([(1 + r).clamp(max=1e3), r.new_zeros(1)]) for r in rough]
    return [m.to(network.matrices[0].dtype) for m in made]


def mean_loss(network: TableNetwork, rows: Rows, loss: Loss) -> float:
    """Weighted mean loss."""
    with torch.no_grad():
        return float((loss.values(network.outputs(rows.features), rows.targets) * rows.weight).sum())
