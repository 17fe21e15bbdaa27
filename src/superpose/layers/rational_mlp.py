"""The feed-forward part of the Kolmogorov-Arnold Transformer."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from superpose.layers.group_rational import GroupRational, is_watched, then_linear
from superpose.layers.rational_fit import Function, RationalFit
from superpose.layers.rational_init import Initializer, variance_preserving

Activation = str | Function | RationalFit


class RationalMlp(nn.Module):
    """Two group-rational Kolmogorov-Arnold layers, for `mlp_layer=` of the vision transformers in timm.

    The order is act1, drop1, fc1, act2, drop2, fc2: an activation and a dropout stand in front of each linear map, and
    nothing behind the last one, where timm's `Mlp` drops out once more (Yang and Wang 2024, arXiv 2409.10594, and their
    code). The names of the parameters are those of the published weights.

    Args:
        in_features: Size of the last axis of the input.
        hidden_features: Width between the two layers; in_features if None.
        out_features: Size of the last axis of the output; in_features if None.
        act_layer: Unused. timm gives every MLP the name of an activation; here `activations` say what they start as.
        norm_layer: Must be None: there is no norm between the layers.
        bias: Whether the linear maps have biases; a pair for each its own.
        drop: Probability of dropout; a pair for each its own.
        activations: What the two activations start as, see `GroupRational`.
        init: Draws the weights, see `superpose.layers.rational_init`.
        device: Where the parameters are made.
        dtype: Type of the parameters.
        options: Further options of both `GroupRational`.

    Raises:
        ValueError: If a norm is asked for.

    Example:
        >>> mlp = RationalMlp(64, 256)
        >>> mlp(torch.zeros(2, 197, 64)).shape
        torch.Size([2, 197, 64])
    """

    def __init__(  # noqa: PLR0913 - what timm gives to an MLP, and what this one needs
        self,
        in_features: int,
        hidden_features: int | None = None,
        out_features: int | None = None,
        act_layer: Any = None,
        norm_layer: Any = None,
        bias: bool | tuple[bool, bool] = True,
        drop: float | tuple[float, float] = 0.0,
        *,
        activations: tuple[Activation, Activation] = ("identity", "silu"),
        init: Initializer = variance_preserving,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        if norm_layer is not None:
            raise ValueError(
                f"RationalMlp has no norm between its layers, but norm_layer is {norm_layer!r}; leave scale_mlp_norm False."
            )
        hidden, out = hidden_features or in_features, out_features or in_features
        biases = bias if isinstance(bias, tuple) else (bias, bias)
        drops = drop if isinstance(drop, tuple) else (drop, drop)
        made: dict[str, Any] = {"device": device, "dtype": dtype}
        self.act1 = GroupRational(in_features, activation=activations[0], **made, **options)
        self.drop1 = nn.Dropout(drops[0])
        self.fc1 = nn.Linear(in_features, hidden, biases[0], **made)
        self.act2 = GroupRational(hidden, activation=activations[1], **made, **options)
        self.drop2 = nn.Dropout(drops[1])
        self.fc2 = nn.Linear(hidden, out, biases[1], **made)
        self.draw_(init)

    def draw_(self, init: Initializer, generator: torch.Generator | None = None) -> None:
        """Draw the weights of both linear maps anew, for the functions in front of them."""
        init(self.fc1, self.act1, generator)
        init(self.fc2, self.act2, generator)

    def forward(self, x: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
        """Two times: activation, dropout, linear map."""
        return _layer(self.act2, self.drop2, self.fc2, _layer(self.act1, self.drop1, self.fc1, x))


def _layer(activation: nn.Module, drop: nn.Module, linear: nn.Module, x: Tensor) -> Tensor:
    if type(drop) is nn.Dropout and not (drop.training and drop.p > 0) and not is_watched(drop):
        return then_linear(activation, linear, x)
    return linear(drop(activation(x)))
