"""Kernels that need no functions: products, and distances of whole vectors."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from superpose.layers.kernels.kernel import Kernel, Mix, centred, mixed, per_head


class LinearKernel(Kernel):
    """The product ab: with a full matrix of weights, the scores of ordinary attention.

    Example:
        >>> q = torch.ones(1, 2, 1, 3)
        >>> left, right = LinearKernel()(q, q, None, None, True)
        >>> (left[0, 0, 0] @ right[0, 1, 0]).item()
        3.0
    """

    def expanded(self, heads: int) -> "LinearKernel":
        return LinearKernel()

    def forward(
        self, q: Tensor, k: Tensor, left: Mix, right: Mix, relative: bool
    ) -> tuple[Float[Tensor, "batch queries heads features"], Float[Tensor, "batch keys heads features"]]:
        return mixed(q, left), mixed(k, right)


class SquaredDistance(Kernel):
    r"""$-\|q - k\|^2 / 2 \sigma^2$ of whole vectors: with softmax, regression with a Gaussian kernel.

    The weights are those of Nadaraya and Watson (1964), Gaussians that sum to one. What depends on the query alone
    cancels, so the features are $q / \sigma^2, 1, 1$ and $k$ with $-\|k\|^2 / 2 \sigma^2$ as a sum of two columns, one
    rounded to the layer's precision and one the rest. Both are taken from the mean of the keys, which distances do not see.

    Args:
        sigma: Width, for all heads or for each.
        learn: Whether every head learns its own.
        heads: Heads with widths of their own.

    Raises:
        ValueError: If a width is not positive.

    Example:
        >>> SquaredDistance(2.0, learn=True).expanded(4).sigma.tolist()
        [2.0, 2.0, 2.0, 2.0]
    """

    vectors = True

    def __init__(self, sigma: float | Sequence[float] = 1.0, *, learn: bool = False, heads: int = 1) -> None:
        super().__init__()
        logarithm = per_head(sigma, heads, "sigma").log2()
        self.logarithm = nn.Parameter(logarithm, requires_grad=learn)
        self.keep_()

    @property
    def sigma(self) -> Float[Tensor, " heads"]:
        """The width of every head, in float32 or wider."""
        return self.logarithm.to(torch.promote_types(self.logarithm.dtype, torch.float32)).exp2()

    def expanded(self, heads: int) -> "SquaredDistance":
        sigma = self.sigma.tolist()
        return SquaredDistance(sigma[0] if len(sigma) == 1 else sigma, learn=self.logarithm.requires_grad, heads=heads)

    def forward(
        self, q: Tensor, k: Tensor, left: Mix, right: Mix, relative: bool
    ) -> tuple[Float[Tensor, "batch queries heads features"], Float[Tensor, "batch keys heads features"]]:
        origin = k.mean(1, keepdim=True).detach()
        precision = self.sigma.to(q.dtype).square().reciprocal().unsqueeze(-1)
        keys = k - origin
        norm = centred(keys.square().sum(-1, keepdim=True) * precision * -0.5)
        coarse = norm.detach().bfloat16().to(norm.dtype)
        queries = (q - origin) * precision
        ones = torch.ones_like(queries[..., :1])
        return torch.cat([queries, ones, ones], -1), torch.cat([keys, coarse, norm - coarse], -1)
