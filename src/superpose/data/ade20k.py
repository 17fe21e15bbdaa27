"""Images with the class of every pixel, in the layout of ADE20K."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import tv_tensors

from superpose.data.batches import IGNORED, collate_alike
from superpose.data.images import DataMissingError, find_root
from superpose.data.pictures import read_colours, read_numbers

LAYOUT = (
    "ADE20K is laid out as images/<split>/*.jpg and annotations/<split>/*.png, <split> being training or validation; "
    "ADEChallengeData2016.zip from data.csail.mit.edu/places/ADEchallenge unpacks to it"
)


class ADE20K(Dataset):
    """Images and the class of every pixel, from `images/<split>` and `annotations/<split>`.

    An item is the image, uint8 (3, height, width), and the map of classes, int64 (height, width).

    Args:
        root: Folder of the data; one that does not exist here is looked for in the folder SUPERPOSE_DATA names.
        split: Name of a part: `training` or `validation`.
        transforms: Joint transforms of torchvision v2 on image and map, see `superpose.data.joint`.
        reduce_zero_label: Whether 0 in the files means unlabelled, as in ADE20K: it becomes 255, which is ignored, and
            classes count from 0 (150 of them). Otherwise classes are as in the files.

    Raises:
        DataMissingError: If a folder is not there.
        ValueError: If a folder is empty, an image and a map have no counterpart, or a map is of another size.
    """

    collate = staticmethod(collate_alike)

    def __init__(
        self,
        root: str | Path,
        split: str = "training",
        *,
        transforms: Callable[..., Any] | None = None,
        reduce_zero_label: bool = True,
    ) -> None:
        root = find_root(root, LAYOUT)
        images = _files(root / "images" / split, ".jpg", ".jpeg")
        maps = _files(root / "annotations" / split, ".png")
        if alone := sorted(images.keys() ^ maps.keys()):
            raise ValueError(
                f"{len(alone)} images or maps of {root} ({split}) have no counterpart, such as {alone[0]}: "
                "each images/<split>/x.jpg needs annotations/<split>/x.png; unpack both again."
            )
        self.files = [(images[name], maps[name]) for name in sorted(images)]
        self.transforms = transforms
        self.reduce_zero_label = reduce_zero_label

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        path, beside = self.files[index]
        image = tv_tensors.Image(read_colours(path))
        classes = read_numbers(beside)
        if classes.shape != image.shape[-2:]:
            raise ValueError(
                f"{beside} has shape {tuple(classes.shape)}, but is to hold one class for each pixel of an image of "
                f"{tuple(image.shape[-2:])}; is it a picture of the classes instead?"
            )
        if self.reduce_zero_label:
            classes = torch.where((classes == 0) | (classes == IGNORED), IGNORED, classes - 1)
        item = image, tv_tensors.Mask(classes)
        return item if self.transforms is None else self.transforms(*item)


def _files(folder: Path, *endings: str) -> dict[str, Path]:
    if not folder.is_dir():
        raise DataMissingError(f"there is no folder {folder}. {LAYOUT}.")
    found = {path.stem: path for path in folder.iterdir() if path.suffix.lower() in endings}
    if not found:
        raise ValueError(f"{folder} holds no files *{endings[0]}. {LAYOUT}.")
    return found
