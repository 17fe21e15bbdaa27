"""Gauss-Newton with penalties whose strengths the data choose.

Every group of parameters has a normal prior; the precisions of the priors and of the noise maximise the evidence
(MacKay 1992, Bayesian interpolation, Neural Computation 4, eq. 4.4 and 4.8; Foresee and Hagan 1997 for the
Gauss-Newton form). No rows are held out, so it is made for small tables; sample weights count as repetitions of rows.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from superpose.fitting.losses import Loss
from superpose.fitting.tables.network import Rows, TableNetwork, mean_loss

CHUNK = 2**19
"""Numbers in the largest piece of a Jacobian held at once."""
MANY_ROWS = 1000
"""Rows from which on matrices are gathered in single precision."""
FREE = 1e-8
"""Precision of parameters without a penalty, such as constants."""


@dataclass
class Priors:
    """Groups of parameters that share a precision, and the price of each parameter within its group.

    Attributes:
        group: The group of every parameter; -1 for none.
        price: What multiplies the precision of the group: rougher functions cost more.
        precision: Of every group.
        strength: What multiplies all precisions once the data have chosen them; 1 leaves them.
    """

    group: Tensor
    price: Float[Tensor, " P"]
    precision: Float[Tensor, " groups"]
    strength: float

    @classmethod
    def of(cls, network: TableNetwork, wires: int, precision: float, strength: float) -> "Priors":
        """A group for the lines and one for the bends of every input, apart for wires, and one for each hidden layer."""
        groups, prices, count = [], [], 0
        for layer, matrix in enumerate(network.matrices):
            if layer == 0:
                bent = network.inputs.rough > 1e-6
                own = 2 * network.inputs.owner + bent
                price = torch.where(bent, network.inputs.rough / 20, torch.ones_like(network.inputs.rough))
                size = 2 * len(network.inputs.maps)
            else:
                rough = network.hidden.natural.rough
                own = (rough > 1e-6).long().repeat_interleave(len(network.matrices[layer - 1]))
                price = torch.where(rough > 1e-6, rough / 200, torch.ones_like(rough))
                price = price.repeat_interleave(len(network.matrices[layer - 1]))
                size = 2
            rows = torch.cat([own, own.new_full((1,), -1)]).repeat(len(matrix), 1)
            rows[rows >= 0] += count
            count += size
            if layer == 0 and len(network.matrices) > 1:
                rows[-wires:][rows[-wires:] >= 0] += size
                count += size
            groups.append(rows.flatten())
            # A constant inside has a proper prior: a node that does nothing must not count as evidence.
            inside = 1.0 if layer < len(network.matrices) - 1 else FREE
            prices.append(torch.cat([price, price.new_full((1,), inside)]).repeat(len(matrix)))
        return cls(torch.cat(groups), torch.cat(prices), torch.full((count,), precision, dtype=torch.float64), strength)

    def diagonal(self) -> Float[Tensor, " P"]:
        """Precision of every parameter."""
        own = torch.where(self.group >= 0, self.strength * self.precision[self.group.clamp_min(0)], 1.0)
        return (own * self.price).clamp_min(FREE)

    def updated_(self, parameters: Float[Tensor, " P"], variance: Float[Tensor, " P"]) -> float:
        """MacKay's update of all precisions; gives back the number of parameters that the data determine."""
        determined = (1 - self.diagonal() * variance).clamp(0, 1)
        inside = self.group >= 0
        index = self.group[inside]
        count = torch.zeros_like(self.precision).index_add_(0, index, determined[inside])
        size = torch.zeros_like(self.precision).index_add_(0, index, (self.price * parameters.square())[inside])
        new = (count + 1e-3) / (size + 1e-6)
        self.precision = new.clamp(self.precision / 10, self.precision * 10).clamp(1e-8, 1e8)
        return float(determined.sum())


@dataclass(frozen=True)
class Estimate:
    """Where a fit stands: the network, its mean loss, and the negative logarithm of its evidence up to a constant."""

    network: TableNetwork
    loss: float
    surprise: float


