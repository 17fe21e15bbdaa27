"""A fixed change of units kept inside a model."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Affine(nn.Module):
    """Maps each feature by `x * scale + shift`, with constants that are saved with the model and never trained.

    Example:
        >>> Affine(2)(torch.ones(1, 2))
        tensor([[1., 1.]])
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("scale", torch.ones(features))
        self.register_buffer("shift", torch.zeros(features))

    def forward(self, x: Float[Tensor, "*batch features"]) -> Float[Tensor, "*batch features"]:
        """Apply the change of units."""
        return torch.addcmul(self.shift, x, self.scale)

    def inverse(self, x: Float[Tensor, "*batch features"]) -> Float[Tensor, "*batch features"]:
        """Undo the change of units."""
        return (x - self.shift) / self.scale
