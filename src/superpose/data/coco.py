"""Images with boxes and masks of things, in the layout of COCO."""

import json
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from pycocotools import mask as rle
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import tv_tensors

from superpose.data.batches import collate_lists
from superpose.data.images import DataMissingError, find_root
from superpose.data.pictures import read_colours

LAYOUT = (
    "COCO is laid out as annotations/instances_<split>.json and <split>/<images>; "
    "train2017.zip, val2017.zip and annotations_trainval2017.zip from cocodataset.org unpack to it"
)
Target = dict[str, Any]


class CocoInstances(Dataset):
    """Images and the things on them, from `annotations/instances_<split>.json` and the folder `<split>`.

    An item is the image, uint8 (3, height, width), and a dict as torchvision's detectors take it: `boxes` (things, 4) as
    left, top, right and bottom; `labels` from 1, in the order of the categories' numbers, as those have gaps in COCO;
    `masks` (things, height, width); `iscrowd`, `area` and `image_id`. Boxes are cut at the border of the image.

    Args:
        root: Folder of the data; one that does not exist here is looked for in the folder SUPERPOSE_DATA names.
        split: Name of a part, such as `train2017`.
        transforms: Joint transforms of torchvision v2 on image and target, see `superpose.data.joint`.
        train: Leave out crowds, and images without a thing, from which a detector learns nothing.
        masks: Whether to make masks, which takes most of the time; not every data set in this layout has them.
        images: Folder of the images, if it is not `<split>` in the root.

    Raises:
        DataMissingError: If a file or folder is not there.
        ValueError: If the annotations are not COCO's.
    """

    classes: tuple[str, ...]
    """Names of the labels from 1 on."""
    categories: tuple[int, ...]
    """COCO's own numbers of the labels from 1 on."""
    collate = staticmethod(collate_lists)

    def __init__(
        self,
        root: str | Path,
        split: str = "train2017",
        *,
        transforms: Callable[..., Any] | None = None,
        train: bool = False,
        masks: bool = True,
        images: str | Path | None = None,
    ) -> None:
        root = find_root(root, LAYOUT)
        self.folder = root / split if images is None else Path(images)
        self.transforms, self.masks = transforms, masks
        path = root / "annotations" / f"instances_{split}.json"
        content = _read(path)
        if not self.folder.is_dir():
            raise DataMissingError(f"there is no folder {self.folder} of images. {LAYOUT}.")
        named = sorted((int(category["id"]), str(category["name"])) for category in content["categories"])
        self.categories, self.classes = tuple(number for number, _ in named), tuple(name for _, name in named)
        self._label = {number: label for label, number in enumerate(self.categories, 1)}
        self._things: dict[int, list[Target]] = defaultdict(list)
        for thing in content["annotations"]:
            if thing["category_id"] not in self._label:
                raise ValueError(f"{path}: annotation {thing.get('id')} has no category {thing['category_id']}.")
            if not (train and thing.get("iscrowd", 0)):
                self._things[thing["image_id"]].append(thing)
        self.records = [image for image in content["images"] if not train or self._things.get(image["id"])]
        if not self.records:
            raise ValueError(f"{path} has no image{' with a thing on it' if train else ''}.")

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> tuple[Tensor, Target]:
        record = self.records[index]
        path = self.folder / record["file_name"]
        if not path.is_file():
            raise DataMissingError(f"there is no image {path}, which the annotations name; unpack the images again.")
        image = tv_tensors.Image(read_colours(path))
        target = self._target(self._things.get(record["id"], []), image.shape[-2], image.shape[-1])
        target["image_id"] = record["id"]
        return (image, target) if self.transforms is None else self.transforms(image, target)

    def _target(self, things: list[Target], height: int, width: int) -> Target:
        boxes = torch.tensor([thing["bbox"] for thing in things], dtype=torch.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        boxes[:, 0::2].clamp_(0, width)
        boxes[:, 1::2].clamp_(0, height)
        some = (boxes[:, 2:] > boxes[:, :2]).all(1)
        things = [thing for thing, keep in zip(things, some.tolist(), strict=True) if keep]
        area = (boxes[some, 2:] - boxes[some, :2]).prod(1).tolist()
        target: Target = {
            "boxes": tv_tensors.BoundingBoxes(boxes[some], format="XYXY", canvas_size=(height, width)),
            "labels": torch.tensor([self._label[thing["category_id"]] for thing in things], dtype=torch.int64),
            "iscrowd": torch.tensor([thing.get("iscrowd", 0) for thing in things], dtype=torch.int64),
            "area": torch.tensor([float(t.get("area", a)) for t, a in zip(things, area, strict=True)]),
        }
        if self.masks:
            masks = [_mask(thing, height, width) for thing in things]
            target["masks"] = tv_tensors.Mask(torch.stack(masks) if masks else torch.zeros(0, height, width).byte())
        return target


def _mask(thing: Target, height: int, width: int) -> Tensor:
    """The mask of a thing, from polygons or runs of pixels."""
    segments = thing.get("segmentation")
    if not segments:
        raise ValueError(f"annotation {thing.get('id')} has no segmentation; read boxes alone with masks=False.")
    if isinstance(segments, list):
        runs = rle.merge(rle.frPyObjects(segments, height, width))
    else:
        runs = rle.frPyObjects(segments, height, width) if isinstance(segments["counts"], list) else segments
    return torch.from_numpy(rle.decode(runs))


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        others = sorted(other.stem.removeprefix("instances_") for other in path.parent.glob("instances_*.json"))
        there = f"there are the splits {', '.join(others)}" if others else LAYOUT
        raise DataMissingError(f"there is no file {path}; {there}.")
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is no JSON ({error}); it may be cut off, so fetch it again.") from error
    missing = [
        key
        for key in ("images", "annotations", "categories")
        if not isinstance(content, dict) or not isinstance(content.get(key), list)
    ]
    if missing:
        raise ValueError(f"{path} has no list of {' and of '.join(missing)}, so it holds no instances. {LAYOUT}.")
    return content
