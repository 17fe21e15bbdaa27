"""The multi-layer perceptron with the same methods, for honest comparisons."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from superpose.models.network import Network, check_widths


class Dense(nn.Module):
    """A linear layer after an activation, seen as a function that is linear in its parameters.

    Args:
        in_features: Size of the last axis of the input.
        out_features: Size of the last axis of the output.
        activation: Applied to the input first; nothing if None.
    """

    def __init__(self, in_features: int, out_features: int, activation: nn.Module | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_features, in_features))
        self.bias = nn.Parameter(torch.zeros(out_features))
        self.activation = nn.Identity() if activation is None else activation

    def forward(self, x: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
        """Activate, then combine."""
        return nn.functional.linear(self.activation(x), self.weight, self.bias)

    def features(self, x: Float[Tensor, "batch inputs"]) -> Float[Tensor, "batch features"]:
        """What the layer is linear in: the activated inputs and a constant."""
        return torch.cat([self.activation(x), x.new_ones(len(x), 1)], -1)

    def matrix(self) -> Float[Tensor, "outputs features"]:
        """The parameters as the matrix that multiplies `features`."""
        return torch.cat([self.weight, self.bias.unsqueeze(-1)], -1)

    @torch.no_grad()
    def set_matrix_(self, matrix: Float[Tensor, "outputs features"]) -> None:
        """Write the parameters from the matrix that multiplies `features`."""
        self.weight.copy_(matrix[:, :-1])
        self.bias.copy_(matrix[:, -1])


class MLP(Network):
    """A multi-layer perceptron, the twin of `KAN` for comparisons.

    Args:
        widths: Nodes of each layer from inputs to outputs, such as `(2, 16, 1)`.
        activation: Applied at the hidden nodes; `nn.SiLU()` if None.
        generator: Source of randomness for Glorot's initialisation; the caller's global state if None.

    Example:
        >>> MLP((2, 16, 1))
        MLP 2-16-1, SiLU, 65 parameters
    """

    def __init__(
        self, widths: Sequence[int], activation: nn.Module | None = None, *, generator: torch.Generator | None = None
    ) -> None:
        pairs = check_widths(widths)
        activation = nn.SiLU() if activation is None else activation
        super().__init__(widths, [Dense(i, o, activation if n else None) for n, (i, o) in enumerate(pairs)])
        for layer in self.layers:
            nn.init.xavier_normal_(layer.get_parameter("weight"), generator=generator)

    def __repr__(self) -> str:
        activation = type(self.layers[-1].activation).__name__
        return f"MLP {'-'.join(map(str, self.widths))}, {activation}, {self.num_parameters} parameters"
