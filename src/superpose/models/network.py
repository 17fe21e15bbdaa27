"""What Kolmogorov-Arnold networks and their perceptron twins share."""

from collections.abc import MutableSequence, Sequence
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from superpose.layers import Affine


class Network(nn.Module):
    """Layers in a row between a change of units of the inputs and one of the outputs."""

    layers: MutableSequence[Any]

    def __init__(self, widths: Sequence[int], layers: Sequence[nn.Module]) -> None:
        super().__init__()
        self.widths = tuple(map(int, widths))
        self.input_scaling = Affine(self.widths[0])
        self.layers = nn.ModuleList(layers)  # type: ignore[assignment]
        self.output_scaling = Affine(self.widths[-1])

    @property
    def num_parameters(self) -> int:
        """Number of trainable values."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)

    def forward(self, x: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
        """Outputs in the units of the data.

        Raises:
            TypeError: If x is no tensor, or wider than the numbers of the network.
            ValueError: If x has another number of columns.
        """
        own = self.input_scaling.scale.dtype
        if not isinstance(x, Tensor):
            raise TypeError(f"x must be a tensor, got {type(x).__name__}; give torch.as_tensor(x, dtype={own}).")
        if x.dtype is not own and torch.promote_types(x.dtype, own) is not own:
            way = "call model.double(), or " if x.dtype is torch.float64 else ""
            raise TypeError(f"x holds {x.dtype}, but the network {own}; {way}give x.to({own}).")
        if x.shape[-1] != self.widths[0]:
            raise ValueError(f"the last axis of x has size {x.shape[-1]}, but the network has {self.widths[0]} inputs.")
        return self.output_scaling(self.body(self.input_scaling(x)))

    def body(self, x: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
        """The layers alone, in the units they were fitted in."""
        for layer in self.layers:
            x = layer(x)
        return x


def check_widths(widths: Sequence[int]) -> list[tuple[int, int]]:
    """Pairs of neighbouring widths, or a clear error."""
    if not isinstance(widths, Sequence) or isinstance(widths, str):
        raise TypeError(f"widths must be a row of integers such as (2, 5, 1), got {widths!r}.")
    if any(isinstance(w, Sequence) and not isinstance(w, str) for w in widths):
        raise TypeError(f"widths must be integers, got {widths!r}: a perceptron has no product nodes, only a KAN has.")
    if len(widths) < 2 or any(isinstance(w, bool) or int(w) != w or w < 1 for w in widths):
        raise ValueError(f"widths must be two or more positive integers such as (2, 5, 1), got {widths!r}.")
    return list(pairwise(int(w) for w in widths))
