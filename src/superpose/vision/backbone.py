"""Transformers of timm as backbones."""

from collections.abc import Sequence
from typing import Any

import timm
from torch import nn

from superpose.vision.windows import WindowedViT


def create_backbone(
    name: str,
    *,
    window: int | None = None,
    global_blocks: int | Sequence[int] = 4,
    model_arguments: dict[str, Any] | None = None,
) -> nn.Module:
    """A transformer of timm for images of any size, within windows if they are large.

    Args:
        name: timm's name of the model; ours are among them once `superpose.vision` is imported.
        window: Side of the windows in tokens, 14 in ViTDet; attention is global everywhere if None.
        global_blocks: Blocks that are global nevertheless, see `WindowedViT`.
        model_arguments: More arguments of `timm.create_model`, such as `pretrained` or `drop_path_rate`.

    Raises:
        ValueError: If there is no such model.

    Example:
        >>> create_backbone("vit_tiny_patch16_224", window=14).global_blocks
        (2, 5, 8, 11)
    """
    if not timm.is_model(name):
        near = timm.list_models(f"*{name[:4]}*")[:8]
        raise ValueError(f"timm knows no model {name!r}; near are {', '.join(near) or 'none'}.")
    model = timm.create_model(name, dynamic_img_size=True, **(model_arguments or {}))
    return model if window is None else WindowedViT(model, window, global_blocks)
