"""What every kernel of attention promises."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

Mix = Float[Tensor, "#heads coordinates columns"] | None
"""How the functions of the coordinates are added up to columns, head by head; None keeps every coordinate for itself."""


class Kernel(nn.Module, ABC):
    r"""A function of two numbers whose weighted sum over all pairs of coordinates is the score of two tokens.

    $L(x, y) = \sum_{dd'} A_{dd'}\, \kappa(x_d, y_{d'})$ with $A = \sum_c l_c r_c^T$ (arXiv 2503.23038). A kernel that is a
    sum of products of one variable each, $\kappa(a, b) = \sum_m \lambda_m \psi_m(a) \psi_m(b)$, makes the score a dot
    product, of $\lambda_m \sum_d l_{dc} \psi_m(x_d)$ for the query and $\sum_d r_{dc} \psi_m(y_d)$ for the key. These
    features are what a kernel computes. The tensor of all pairs is never made.
    """

    positive: ClassVar[bool] = False
    """Whether every value is positive, so that sums of values can be divided by."""

    vectors: ClassVar[bool] = False
    """Whether it compares whole vectors, and so only a coordinate with itself, and up to a number for every query."""

    _starts: Mapping[str, Tensor] = {}

    @abstractmethod
    def expanded(self, heads: int) -> "Kernel":
        """A copy with parameters of its own for each of `heads` heads."""

    @abstractmethod
    def forward(
        self,
        q: Float[Tensor, "batch queries heads coordinates"],
        k: Float[Tensor, "batch keys heads coordinates"],
        left: Mix,
        right: Mix,
        relative: bool,
    ) -> tuple[Float[Tensor, "batch queries heads features"], Float[Tensor, "batch keys heads features"]]:
        """Features of queries and keys whose dot products are the scores.

        Args:
            q: Coordinates of the queries, in float32 or float64.
            k: Coordinates of the keys; the same object as `q` where they are tied.
            left: The vectors l.
            right: The vectors r.
            relative: Scores may be off by a number of the query's own, which softmax does not see: constant functions
                are left out, and keys are centred over the tokens, so that they can be rounded to half precision.
        """

    def keep_(self) -> None:
        """Take the values of now as those that `reset_parameters` goes back to. A kernel is made on the CPU."""
        self._starts = {name: value.detach().clone() for name, value in self._values().items()}

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Go back to the values that the kernel was made with, parameters and buffers, as after `to_empty`."""
        for name, value in self._values().items():
            if name in self._starts:
                value.copy_(self._starts[name])

    def _values(self) -> dict[str, Tensor]:
        return {**dict(self.named_parameters()), **dict(self.named_buffers())}

    def coordinates(self, head_dim: int) -> nn.Module:
        """What brings a head's coordinates to where the kernel is accurate."""
        return nn.Identity()


def per_head(values: float | Sequence[float], heads: int, name: str) -> Float[Tensor, " heads"]:
    """One positive number for each head, from one for all or a row of them, or a clear error."""
    row = torch.as_tensor(values, dtype=torch.get_default_dtype(), device="cpu").flatten()
    if len(row) not in (1, heads) or not bool((row > 0).all() & row.isfinite().all()):
        raise ValueError(f"{name} must be a positive number or one for each of {heads} heads, got {values!r}.")
    return row.expand(heads).clone()


def repeated(rows: Tensor, heads: int, name: str) -> Tensor:
    """Learned values for so many heads, from one for all or from as many, or a clear error."""
    if len(rows) not in (1, heads):
        raise ValueError(f"{name} has values for {len(rows)} heads, but there are {heads}.")
    return rows.detach().expand(heads, *rows.shape[1:]).clone()


def centred(keys: Float[Tensor, "batch keys *rest"]) -> Float[Tensor, "batch keys *rest"]:
    """Keys less their mean over the tokens; softmax does not see it, and so no gradient goes through the mean."""
    return keys - keys.mean(1, keepdim=True).detach()


def mixed(x: Float[Tensor, "*batch heads coordinates"], mix: Mix) -> Float[Tensor, "*batch heads columns"]:
    """Coordinates added up to columns."""
    return x if mix is None else torch.einsum("...hd,hdc->...hc", x, mix)
