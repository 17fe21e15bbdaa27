"""Data of dense tasks for the Trainer: things to find, or classes of pixels."""

from abc import abstractmethod
from typing import Any

import numpy as np
from torchvision.transforms import v2

from superpose.data.ade20k import ADE20K
from superpose.data.coco import CocoInstances
from superpose.data.joint import MEAN, STD, JointViews, detection_transforms, segmentation_transforms
from superpose.data.shapes import Shapes
from superpose.train.data import SPLIT, Data

Colour = tuple[float, float, float]


class DenseData(Data):
    """Images with targets; a share of the training images is held out to choose the best weights.

    Args:
        held_out: Share of the training images to hold out, above 0 and below 1; the same images for all seeds.
        **loading: Arguments of `Data`.
    """

    def __init__(self, *, held_out: float = 0.01, **loading: Any) -> None:
        super().__init__(**loading)
        if not 0 < held_out < 1:
            raise ValueError(f"held_out should be a share above 0 and below 1, got {held_out}.")
        self.held_out = held_out

    @abstractmethod
    def opened(self, train: bool) -> Any:
        """All images to learn from, or those to report on, without transforms."""

    @abstractmethod
    def transforms(self, train: bool) -> v2.Transform:
        """What happens to images that are learned from, or to others."""

    def setup(self, stage: str) -> None:
        """Open what the stage needs."""
        if stage == "test":
            self.test_items = self.opened(train=False)
            return
        self.train_items = self.opened(train=True)
        order = np.random.default_rng(SPLIT).permutation(len(self.train_items))
        held = max(1, round(self.held_out * len(order)))
        self.held, self.kept = np.sort(order[:held]), np.sort(order[held:])

    def training_set(self) -> JointViews:
        """Augmented images."""
        return self._views(self.train_items, self.kept, train=True)

    def validation_set(self) -> JointViews:
        """The held-out images."""
        return self._views(self.train_items, self.held, train=False)

    def test_set(self) -> JointViews:
        """The images to report on."""
        return self._views(self.test_items, np.arange(len(self.test_items)), train=False)

    def _views(self, items: Any, indices: np.ndarray, train: bool) -> JointViews:
        return JointViews(items, indices.tolist(), self.transforms(train), self.seed)


class CocoData(DenseData):
    """Things to find, in the layout of COCO; see `superpose.data.coco`.

    The held-out images are among those with things on them, and judged without crowds; the test images are all those of
    their split, judged as COCO does.

    Args:
        root: Folder of the data set.
        train_split: Images to learn from.
        test_split: Images to report on.
        size: Side of random crops that are learned from, see `detection_transforms`; whole images if None.
        scales: Range of the factor by which images are resized before.
        masks: Whether there are masks.
        held_out: Share of the training images to hold out.
        **loading: Arguments of `Data`.
    """

    def __init__(
        self,
        root: str,
        *,
        train_split: str = "train2017",
        test_split: str = "val2017",
        size: int | None = None,
        scales: tuple[float, float] = (0.1, 2.0),
        masks: bool = True,
        held_out: float = 0.01,
        **loading: Any,
    ) -> None:
        super().__init__(held_out=held_out, **loading)
        self.root, self.masks = root, masks
        self.train_split, self.test_split = train_split, test_split
        self.size, self.scales = size, scales

    def opened(self, train: bool) -> CocoInstances:
        """The images of one split."""
        split = self.train_split if train else self.test_split
        items = CocoInstances(self.root, split, train=train, masks=self.masks)
        known = None if self.trainer is None else getattr(self.trainer.lightning_module.task, "num_classes", None)
        if known is not None and len(items.classes) > known:
            raise ValueError(f"{self.root} has {len(items.classes)} categories, but the detector knows {known}.")
        return items

    def transforms(self, train: bool) -> v2.Transform:
        """Flips and crops, or the image as it is."""
        return detection_transforms(train, self.size, self.scales)


class ADE20KData(DenseData):
    """Classes of pixels, in the layout of ADE20K; see `superpose.data.ade20k`.

    Args:
        root: Folder of the data set.
        size: Side of crops, see `segmentation_transforms`.
        scales: Range of the factor by which images are resized before.
        mean: Of the values of each colour.
        std: Likewise.
        reduce_zero_label: Whether 0 in the files means unlabelled.
        held_out: Share of the training images to hold out.
        **loading: Arguments of `Data`.
    """

    def __init__(
        self,
        root: str,
        *,
        size: int = 512,
        scales: tuple[float, float] = (0.5, 2.0),
        mean: Colour = MEAN,
        std: Colour = STD,
        reduce_zero_label: bool = True,
        held_out: float = 0.01,
        **loading: Any,
    ) -> None:  # fmt: skip
        super().__init__(held_out=held_out, **loading)
        self.root, self.reduce_zero_label = root, reduce_zero_label
        self.size, self.scales, self.mean, self.std = size, scales, mean, std

    def opened(self, train: bool) -> ADE20K:
        """The images of one split."""
        split = "training" if train else "validation"
        return ADE20K(self.root, split, reduce_zero_label=self.reduce_zero_label)

    def transforms(self, train: bool) -> v2.Transform:
        """Random crops, or the whole image at the size it is judged at."""
        return segmentation_transforms(train, self.size, scales=self.scales, mean=self.mean, std=self.std)


class ShapesData(DenseData):
    """Discs, squares and triangles on noise, made as they are needed; see `superpose.data.shapes`.

    Args:
        count: Number of images to learn from, the held-out ones among them.
        test_count: Number of images to report on, none of which is among the others.
        size: Side of an image.
        semantic: Classes of pixels instead of things.
        held_out: Share of the images to hold out.
        **loading: Arguments of `Data`.
    """

    def __init__(
        self,
        *,
        count: int = 256,
        test_count: int = 64,
        size: int = 96,
        semantic: bool = False,
        held_out: float = 0.1,
        **loading: Any,
    ) -> None:
        super().__init__(held_out=held_out, **loading)
        self.count, self.test_count, self.size, self.semantic = count, test_count, size, semantic

    def opened(self, train: bool) -> Shapes:
        """Other images for learning than for reporting."""
        return Shapes(
            self.count if train else self.test_count, self.size, seed=0 if train else 1, semantic=self.semantic
        )

    def transforms(self, train: bool) -> v2.Transform:
        """Flips, or nothing but what the network expects of values."""
        if not self.semantic:
            return detection_transforms(train)
        flip = [v2.RandomHorizontalFlip()] if train else []
        return v2.Compose([*flip, segmentation_transforms(train=False, size=self.size)])
