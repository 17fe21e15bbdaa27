"""The weights of attention, which the layers themselves never make, and how even and how alike they are."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import log

import torch
from jaxtyping import Float
from timm.layers import Attention
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from superpose.layers import KernelAttention
from superpose.layers.attend import WEIGHTS, Mask
from superpose.layers.statistics import evaluating, uncompiled

Weights = Float[Tensor, "batch heads queries keys"]

BLOCK = 2**24
"""Numbers that are held at once while heads are compared."""


@dataclass(frozen=True)
class AttentionMaps:
    """The weights of all layers and heads for some images.

    Attributes:
        weights: By the layer's name, in the order in which the layers have run: what a query's output weights the keys'
            values by. A query's weights add up to one, except those of `normalize="sigmoid"`.
        grid: Rows and columns of patches.
        prefix: Tokens before the patches: class token and registers.
    """

    weights: dict[str, Weights]
    grid: tuple[int, int]
    prefix: int

    def of(self, layer: str, query: int | None = None) -> Float[Tensor, "batch heads rows columns"]:
        """A layer's weights of the patches, as pictures, in multiples of what even attention would give.

        Args:
            layer: Its name.
            query: Number of the token that attends, the class token is 0; the mean over all tokens if None.

        Raises:
            ValueError: If there is no such layer or token, or the keys are not those of whole images.
        """
        if layer not in self.weights:
            raise ValueError(f"no layer is called {layer!r}; there are {', '.join(self.weights)}.")
        weights = shares(self.weights[layer])
        tokens = weights.shape[-1]
        rows, columns = self.grid
        if tokens != self.prefix + rows * columns:
            raise ValueError(
                f"{layer} attends to {tokens} tokens, not to the {self.prefix} + {rows} x {columns} of whole images."
            )
        if query is not None and not 0 <= query < tokens:
            raise ValueError(f"query is {query}, but there are {tokens} tokens, from 0 on.")
        chosen = weights.mean(2) if query is None else weights[:, :, query]
        return chosen[..., self.prefix :].unflatten(-1, self.grid) * tokens


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
        >>> list(maps.weights), maps.of("blocks.0.attn", query=0).shape
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
    return AttentionMaps(found, (int(grid[0]), int(grid[1])), model.num_prefix_tokens)


def attention_weights(
    layer: nn.Module, x: Float[Tensor, "batch tokens dim"], attn_mask: Mask = None, is_causal: bool = False
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
    entropies = torch.special.entr(heads).sum(-1)
    rows = max(1, BLOCK // heads.numel())
    distances = []
    for some, own in zip(heads.split(rows), entropies.split(rows), strict=True):
        middle = torch.special.entr((some.unsqueeze(1) + heads) / 2).sum(-1)
        divergence = (middle - (own.unsqueeze(1) + entropies) / 2) / log(2)
        distances.append(divergence.clamp(0, 1).sqrt().mean(-1))
    return torch.cat(distances)


def _known(block: nn.Module, number: int) -> nn.Module:
    """The attention of a block, if its weights can be told."""
    attention = getattr(block, "attn", None)
    if not isinstance(attention, KernelAttention) and type(attention) is not Attention:
        raise TypeError(
            f"block {number} is a {type(block).__name__} with {type(attention).__name__} for its attention; maps are "
            "known of timm's Attention and of KernelAttention."
        )
    return attention
