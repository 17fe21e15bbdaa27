"""Data for the Trainer: what is learned from, what chooses the best weights, and what is reported."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from lightning.pytorch import LightningDataModule
from timm.data import create_transform
from torch.utils.data import DataLoader, Dataset

from superpose.data.images import TRAIN, FolderImages, Images, open_images
from superpose.data.order import EvaluationOrder, Share, TrainingLoader, TrainingOrder
from superpose.data.views import Augmentation, InMemory, Views, decode_all

SPLIT = 20
"""Chooses the held-out images; the same in all runs, so that they can be compared."""
FLIPS_AND_CROPS = Augmentation()
"""What is usual for CIFAR."""


class Data(LightningDataModule, ABC):
    """Three datasets, which the training and evaluation loaders ask for samples by epoch and index.

    A dataset takes the key `(epoch, index)`, and its method `collate` makes a batch of a list of its samples.

    Args:
        batch_size: Samples of one step, over all processes and accumulated batches.
        workers: Processes that prepare samples, for each process that trains.
        seed: Chooses the order and all that augmentation leaves to chance; the command gives that of the run.
    """

    def __init__(self, *, batch_size: int, workers: int = 0, seed: int = 0) -> None:
        super().__init__()
        self.batch_size, self.workers, self.seed = batch_size, workers, seed
        self._loader: TrainingLoader | None = None
        self._state: dict[str, int] | None = None

    @abstractmethod
    def training_set(self) -> Dataset[Any]:
        """What is learned from, without what is held out."""

    @abstractmethod
    def validation_set(self) -> Dataset[Any]:
        """What chooses the best weights."""

    @abstractmethod
    def test_set(self) -> Dataset[Any]:
        """What is reported and never chosen by."""

    def train_dataloader(self) -> TrainingLoader:
        """Batches of one epoch after the other, from where a loaded state stopped."""
        dataset, share = self.training_set(), self._share()
        order = TrainingOrder(len(dataset), self.batch_size, self.seed, share)  # type: ignore[arg-type]
        self._check_pairs(share.world_size * share.accumulate)
        self._loader = TrainingLoader(dataset, order, **self._options(dataset), persistent_workers=self.workers > 0)
        if self._state is not None:
            self._loader.load_state_dict(self._state)
        return self._loader

    def val_dataloader(self) -> DataLoader[Any]:
        """The held-out samples, each once."""
        return self._evaluation(self.validation_set())

    def test_dataloader(self) -> DataLoader[Any]:
        """The test samples, each once."""
        return self._evaluation(self.test_set())

    def state_dict(self) -> dict[str, int]:
        """Where the training loader is."""
        return {} if self._loader is None else self._loader.state_dict()

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Begin there."""
        self._state = dict(state_dict)
        if self._loader is not None:  # some strategies load a state when everything else is ready
            self._loader.load_state_dict(self._state)

    def _evaluation(self, dataset: Dataset[Any]) -> DataLoader[Any]:
        order = EvaluationOrder(len(dataset), self.batch_size, self._share())  # type: ignore[arg-type]
        return DataLoader(dataset, batch_sampler=order, **self._options(dataset))

    def _options(self, dataset: Any) -> dict[str, Any]:
        on_gpu = self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"
        return {"collate_fn": dataset.collate, "num_workers": self.workers, "pin_memory": on_gpu and self.workers > 0}

    def _check_pairs(self, parts: int) -> None:
        """Refuse odd batches where the task takes pairs."""
        pairs = self.trainer is not None and self.trainer.lightning_module.task.takes_pairs
        if pairs and self.batch_size // parts % 2:
            raise ValueError(
                f"mixup and CutMix blend the images of a batch in pairs, but batch_size {self.batch_size} gives "
                f"batches of {self.batch_size // parts}; take a multiple of {2 * parts}."
            )

    def _share(self) -> Share:
        if self.trainer is None:
            return Share()
        return Share(self.trainer.global_rank, self.trainer.world_size, self.trainer.accumulate_grad_batches)


