"""How weights are learned: the optimizer, what decays, and the learning rate of each step."""

import math
from dataclasses import dataclass
from typing import Any

from timm.optim import create_optimizer_v2, param_groups_layer_decay, param_groups_weight_decay
from torch import nn
from torch.optim import Optimizer

COEFFICIENTS = ("*weight_numerator", "*weight_denominator")
"""Names of the coefficients of rational functions; they have two dimensions, so timm's rules would let them decay."""


@dataclass(frozen=True)
class Optimization:
    """How the weights are learned.

    Args:
        epochs: Passes over the training data.
        optimizer: timm's name of it.
        lr: Highest learning rate.
        weight_decay: Of everything but biases, normalisation, and what the network exempts.
        arguments: More arguments of the optimizer, such as `betas` or `eps`.
        layer_decay: Factor of the learning rate from each layer to the one before it; None for equal rates.
        decay_coefficients: Whether the coefficients of rational functions decay as well, as in the published runs.
        warmup_epochs: In these the learning rate rises in a line; afterwards it falls as half a cosine.
        warmup_lr: Learning rate of the first step.
        min_lr: Learning rate at the end.
        clip: Largest norm of the gradient; None for no limit.
        ema: Decay per step of the moving average of the weights, which is then what is judged and kept; None for none.

    Raises:
        ValueError: If a number is out of its range.
    """

    epochs: int
    optimizer: str = "adamw"
    lr: float = 1e-3
    weight_decay: float = 0.05
    arguments: dict[str, Any] | None = None
    layer_decay: float | None = None
    decay_coefficients: bool = True
    warmup_epochs: float = 0.0
    warmup_lr: float = 0.0
    min_lr: float = 0.0
    clip: float | None = None
    ema: float | None = None

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.lr <= 0 or not 0 <= self.warmup_epochs < self.epochs:
            raise ValueError(
                f"epochs and lr should be above 0 and warmup_epochs below epochs; got epochs {self.epochs}, lr {self.lr}, "
                f"warmup_epochs {self.warmup_epochs}."
            )
        for name in ("weight_decay", "warmup_lr", "min_lr"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} should be at least 0, got {getattr(self, name)}.")
        if self.clip is not None and not self.clip > 0:
            raise ValueError(f"clip should be a norm above 0, or null for no limit; got {self.clip}.")
        if self.layer_decay is not None and not 0 < self.layer_decay <= 1:
            raise ValueError(
                f"layer_decay should be above 0 and at most 1, or null for equal rates; got {self.layer_decay}."
            )
        if self.ema is not None and not 0 < self.ema < 1:
            raise ValueError(f"ema should be above 0 and below 1, or null for no average; got {self.ema}.")


def parameter_groups(network: nn.Module, optimization: Optimization) -> list[dict[str, Any]]:
    """Parameters with and without decay, and by layers if their rates differ."""
    exempt = set(getattr(network, "no_weight_decay", set)())
    if not optimization.decay_coefficients:
        exempt |= set(COEFFICIENTS)
    if optimization.layer_decay is None:
        return param_groups_weight_decay(network, optimization.weight_decay, no_weight_decay_list=exempt)
    return param_groups_layer_decay(network, optimization.weight_decay, exempt, layer_decay=optimization.layer_decay)


def make_optimizer(network: nn.Module, optimization: Optimization) -> Optimizer:
    """Timm's optimizer for a network.

    Raises:
        ValueError: If timm knows no such optimizer, or it takes no such arguments.
    """
    o = optimization
    groups: Any = parameter_groups(network, o)
    try:
        return create_optimizer_v2(groups, o.optimizer, o.lr, o.weight_decay, **(o.arguments or {}))
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"optimizer {o.optimizer} with the arguments {o.arguments} does not do: {error}; "
            "timm.optim.list_optimizers() has all names."
        ) from error


def lr_factor(step: int, optimization: Optimization, steps: int) -> float:
    """Learning rate of a step as a share of the highest."""
    warmup = round(steps * optimization.warmup_epochs / optimization.epochs)
    if step < warmup:
        first = optimization.warmup_lr / optimization.lr
        return first + (1 - first) * step / warmup
    last = optimization.min_lr / optimization.lr
    return last + (1 - last) * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup))) / 2
