"""The group-rational activation, and the layer of the Kolmogorov-Arnold Transformer that is made with it."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from superpose.layers.rational_fit import Function, RationalFit, fit_rational
from superpose.layers.rational_init import Initializer, variance_preserving
from superpose.ops.rational import rational, rational_linear


class GroupRational(nn.Module):
    r"""A learnable rational function for every group of channels: $F_g(x) = P(x) / Q_g(x)$.

    Its parameters have the names and shapes of the published weights (Yang and Wang 2024, arXiv 2409.10594): one
    numerator for all groups, and a denominator for each.

    Args:
        channels: Size of the axis of channels.
        groups: Number of groups: contiguous blocks of channels, as even as they can be.
        degrees: Degrees m of the numerator and n of the denominator.
        activation: What the layer starts as: a name in `superpose.layers.rational_fit.ACTIVATIONS`, a function, which is
            fitted on the default interval, or a fit made by `fit_rational`.
        form: Which denominator, see `superpose.ops.rational.rational`.
        shared_numerator: Whether one numerator serves all groups.
        axis: Where the channels are; 1 for images.
        device: Where the parameters are made.
        dtype: Type of the parameters.

    Raises:
        ValueError: If there are fewer channels than groups, or none, the fit has other degrees or another form, or the
            input has another number of channels.

    Example:
        >>> layer = GroupRational(64, activation="silu")
        >>> layer
        GroupRational(64, groups=8, degrees=(5, 4), form=sum_abs, starts as silu within 5.2e-04 on [-8, 8])
        >>> layer(torch.zeros(10, 64)).shape
        torch.Size([10, 64])
    """

    fit: RationalFit
    """What the parameters start from, with its distance to the activation it stands for."""

    def __init__(  # noqa: PLR0913 - the agreed interface
        self,
        channels: int,
        groups: int = 8,
        *,
        degrees: tuple[int, int] = (5, 4),
        activation: str | Function | RationalFit = "identity",
        form: str = "sum_abs",
        shared_numerator: bool = True,
        axis: int = -1,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if not 1 <= groups <= channels:
            raise ValueError(
                f"groups must be from 1 to the number of channels, got {groups} groups of {channels} channels."
            )
        if not isinstance(activation, RationalFit):
            activation = fit_rational(activation, degrees=degrees, form=form)
        self.fit = activation
        if (self.fit.degrees, self.fit.form) != (tuple(degrees), form):
            raise ValueError(
                f"the fit has degrees {self.fit.degrees} and form {self.fit.form!r}, but the layer has degrees "
                f"{tuple(degrees)} and form {form!r}; give both the same."
            )
        self.channels, self.groups, self.form, self.axis = channels, groups, form, axis
        m, n = degrees
        self.weight_numerator = nn.Parameter(
            torch.empty(1 if shared_numerator else groups, m + 1, device=device, dtype=dtype)
        )
        self.weight_denominator = nn.Parameter(torch.empty(groups, n, device=device, dtype=dtype))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Go back to the activation that the layer started as."""
        self.weight_numerator.copy_(torch.tensor(self.fit.numerator, dtype=torch.float64))
        self.weight_denominator.copy_(torch.tensor(self.fit.denominator, dtype=torch.float64))

    def forward(self, x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Apply to every element the function of its channel."""
        return _applied(x, self.weight_numerator, self.weight_denominator, self.form, self.axis, self.channels)

    def extra_repr(self) -> str:
        degrees = (self.weight_numerator.shape[1] - 1, self.weight_denominator.shape[1])
        own = "" if len(self.weight_numerator) == 1 else ", shared_numerator=False"
        axis = "" if self.axis == -1 else f", axis={self.axis}"
        return f"{self.channels}, groups={self.groups}, degrees={degrees}, form={self.form}{own}{axis}, starts as {self.fit}"


class GRKANLinear(nn.Module):
    r"""The group-rational Kolmogorov-Arnold layer: $y_o = \beta_o + \sum_i w_{oi} F_{g(i)}(x_i)$.

    It is a `KANLinear` whose edge functions share their shape. There an edge has coefficients of its own, $\sum_m c_{oim}
    \psi_m(x_i)$; here all edges that leave one group of inputs are one learnable $F_g$, and an edge has a single factor
    $w_{oi}$. So a layer costs what `nn.Linear` costs, and 6 + 4 × groups parameters more. $F_g$ is not linear in its
    denominator, which is why it is a layer of its own and no `superpose.bases.Basis`.

    Args:
        in_features: Size of the last axis of the input.
        out_features: Size of the last axis of the output.
        bias: Whether a constant is added to every output.
        init: Draws the weights for the function in front of them, see `superpose.layers.rational_init`.
        generator: Source of randomness; the caller's global state if None.
        device: Where the parameters are made.
        dtype: Type of the parameters.
        options: Options of `GroupRational`.

    Example:
        >>> layer = GRKANLinear(64, 10, activation="gelu")
        >>> layer(torch.zeros(5, 64)).shape
        torch.Size([5, 10])
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        init: Initializer = variance_preserving,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        self.rational = GroupRational(in_features, device=device, dtype=dtype, **options)
        self.linear = nn.Linear(in_features, out_features, bias, device=device, dtype=dtype)
        self.init = init
        init(self.linear, self.rational, generator)

    def reset_parameters(self) -> None:
        """Start again: the activation as it was, and new weights."""
        self.rational.reset_parameters()
        self.init(self.linear, self.rational, None)

    def forward(self, x: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
        """Apply the group's function to every input, and mix."""
        return then_linear(self.rational, self.linear, x)


def then_linear(activation: nn.Module, linear: nn.Module, x: Tensor) -> Tensor:
    """`linear(activation(x))`, in one step that keeps x alone for the backward pass where nobody watches or changes the two.

    Modules that have hooks, or that something else was put in the place of (quantised or low-rank maps, parametrised
    weights), are called one after the other, as a user of `torch.nn` expects.
    """
    if type(activation) is not GroupRational or type(linear) is not nn.Linear or activation.axis != -1:
        return linear(activation(x))
    if is_watched(activation) or is_watched(linear):
        return linear(activation(x))
    return rational_linear(
        x, activation.weight_numerator, activation.weight_denominator, linear.weight, linear.bias, activation.form
    )


def _applied(x: Tensor, numerator: Tensor, denominator: Tensor, form: str, axis: int, channels: int) -> Tensor:
    if x.shape[axis] != channels:
        raise ValueError(f"axis {axis} of x has size {x.shape[axis]}, but the layer has {channels} channels.")
    return rational(x, numerator, denominator, form, axis)


# Symbolic tracing (torch.fx, and torchvision's feature extraction with it) takes these as they are.
torch.fx.wrap("_applied")
torch.fx.wrap("rational_linear")


def is_watched(module: nn.Module) -> bool:
    """Whether a module has hooks, its own or those of all modules, or a `forward` that somebody has put in place of its own."""
    own = module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
    return bool(own or "forward" in module.__dict__ or nn.modules.module._has_any_global_hook())
