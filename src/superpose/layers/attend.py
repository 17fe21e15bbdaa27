"""What becomes of scores: the ways of weighting values by dot products of queries and keys."""

from collections.abc import Callable
from math import log

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

WIDEST = 256
"""The widest head for which fused attention on a GPU has kernels; up to it, values are padded to the queries' width."""

Mask = Bool[Tensor, "..."] | Float[Tensor, "..."] | None
Queries = Float[Tensor, "batch heads queries features"]
Keys = Float[Tensor, "batch heads keys features"]
Values = Float[Tensor, "batch heads keys coordinates"]
Outputs = Float[Tensor, "batch heads queries coordinates"]
Shares = Float[Tensor, "batch heads queries keys"]


def softmax(q: Queries, k: Keys, v: Values, scale: float, mask: Mask, causal: bool, drop: float) -> Outputs:
    """Weights that are softmax of the scores, by PyTorch's fused attention."""
    features, width = q.shape[-1], v.shape[-1]
    if features != width and max(features, width) <= WIDEST:  # the fused kernels want one width
        q, k, v = (F.pad(each, (0, max(features, width) - each.shape[-1])) for each in (q, k, v))
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=drop, is_causal=causal, scale=scale)
    return out[..., :width]


def kernel(q: Queries, k: Keys, v: Values, scale: float, mask: Mask, causal: bool, drop: float) -> Outputs:
    """Weights in proportion to scores, which must be positive: time and memory linear in the number of tokens.

    A mask or dropout needs the weights themselves; they are then made, in quadratic memory.
    """
    if mask is None and not causal and drop == 0:
        return (q @ (k.mT @ v)) / (q @ k.sum(-2).unsqueeze(-1))
    return F.dropout(kernel_weights(q, k, scale, mask, causal), drop) @ v


def sigmoid(q: Queries, k: Keys, v: Values, scale: float, mask: Mask, causal: bool, drop: float) -> Outputs:
    r"""Weights $\operatorname{sigmoid}(s - \log n)$ with n keys, each for itself (Ramapuram et al. 2024, arXiv 2409.04431).

    The weights are made, in quadratic memory.
    """
    return F.dropout(sigmoid_weights(q, k, scale, mask, causal), drop) @ v


NORMALIZATIONS: dict[str, Callable[..., Tensor]] = {"softmax": softmax, "kernel": kernel, "sigmoid": sigmoid}


def softmax_weights(q: Queries, k: Keys, scale: float, mask: Mask, causal: bool) -> Shares:
    """What `softmax` weights the values by, which fused attention never makes; zero where no key is seen."""
    scores = (q @ k.mT) * scale
    bias = _bias(scores, mask, causal)
    if bias is None:
        return scores.softmax(-1)
    none = (bias == float("-inf")).all(-1, keepdim=True)
    return (scores + bias.masked_fill(none, 0)).softmax(-1).masked_fill(none, 0)


def kernel_weights(q: Queries, k: Keys, scale: float, mask: Mask, causal: bool) -> Shares:
    """What `kernel` weights the values by; the scale cancels. Zero where no key is seen."""
    weights = q @ k.mT
    bias = _bias(weights, mask, causal)
    if bias is None:
        return weights / weights.sum(-1, keepdim=True)
    highest = bias.detach().amax(-1, keepdim=True)  # which cancels, and keeps the exponential in range
    none = highest == float("-inf")
    weights = weights * (bias - highest.masked_fill(none, 0)).exp()
    return weights / weights.sum(-1, keepdim=True).masked_fill(none, 1)


def sigmoid_weights(q: Queries, k: Keys, scale: float, mask: Mask, causal: bool) -> Shares:
    """What `sigmoid` weights the values by; they do not add up to one."""
    scores = (q @ k.mT) * scale - log(k.shape[-2])
    bias = _bias(scores, mask, causal)
    return (scores if bias is None else scores + bias).sigmoid()


WEIGHTS: dict[str, Callable[..., Tensor]] = {
    "softmax": softmax_weights,
    "kernel": kernel_weights,
    "sigmoid": sigmoid_weights,
}


def _bias(scores: Tensor, mask: Mask, causal: bool) -> Tensor | None:
    """What is added to scores: minus infinity where a key is not seen."""
    if causal:
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if mask is None or mask.dtype != torch.bool:
        return mask
    return torch.zeros_like(mask, dtype=scores.dtype).masked_fill(~mask, float("-inf"))