@dataclass(frozen=True)
class Pixels:
    """What images are made of when they reach the network.

    Args:
        channels: 3 for colours, 1 for grey.
        mean: Mean of each channel that is taken off, of values from 0 to 1; ImageNet's by default.
        std: Standard deviation of each channel that they are divided by.
    """

    channels: Literal[1, 3] = 3
    mean: Sequence[float] = (0.485, 0.456, 0.406)
    std: Sequence[float] = (0.229, 0.224, 0.225)

    def __post_init__(self) -> None:
        if not len(self.mean) == len(self.std) == self.channels:
            raise ValueError(
                f"mean and std need {self.channels} values, one a channel; got {self.mean} and {self.std}."
            )
        if not all(value > 0 for value in self.std):
            raise ValueError(f"std should be above 0, for values are divided by it; got {self.std}.")

    @property
    def mode(self) -> str:
        """Pillow's name for them."""
        return "RGB" if self.channels == 3 else "L"


class ImageData(Data):
    """Labelled images from a folder; a share of the training images is held out to choose the best weights.

    Args:
        root: Folder of the data set, see `superpose.data.images.open_images`.
        held_out: Share of the training images to hold out, above 0 and below 1; the same images for all seeds.
        pixels: What they are made of.
        **loading: Arguments of `Data`.
    """

    def __init__(self, root: str, *, held_out: float = 0.1, pixels: Pixels = Pixels(), **loading: Any) -> None:
        super().__init__(**loading)
        if not 0 < held_out < 1:
            raise ValueError(f"held_out should be a share above 0 and below 1, got {held_out}.")
        self.root, self.held_out, self.pixels = root, held_out, pixels

    def setup(self, stage: str) -> None:
        """Open what the stage needs."""
        if stage == "test":
            self.test_images = self._opened("test")
            return
        self.train_images = self._opened(TRAIN)
        order = np.random.default_rng(SPLIT).permutation(len(self.train_images))
        held = max(1, round(self.held_out * len(order)))
        self.held, self.kept = np.sort(order[:held]), np.sort(order[held:])

    def _opened(self, split: str) -> Images:
        images = open_images(self.root, split)
        known = None if self.trainer is None else getattr(self.trainer.lightning_module.task, "num_classes", None)
        if known is not None and images.num_classes > known:
            raise ValueError(
                f"{self.root} has {images.num_classes} classes, the task {known}; give --task.num_classes {images.num_classes}."
            )
        if known is not None:
            self._check_labels(images, split, known)
        return images

    def _check_labels(self, images: Images, split: str, known: int) -> None:
        """Refuse images without classes, and classes whose numbers nobody knows."""
        bad = np.flatnonzero(images.labels < 0)
        if len(bad):
            raise ValueError(
                f"{len(bad)} of {len(images)} {split} images of {self.root} have no class, such as number {bad[0]} with "
                f"the label {images.labels[bad[0]]}; classes are numbered from 0 to {known - 1}. Leave such images out."
            )
        unsure = split != TRAIN and isinstance(images, FolderImages) and not images.is_numbered
        if unsure and images.num_classes < known:
            raise ValueError(
                f"the {split} images of {self.root} are in folders of {images.num_classes} classes, but the task knows "
                f"{known}, and the folder {TRAIN} is not there to tell their numbers; put it there, with a folder for "
                "each class."
            )


@dataclass(frozen=True)
class LargeAugmentation:
    """What happens to large images while they are learned from, by timm's `create_transform`.

    Args:
        auto_augment: timm's name of the policy, such as `rand-m9-mstd0.5`; None leaves it out.
        erasing: Probability that a piece is erased (Zhong et al. 2020), filled with noise.
        flip: Probability of a mirrored image.
        scale: Smallest and largest share of the area that is cut out.
        color_jitter: Strength of jitter in colour, where there is no policy.
    """

    auto_augment: str | None = "rand-m9-mstd0.5"
    erasing: float = 0.25
    flip: float = 0.5
    scale: tuple[float, float] = (0.08, 1.0)
    color_jitter: float | None = 0.4


