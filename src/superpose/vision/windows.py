"""Attention within windows, for large images."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float
from timm.models import VisionTransformer, checkpoint
from torch import Tensor, nn

from superpose.vision.maps import check_dynamic, spread_evenly
from superpose.vision.parameters import TransformerParameters

Block = Callable[[Tensor], Tensor]


class WindowedViT(TransformerParameters, nn.Module):
    """A vision transformer of timm whose blocks see windows of the image, all but a few that see the whole.

    This is the backbone of ViTDet (Li et al. 2022, arXiv 2203.16527, section 3): fine-tuning on images much larger than
    those of pretraining, with blocks of global attention, spaced evenly, to carry information between the windows.
    Everything in a block but attention looks at one token at a time, so that a block within windows is the block itself
    on a batch of windows, whatever its mixer or MLP. There are no new parameters.

    Two things the paper leaves to the implementation. Windows that the border of the image cuts are smaller, which is
    what padding with masked tokens computes (ViTDet pads with zeros that take part); a window that covers the image is
    therefore exactly global attention. The class token and registers, which ViTDet drops, are seen by every window, and
    go on as their mean over the windows, weighted by the tokens in each. Stochastic depth drops a block for a window.

    Args:
        model: The transformer, made with `dynamic_img_size=True`; not copied.
        window: Side of a window in tokens.
        global_blocks: How many blocks are global, at the ends of equal parts of the network; or their numbers.

    Raises:
        TypeError: If the model is no `VisionTransformer`.
        ValueError: If its images have one size, it drops patches, or there are no such blocks.

    Example:
        >>> import timm
        >>> vit = timm.create_model("vit_tiny_patch16_224", depth=4, dynamic_img_size=True, num_classes=10)
        >>> model = WindowedViT(vit, window=7, global_blocks=2)
        >>> model.global_blocks
        (1, 3)
        >>> model(torch.zeros(1, 3, 160, 256)).shape
        torch.Size([1, 10])
    """

    def __init__(self, model: VisionTransformer, window: int = 14, global_blocks: int | Sequence[int] = 4) -> None:
        super().__init__()
        if not isinstance(model, VisionTransformer):
            raise TypeError(f"windows need a VisionTransformer of timm, got {type(model).__name__}.")
        check_dynamic(model)
        if window < 1:
            raise ValueError(f"window must be at least 1 token, got {window}.")
        if not isinstance(model.patch_drop, nn.Identity):
            raise ValueError("windows need every patch in its place; make the model with patch_drop_rate=0.")
        depth = len(model.blocks)
        if isinstance(global_blocks, int):
            global_blocks = spread_evenly(global_blocks, depth) if global_blocks else ()
        if any(not 0 <= block < depth for block in global_blocks):
            raise ValueError(f"global_blocks must be numbers of the {depth} blocks, got {list(global_blocks)}.")
        self.model = model
        self.window = window
        self.global_blocks = tuple(global_blocks)

    @property
    def feature_info(self) -> list[dict[str, Any]]:
        """What timm says of the maps after every block."""
        return self.model.feature_info

    def prune_intermediate_layers(self, indices: Sequence[int], prune_norm: bool = False) -> list[int]:
        """Take away what maps after these blocks do not need."""
        return self.model.prune_intermediate_layers(list(indices), prune_norm=prune_norm)

    def forward_intermediates(
        self, x: Float[Tensor, "batch colours height width"], indices: Sequence[int], *, intermediates_only: bool
    ) -> list[Float[Tensor, "batch channels rows columns"]] | tuple[Tensor, list[Tensor]]:
        """The maps after these blocks, as timm gives them; with the features before them if not only these."""
        wanted = {index % len(self.model.blocks) for index in indices}
        prefix, maps = self.model.num_prefix_tokens, []
        grid = self._grid(x)
        for index, tokens in enumerate(self._run(x, grid)):
            if index in wanted:
                maps.append(tokens[:, prefix:].unflatten(1, grid).permute(0, 3, 1, 2).contiguous())
        return maps if intermediates_only else (self.model.norm(tokens), maps)

    def forward_features(
        self, x: Float[Tensor, "batch colours height width"]
    ) -> Float[Tensor, "batch tokens channels"]:
        """The tokens after the last block, normed."""
        *_, tokens = self._run(x, self._grid(x))
        return self.model.norm(tokens)

    def forward(self, x: Float[Tensor, "batch colours height width"]) -> Float[Tensor, "batch ..."]:
        """What the head of the model makes of an image."""
        return self.model.forward_head(self.forward_features(x))

    def _grid(self, x: Tensor) -> tuple[int, int]:
        return self.model.patch_embed.dynamic_feat_size(x.shape[-2:])

    def _run(self, x: Tensor, grid: tuple[int, int]) -> list[Tensor]:
        """The tokens after every block."""
        tokens = self.model.norm_pre(self.model._pos_embed(self.model.patch_embed(x)))
        after = []
        for index, block in enumerate(self.model.blocks):
            run = block if index in self.global_blocks else self._within(block, grid)
            tokens = checkpoint(run, tokens) if self.model.grad_checkpointing else run(tokens)
            after.append(tokens)
        return after

    def _within(self, block: Block, grid: tuple[int, int]) -> Block:
        return lambda tokens: in_windows(block, tokens, grid, self.window, self.model.num_prefix_tokens)


def in_windows(
    block: Block,
    tokens: Float[Tensor, "batch tokens channels"],
    grid: tuple[int, int],
    window: int,
    prefix: int = 0,
) -> Float[Tensor, "batch tokens channels"]:
    """What a block makes of the windows of a grid of tokens, each with the prefix tokens in front.

    Windows of one size run as one batch: the whole ones, and those cut by the lower border, the right one, and both.

    Args:
        block: A function of (batch, tokens, channels), such as a block of a transformer.
        tokens: Prefix tokens, then the grid row by row.
        grid: Rows and columns.
        window: Side of a window.
        prefix: Number of prefix tokens.

    Raises:
        ValueError: If there are not as many tokens as the grid has.

    Example:
        >>> x = torch.arange(6.0).view(1, 6, 1)
        >>> in_windows(lambda t: t - t.mean(1, keepdim=True), x, (2, 3), 2).flatten().tolist()
        [-2.0, -1.0, -1.5, 1.0, 2.0, 1.5]
    """
    if tokens.shape[1] != prefix + grid[0] * grid[1]:
        raise ValueError(f"{tokens.shape[1]} tokens are not {prefix} and a grid of {grid[0]} by {grid[1]}.")
    head, body = tokens[:, :prefix], tokens[:, prefix:].unflatten(1, grid)
    mean = torch.zeros_like(head)
    rows = []
    for top, bottom in pairwise(_bands(grid[0], window)):
        row = []
        for left, right in pairwise(_bands(grid[1], window)):
            part = body[:, top:bottom, left:right]
            size = (min(window, bottom - top), min(window, right - left))
            split = _split(part, size)
            heads = head.unsqueeze(1).expand(-1, split.shape[1], -1, -1)
            out = block(torch.cat([heads, split], 2).flatten(0, 1)).unflatten(0, split.shape[:2])
            mean = mean + out[:, :, :prefix].sum(1) * (size[0] * size[1] / (grid[0] * grid[1]))
            row.append(_joined(out[:, :, prefix:], size, part.shape))
        rows.append(torch.cat(row, 2))
    return torch.cat([mean, torch.cat(rows, 1).flatten(1, 2)], 1)


def _bands(length: int, window: int) -> list[int]:
    """Where the whole windows begin and end, and where what is left ends."""
    return sorted({0, length // window * window, length})


def _split(part: Tensor, size: tuple[int, int]) -> Tensor:
    """(batch, rows, columns, channels) as (batch, windows, tokens, channels)."""
    cells = part.unflatten(1, (-1, size[0])).unflatten(3, (-1, size[1]))
    return cells.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def _joined(windows: Tensor, size: tuple[int, int], shape: torch.Size) -> Tensor:
    """The inverse of `_split`."""
    cells = windows.unflatten(1, (shape[1] // size[0], shape[2] // size[1])).unflatten(3, size)
    return cells.transpose(2, 3).reshape(shape)
