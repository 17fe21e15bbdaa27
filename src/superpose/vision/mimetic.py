"""Attention that starts like trained attention: mimetic initialisation."""

import torch
from timm.layers import Attention
from torch import Tensor, nn


@torch.no_grad()
def start_mimetic_(attention: Attention, generator: torch.Generator | None = None) -> None:
    r"""Let the products of the projections be near multiples of the identity, as they are after training.

    For every head $W_Q^\top W_K$ is the best approximation of its rank to $0.7\, (U + I)$, and one singular value
    decomposition of $0.4\, (U - I)$ gives the values and the output projection; $U$ has independent uniform entries of
    variance 1 / dim (Trockman and Kolter 2023, arXiv 2305.09828, with the constants of the released code of KAT, which
    applies the two factors of the second product in the opposite order).

    Args:
        attention: timm's `Attention`, with as many channels in its heads as outside.
        generator: Source of randomness; the caller's global state if None.

    Raises:
        TypeError: If it is another attention.
        ValueError: If the heads together are wider or narrower than the tokens.
    """
    if type(attention) is not Attention:
        raise TypeError(f"mimetic initialisation is for timm's Attention, got {type(attention).__name__}.")
    heads, width, (dim_out, dim) = attention.num_heads, attention.head_dim, attention.proj.weight.shape
    if not heads * width == dim == dim_out == attention.qkv.weight.shape[1]:
        raise ValueError(
            f"mimetic initialisation needs heads as wide as the tokens together, got {heads} x {width} for "
            f"{attention.qkv.weight.shape[1]} channels."
        )
    if attention.qkv.weight.is_meta:
        return
    noise = attention.qkv.weight.new_empty(heads + 1, dim, dim, dtype=torch.float32)
    noise.uniform_(-((3 / dim) ** 0.5), (3 / dim) ** 0.5, generator=generator)
    identity = torch.eye(dim, device=noise.device)
    left, right = _factors(0.7 * noise[:heads] + 0.7 * identity)
    query = left[..., :width].mT.reshape(dim, dim)
    key = right[:, :width].reshape(dim, dim)
    value, output = _factors(0.4 * noise[heads] - 0.4 * identity)
    attention.qkv.weight.copy_(torch.cat([query, key, value]))
    attention.proj.weight.copy_(output)
    for linear in (attention.qkv, attention.proj):
        if linear.bias is not None:
            nn.init.zeros_(linear.bias)


def _factors(matrices: Tensor) -> tuple[Tensor, Tensor]:
    """Two factors of each matrix, with its singular values shared evenly."""
    left, values, right = torch.linalg.svd(matrices)
    root = values.sqrt()
    return left * root.unsqueeze(-2), root.unsqueeze(-1) * right
