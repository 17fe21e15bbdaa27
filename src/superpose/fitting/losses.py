"""Losses, with the curvature that second-order solvers need.

Shapes: S networks side by side, N samples, K outputs, P parameters. Outputs are in the units the network is fitted in.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor


class Loss(ABC):
    """A mean over samples of a function of outputs and targets."""

    second_order = True
    noise_known = False
    """Whether the loss is a negative log-likelihood as it stands, with no noise level to learn."""

    @abstractmethod
    def values(self, outputs: Float[Tensor, "*S N K"], targets: Tensor) -> Float[Tensor, "*S N"]:
        """Loss of each sample, differentiable in the outputs."""

    def slopes(self, outputs: Float[Tensor, "S N K"], targets: Tensor) -> Float[Tensor, "S N K"]:
        """Gradient of each sample's loss with respect to its outputs."""
        outputs = outputs.detach().requires_grad_()
        with torch.enable_grad():
            return torch.autograd.grad(self.values(outputs, targets).sum(), outputs)[0]

    def rooted(
        self, jacobian: Float[Tensor, "S N K P"], outputs: Float[Tensor, "S N K"], targets: Tensor
    ) -> Float[Tensor, "S N K P"]:
        """Rows R with R^T R = J^T H J, where H is a positive curvature of the loss in the outputs (Gauss-Newton)."""
        raise NotImplementedError(f"{type(self).__name__} has no second-order form; choose solver='lbfgs' or 'adam'.")


class MeanSquaredError(Loss):
    """Mean over samples and outputs of the squared difference."""

    def values(self, outputs: Float[Tensor, "*S N K"], targets: Tensor) -> Float[Tensor, "*S N"]:
        return (outputs - targets).square().mean(-1)

    def slopes(self, outputs: Float[Tensor, "S N K"], targets: Tensor) -> Float[Tensor, "S N K"]:
        return (outputs - targets) * (2 / outputs.shape[-1])

    def rooted(
        self, jacobian: Float[Tensor, "S N K P"], outputs: Float[Tensor, "S N K"], targets: Tensor
    ) -> Float[Tensor, "S N K P"]:
        return jacobian * (2 / outputs.shape[-1]) ** 0.5


class Huber(Loss):
    """Squared up to `delta` and linear beyond, in units of the targets' standard deviation (Huber 1964)."""

    def __init__(self, delta: float = 0.3) -> None:
        if not delta > 0:
            raise ValueError(f"delta must be positive, got {delta}.")
        self.delta = delta

    def values(self, outputs: Float[Tensor, "*S N K"], targets: Tensor) -> Float[Tensor, "*S N"]:
        error = (outputs - targets).abs()
        return torch.where(error <= self.delta, error.square(), self.delta * (2 * error - self.delta)).mean(-1)

    def rooted(
        self, jacobian: Float[Tensor, "S N K P"], outputs: Float[Tensor, "S N K"], targets: Tensor
    ) -> Float[Tensor, "S N K P"]:
        # The weights of iteratively re-weighted least squares bound the loss from above, so steps stay safe.
        weight = (self.delta / (outputs - targets).abs().clamp_min(self.delta)) * (2 / outputs.shape[-1])
        return jacobian * weight.sqrt().unsqueeze(-1)


class CrossEntropy(Loss):
    """Negative log-likelihood of the true class; outputs are logits, targets class numbers."""

    noise_known = True

    def values(self, outputs: Float[Tensor, "*S N K"], targets: Tensor) -> Float[Tensor, "*S N"]:
        picked = targets.expand(outputs.shape[:-1]).unsqueeze(-1)
        return -outputs.log_softmax(-1).gather(-1, picked).squeeze(-1)

    def slopes(self, outputs: Float[Tensor, "S N K"], targets: Tensor) -> Float[Tensor, "S N K"]:
        truth = torch.nn.functional.one_hot(targets, outputs.shape[-1]).to(outputs.dtype)
        return outputs.softmax(-1) - truth

    def rooted(
        self, jacobian: Float[Tensor, "S N K P"], outputs: Float[Tensor, "S N K"], targets: Tensor
    ) -> Float[Tensor, "S N K P"]:
        share = outputs.softmax(-1).unsqueeze(-1)
        return (jacobian - (share * jacobian).sum(-2, keepdim=True)) * share.sqrt()


class CallableLoss(Loss):
    """A user's function of predictions and targets, both in the units of the data, giving a scalar or one value a row."""

    second_order = False

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor], units: torch.nn.Module) -> None:
        self.function, self.units = function, units

    def values(self, outputs: Float[Tensor, "*S N K"], targets: Tensor) -> Float[Tensor, "*S N"]:
        value = self.function(self.units(outputs), self.units(targets))
        if value.ndim == 0:
            return value.expand(outputs.shape[:-1])
        if value.shape not in (outputs.shape, outputs.shape[:-1], (*outputs.shape[:-1], 1)):
            raise ValueError(
                f"the loss returned shape {tuple(value.shape)}; a scalar or one value for each of the "
                f"{outputs.shape[-2]} rows is needed."
            )
        return value.flatten(1).mean(1) if value.ndim > 1 else value
