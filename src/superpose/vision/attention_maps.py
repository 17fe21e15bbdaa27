"""The weights of attention, which the layers themselves never make, and how even and how alike they are."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import log
from typing import Any, Literal

import torch
from jaxtyping import Float
from timm.layers import Attention
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from superpose.layers import KernelAttention
from superpose.layers.attend import WEIGHTS, Mask
from superpose.layers.statistics import evaluating, uncompiled

Weights = Float[Tensor, "batch heads queries keys"]

Query = int | Literal["class", "mean"]
"""Whose attention it is: that of the token of this number, of the class token, or the mean over all tokens."""

BLOCK = 2**20
"""Numbers that are held at once while heads are compared."""


@dataclass(frozen=True)
class AttentionMaps:
    """The weights of all layers and heads for some images.

    Attributes:
        weights: By the layer's name, in the order in which the layers have run: what a query's output weights the keys'
            values by. A query's weights add up to one, except those of `normalize="sigmoid"`.
        grid: Rows and columns of patches.
        prefix: Tokens before the patches: class token and registers.
        class_token: Whether the first of them is a class token.
    """

    weights: dict[str, Weights]
    grid: tuple[int, int]
    prefix: int
    class_token: bool

    def of(self, layer: str, query: Query = "class") -> Float[Tensor, "batch heads rows columns"]:
        """A layer's weights of the patches, as pictures, in multiples of what even attention would give.

        Args:
            layer: Its name.
            query: Who attends: the class token, the token of this number, or the mean over all tokens.

        Raises:
            ValueError: If there is no such layer or token, or the keys are not those of whole images.
        """
        weights = self._chosen(layer, query)
        rows, columns = self.grid
        tokens = weights.shape[-1]
        if tokens != self.prefix + rows * columns:
            raise ValueError(
                f"{layer} attends to {tokens} tokens, not to the {self.prefix} + {rows} x {columns} of whole images."
            )
        return weights.mean(2)[..., self.prefix :].unflatten(-1, self.grid) * tokens

    def entropies(self, layer: str, query: Query = "class") -> Float[Tensor, "batch heads"]:
        """How even a layer's attention is, from 0 to 1, see `entropy`; for all tokens the mean of theirs."""
        return entropy(self._chosen(layer, query)).mean(-1)

    def _chosen(self, layer: str, query: Query) -> Weights:
        """The weights of the queries that are asked for."""
        if layer not in self.weights:
            raise ValueError(f"no layer is called {layer!r}; there are {', '.join(self.weights)}.")
        weights = shares(self.weights[layer])
        if query == "mean":
            return weights
        if query == "class":
            if not self.class_token:
                raise ValueError("the model has no class token; choose query='mean', or the number of a token.")
            query = 0
        if isinstance(query, bool) or not isinstance(query, int) or not 0 <= query < weights.shape[2]:
            raise ValueError(
                f"query is {query!r}; it should be class, mean, or a token from 0 to {weights.shape[2] - 1}."
            )
        return weights[:, :, query : query + 1]


def attention_maps(model: VisionTransformer, images: Float[Tensor, "batch channels height width"]) -> AttentionMaps:
    """The attention of a vision transformer to some images, in evaluation mode, without changing it.

    Args:
        model: A `VisionTransformer` of timm whose attention is timm's `Attention` or our `KernelAttention`.
        images: Images as the model takes them.

    Raises:
        TypeError: If the model or an attention is of another kind.

    Example:
        >>> vit = VisionTransformer(32, 8, embed_dim=16, depth=2, num_heads=4)
        >>> maps = attention_maps(vit, torch.zeros(1, 3, 32, 32))
        >>> list(maps.weights), maps.of("blocks.0.attn").shape
        (['blocks.0.attn', 'blocks.1.attn'], torch.Size([1, 4, 4, 4]))
        >>> entropy(maps.weights["blocks.0.attn"]).shape
        torch.Size([1, 4, 17])
    """
    if not isinstance(model, VisionTransformer):
        raise TypeError(f"model must be a VisionTransformer of timm, got {type(model).__name__}.")
    layers = {f"blocks.{n}.attn": _known(block, n) for n, block in enumerate(model.blocks)}
    names = {module: name for name, module in layers.items()}
    found: dict[str, Tensor] = {}

    def see(module: nn.Module, args: tuple[Tensor, ...], given: dict[str, Mask | bool]) -> None:
        found[names[module]] = attention_weights(module, *args, **given)  # type: ignore[arg-type]

    with torch.no_grad(), evaluating(model), uncompiled():
        hooks = [module.register_forward_pre_hook(see, with_kwargs=True) for module in layers.values()]
        try:
            model.forward_features(images)
        finally:
            for each in hooks:
                each.remove()
    embed = model.patch_embed
    grid = embed.dynamic_feat_size(images.shape[-2:])
    return AttentionMaps(found, (int(grid[0]), int(grid[1])), model.num_prefix_tokens, model.has_class_token)


