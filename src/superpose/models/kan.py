"""The Kolmogorov-Arnold network."""

from collections.abc import MutableSequence, Sequence

import torch
from torch import nn

from superpose.bases import Basis, BSpline
from superpose.layers import KANLinear, variance_preserving
from superpose.layers.init import Initializer
from superpose.models.network import Network, check_widths


class KAN(Network):
    """A Kolmogorov-Arnold network: sums and compositions of learnable functions of one variable.

    Args:
        widths: Nodes of each layer from inputs to outputs, such as `(2, 5, 1)`.
        basis: Family of functions on the edges, the same for all layers; `BSpline()` if None.
        base: Residual function of the edges; `nn.SiLU()` if None.
        init: Sets the parameters, see `superpose.layers.init`.
        generator: Source of randomness; the caller's global state if None.

    Raises:
        ValueError: If the widths are not two or more positive integers.

    Example:
        >>> model = KAN((2, 5, 1), BSpline(intervals=5))
        >>> model
        KAN 2-5-1, BSpline(intervals=5, degree=3, extrapolation='linear'), base SiLU, 135 parameters
        >>> model(torch.zeros(7, 2)).shape
        torch.Size([7, 1])
    """

    layers: MutableSequence[KANLinear]

    def __init__(
        self,
        widths: Sequence[int],
        basis: Basis | None = None,
        *,
        base: nn.Module | None = None,
        init: Initializer = variance_preserving,
        generator: torch.Generator | None = None,
    ) -> None:
        pairs = check_widths(widths)
        basis = BSpline() if basis is None else basis
        super().__init__(widths, [KANLinear(i, o, basis, base=base, init=init, generator=generator) for i, o in pairs])

    @property
    def num_parameters(self) -> int:
        """Number of trainable values on the edges there are."""
        pruned = [(layer, int((~layer.mask).sum())) for layer in self.layers if layer.mask is not None]
        return super().num_parameters - sum(
            edges * (layer.weight.requires_grad + layer.basis.num * layer.coef.requires_grad) for layer, edges in pruned
        )

    def __repr__(self) -> str:
        first = self.layers[0]
        shape = "-".join(map(str, self.widths))
        return f"KAN {shape}, {first.basis!r}, base {type(first.base).__name__}, {self.num_parameters} parameters"