class LargeImages(ImageData):
    """Images of the size of ImageNet's: each is read and transformed by itself, in worker processes.

    Args:
        root: Folder of the data set.
        size: Side of what reaches the network, in pixels.
        crop: Share of the shorter side that evaluation cuts out of the centre.
        augmentation: What happens to images that are learned from.
        held_out: Share of the training images to hold out.
        pixels: What they are made of.
        **loading: Arguments of `Data`.
    """

    def __init__(
        self,
        root: str,
        *,
        size: int = 224,
        crop: float = 0.875,
        augmentation: LargeAugmentation = LargeAugmentation(),
        held_out: float = 0.01,
        pixels: Pixels = Pixels(),
        **loading: Any,
    ) -> None:
        super().__init__(root, held_out=held_out, pixels=pixels, **loading)
        self.size, self.crop, self.augmentation = size, crop, augmentation

    def training_set(self) -> Views:
        """Augmented images."""
        a = self.augmentation
        transform = self._transform(
            is_training=True,
            auto_augment=a.auto_augment,
            re_prob=a.erasing,
            re_mode="pixel",
            hflip=a.flip,
            scale=a.scale,
            color_jitter=a.color_jitter,
        )
        return Views(self.train_images, self.kept, transform, self.seed, self.pixels.mode)

    def validation_set(self) -> Views:
        """The centres of the held-out images."""
        return Views(self.train_images, self.held, self._plain(), self.seed, self.pixels.mode)

    def test_set(self) -> Views:
        """The centres of the test images."""
        return Views(self.test_images, range(len(self.test_images)), self._plain(), self.seed, self.pixels.mode)

    def _plain(self) -> Callable[[Any], Any]:
        return self._transform(is_training=False, crop_pct=self.crop)

    def _transform(self, **options: Any) -> Callable[[Any], Any]:
        size = (self.pixels.channels, self.size, self.size)
        mean, std = tuple(self.pixels.mean), tuple(self.pixels.std)
        return create_transform(input_size=size, interpolation="bicubic", mean=mean, std=std, **options)


class SmallImages(ImageData):
    """Images of one small size, decoded once and kept on the device, where whole batches are augmented at once.

    Args:
        root: Folder of the data set.
        augmentation: What happens to images that are learned from.
        held_out: Share of the training images to hold out.
        pixels: What they are made of.
        **loading: Arguments of `Data`; no workers are needed.
    """

    def __init__(
        self,
        root: str,
        *,
        augmentation: Augmentation = FLIPS_AND_CROPS,
        held_out: float = 0.1,
        pixels: Pixels = Pixels(),
        **loading: Any,
    ) -> None:
        super().__init__(root, held_out=held_out, pixels=pixels, **loading)
        if self.workers:
            raise ValueError("SmallImages keeps its images on the device, where workers cannot be; leave workers at 0.")
        self.augmentation = augmentation

    def training_set(self) -> InMemory:
        """Augmented images."""
        return self._in_memory(self.train_images, self.kept, self.augmentation)

    def validation_set(self) -> InMemory:
        """The held-out images."""
        return self._in_memory(self.train_images, self.held)

    def test_set(self) -> InMemory:
        """The test images."""
        return self._in_memory(self.test_images, np.arange(len(self.test_images)))

    def _in_memory(self, images: Images, indices: np.ndarray, augmentation: Augmentation | None = None) -> InMemory:
        device = None if self.trainer is None else self.trainer.strategy.root_device
        pixels, labels = (tensor.to(device) for tensor in decode_all(images, indices, self.pixels.mode))
        return InMemory(pixels, labels, self.pixels.mean, self.pixels.std, augmentation, self.seed)