def attention_weights(
    layer: Any, x: Float[Tensor, "batch tokens dim"], attn_mask: Mask = None, is_causal: bool = False
) -> Weights:
    """What a layer of attention, given these tokens, weights the values by; without dropout.

    Args:
        layer: timm's `Attention` or our `KernelAttention`.
        x: Tokens.
        attn_mask: As the layer takes it.
        is_causal: As the layer takes it.

    Raises:
        TypeError: If the layer is of another kind.

    Example:
        >>> attention_weights(KernelAttention(16, 2), torch.zeros(1, 4, 16))[0, 0, 0]
        tensor([0.2500, 0.2500, 0.2500, 0.2500], grad_fn=<SelectBackward0>)
    """
    if isinstance(layer, KernelAttention):
        q, k, v = layer.heads(x)
        queries, keys = (part.to(v.dtype).transpose(1, 2) for part in layer.features(q, k))
        return WEIGHTS[layer.normalize](queries, keys, layer.scale, attn_mask, is_causal)
    if type(layer) is not Attention:
        raise TypeError(
            f"the weights of {type(layer).__name__} are not known; only timm's Attention and KernelAttention."
        )
    q, k, _ = layer.qkv(x).unflatten(-1, (3, layer.num_heads, layer.head_dim)).permute(2, 0, 3, 1, 4).unbind()
    return WEIGHTS["softmax"](layer.q_norm(q), layer.k_norm(k), layer.scale, attn_mask, is_causal)


def shares(weights: Weights) -> Weights:
    """The weights of each query over their sum, which is one unless they are sigmoids."""
    return weights / weights.sum(-1, keepdim=True)


def entropy(weights: Weights) -> Float[Tensor, "batch heads queries"]:
    """How even each query's attention is: Shannon's entropy as a share of the greatest, that of the uniform.

    It is 1 where all tokens count the same, and 0 where one counts alone.
    """
    return torch.special.entr(shares(weights)).sum(-1) / log(weights.shape[-1])


def head_distances(maps: Mapping[str, Tensor]) -> Float[Tensor, "heads heads"]:
    """How differently two heads attend: the distance of Jensen and Shannon, averaged over queries and images.

    It is 0 where they attend alike, and 1 where no token counts for both (the root of the divergence in bits; Endres and
    Schindelin 2003).

    Args:
        maps: Weights of layers, as `AttentionMaps.weights` has them. The heads of all are compared with one another, in
            the order of the layers.

    Raises:
        ValueError: If the layers attend to different numbers of tokens, or there are none.
    """
    if len({weights.shape[::2] + weights.shape[3:] for weights in maps.values()}) != 1:
        shapes = ", ".join(f"{name} {tuple(weights.shape)}" for name, weights in maps.items()) or "none"
        raise ValueError(
            f"heads are compared over the same images, queries and keys; the layers' weights are: {shapes}."
        )
    heads = torch.cat([shares(weights).transpose(0, 1) for weights in maps.values()]).flatten(1, 2)
    rows = max(1, BLOCK // heads[0].numel())
    own = _nats(heads)
    distances = heads.new_zeros(len(heads), len(heads))
    for first in range(len(heads)):  # the matrix is symmetric
        for some in range(first, len(heads), rows):
            others = slice(some, some + rows)
            divergence = (_nats((heads[first] + heads[others]) / 2) - (own[first] + own[others]) / 2) / log(2)
            distances[first, others] = divergence.clamp(0, 1).sqrt().mean(-1)
    return distances.triu(1) + distances.triu(1).mT


def _nats(shares: Float[Tensor, "*batch keys"]) -> Float[Tensor, "*batch"]:
    """Shannon's entropy, by logarithms of whole blocks, which are far faster than `torch.special.entr`."""
    return -(shares * shares.clamp_min(torch.finfo(shares.dtype).tiny).log()).sum(-1)


def _known(block: nn.Module, number: int) -> nn.Module:
    """The attention of a block, if its weights can be told."""
    attention: Any = getattr(block, "attn", None)
    if not isinstance(attention, KernelAttention) and type(attention) is not Attention:
        raise TypeError(
            f"block {number} is a {type(block).__name__} with {type(attention).__name__} for its attention; maps are "
            "known of timm's Attention and of KernelAttention."
        )
    return attention