@torch.no_grad()
def evidence_fit(network: TableNetwork, rows: Rows, loss: Loss, priors: Priors, wait: int = 3) -> Iterator[Estimate]:
    """Yield the estimate after each step, for as long as the caller asks for more.

    Args:
        network: Where to start.
        rows: The table.
        loss: Mean squared error of standardised targets, or cross-entropy.
        priors: The penalties; they are changed in place.
        wait: Steps before the first update of the precisions.
    """
    outputs = network.matrices[-1].shape[0]
    # Half the precision is enough for many rows: rounding is far below their noise.
    light = rows.to(torch.float32) if len(rows) >= MANY_ROWS else rows
    likelihood = rows.count if loss.noise_known else rows.count * outputs / 2
    total = rows.count * outputs
    noise, damp, step = 1.0, 1e-2, 0
    value = mean_loss(network, light, loss)
    if not loss.noise_known:
        noise = max(value, 1e-3)
    fresh = True
    while True:
        if fresh:
            gradient, hessian = _normal_equations(network, light, loss, likelihood)
        parameters, prior = network.flat(), priors.diagonal()
        objective = likelihood / noise * value + float((prior * parameters.square()).sum()) / 2
        pulled = gradient / noise + prior * parameters
        full = hessian / noise + torch.diag(prior)
        full.diagonal().mul_(1 + (1e-5 if light is not rows else 1e-11))
        fresh, reached = False, objective
        for _ in range(6):
            factor, failed = torch.linalg.cholesky_ex(full + torch.diag(damp * full.diagonal()))
            trial = network.with_flat(parameters - torch.cholesky_solve(pulled.unsqueeze(1), factor).squeeze(1))
            tried = mean_loss(trial, light, loss)
            reached = likelihood / noise * tried + float((prior * trial.flat().square()).sum()) / 2
            if not failed and reached < objective:
                network, value, damp, fresh = trial, tried, max(damp / 5, 1e-8), True
                break
            damp *= 6
        step += 1
        factor, failed = torch.linalg.cholesky_ex(full)
        surprise = float("inf")
        if not failed:
            known = prior > FREE * 1.01
            surprise = (
                min(objective, reached) + float(factor.diagonal().log().sum()) - float(prior[known].log().sum()) / 2
            )
            if not loss.noise_known:
                surprise += likelihood * float(torch.tensor(noise).log())
            if step > wait:
                determined = priors.updated_(network.flat(), torch.cholesky_inverse(factor).diagonal())
                if not loss.noise_known:
                    # Two more values, with an error of a thousandth, keep a table that is met exactly from deciding all.
                    noise = (value * total + 2e-3) / (max(total - determined, 0.05 * total) + 2)
        yield Estimate(network, value, surprise)


def _normal_equations(
    network: TableNetwork, rows: Rows, loss: Loss, scale: float
) -> tuple[Float[Tensor, " P"], Float[Tensor, "P P"]]:
    """Gradient and Gauss-Newton matrix of the mean loss times a number."""
    size = sum(m.numel() for m in network.matrices)
    network = network.to(rows.features.dtype)
    gradient = rows.features.new_zeros(size)
    hessian = rows.features.new_zeros(size, size)
    most = max(1, CHUNK // (size * network.matrices[-1].shape[0]))
    for start in range(0, len(rows), most):
        part = slice(start, start + most)
        outputs, jacobian = network.outputs_and_jacobian(rows.features[part])
        targets, weight = rows.targets[part], scale * rows.weight[part]
        slopes = loss.slopes(outputs.unsqueeze(0), targets)[0] * weight.unsqueeze(1)
        gradient += slopes.flatten() @ jacobian.flatten(0, 1)
        rooted = loss.rooted(jacobian.unsqueeze(0), outputs.unsqueeze(0), targets)[0] * weight.sqrt()[:, None, None]
        hessian += rooted.flatten(0, 1).T @ rooted.flatten(0, 1)
    return gradient.double(), hessian.double()
