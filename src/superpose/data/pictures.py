"""Files of pictures as tensors."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int, UInt8
from PIL import Image
from torch import Tensor


def read_colours(path: Path) -> UInt8[Tensor, "3 height width"]:
    """The colours of a picture, as stored: it is not turned the way its camera was held."""
    with Image.open(path) as picture:
        return torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1).contiguous()


def read_numbers(path: Path) -> Int[Tensor, "*shape"]:
    """The numbers that a picture stores for its pixels, which are indices if it has a palette."""
    with Image.open(path) as picture:
        return torch.from_numpy(np.array(picture)).long()
