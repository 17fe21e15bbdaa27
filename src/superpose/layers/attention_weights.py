"""What the coordinates of a query count against those of a key."""

from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from superpose.layers.kernels.kernel import Mix

Weights = Literal["ones", "identity", "diag", "full"] | int


class CoordinateWeights(nn.Module):
    r"""The matrix $A = L R^T$ of every head in the score $\sum_{dd'} A_{dd'} \kappa(x_d, y_{d'})$, by its two factors.

    Args:
        heads: Number of heads.
        head_dim: Coordinates of a head.
        kind: What A is.
            - `"ones"`: all ones, not learned. A score then sees which numbers two tokens hold and not where they hold
              them: it stays the same when a token's coordinates change places.
            - `"identity"`: each coordinate with itself, not learned.
            - `"diag"`: each coordinate with itself, with a learned weight, one at first.
            - an integer r: a learned matrix of rank r, with normal factors at first. Queries and keys are then r
              outputs of a Kolmogorov-Arnold layer for every function of the kernel.
            - `"full"`: any matrix, normal with deviation 0.02 at first, as published.
        device: Where the parameters are made.
        dtype: Their type.

    Raises:
        ValueError: If there is no such kind, or the rank exceeds the coordinates.

    Example:
        >>> CoordinateWeights(2, 8, 3).matrix().shape
        torch.Size([2, 8, 8])
    """

    def __init__(
        self,
        heads: int,
        head_dim: int,
        kind: Weights,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        rank = kind if isinstance(kind, int) and not isinstance(kind, bool) else None
        if kind not in ("ones", "identity", "diag", "full") and (rank is None or not 1 <= rank <= head_dim):
            raise ValueError(
                f"weights is {kind!r}; choose one of ones, identity, diag, full, or a rank from 1 to {head_dim}, "
                "the coordinates of a head."
            )
        self.kind, self.head_dim = kind, head_dim
        made: dict[str, Any] = {"device": device, "dtype": dtype}
        shape = {"diag": (heads, head_dim), "full": (heads, head_dim, head_dim)}.get(str(kind))
        self.weight = None if shape is None else nn.Parameter(torch.empty(shape, **made))
        """The weights of all pairs, or of each coordinate with itself."""
        self.query = None if rank is None else nn.Parameter(torch.empty(heads, head_dim, rank, **made))
        self.key = None if rank is None else nn.Parameter(torch.empty(heads, head_dim, rank, **made))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw the parameters anew, from the caller's random state."""
        for parameter in self.parameters():
            if self.kind == "diag":
                parameter.fill_(1)
            else:
                parameter.normal_(std=0.02 if self.kind == "full" else 1)

    def forward(self, like: Tensor) -> tuple[Mix, Mix]:
        """The factors L and R; None is the identity. What is not learned is on the device of `like`."""
        if self.kind == "ones":
            ones = like.new_ones(1, self.head_dim, 1)
            return ones, ones
        if self.weight is None:
            return self.query, self.key
        return (self.weight.diag_embed() if self.kind == "diag" else self.weight), None

    def matrix(self) -> Float[Tensor, "#heads coordinates coordinates"]:
        """The matrix A of every head."""
        left, right = self(torch.empty(0))
        if left is None:
            return torch.eye(self.head_dim).unsqueeze(0)
        return left if right is None else left @ right.mT

    def extra_repr(self) -> str:
        return f"{self.head_dim}, {self.kind!r}"
