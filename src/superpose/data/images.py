"""Images with labels, wherever they are: folders of classes, Parquet files, or WebDataset shards."""

import io
import os
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from torch.utils.data import Dataset

LAYOUTS = "{split}/<class>/<image>, {split}*.parquet (columns image or img, and label), or {split}*.tar (WebDataset)"
TRAIN = "train"
REPORTED = ("test", "val", "validation")
"""Splits to report on, the first that is there and has labels."""
FOLDERS, PARQUET, SHARDS = "/", ".parquet", ".tar"
"""Endings of what the layouts consist of."""
UNLABELLED = -1
"""The label of an image whose class nobody tells, as in Hugging Face's test data."""


class DataMissingError(ValueError):
    """The data are not where they should be."""


class Images(Dataset[tuple[Image.Image, int]]):
    """Images and the numbers of their classes, by index."""

    num_classes: int
    """One more than the largest number of a class."""
    labels: np.ndarray
    """The number of the class of each image, below 0 where nobody tells it."""

    def __len__(self) -> int:
        raise NotImplementedError

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        raise NotImplementedError


class FolderImages(Images):
    """A folder for each class, in alphabetical order, as ImageNet is laid out.

    Args:
        folder: Holds the folders of the classes.
        classes: Names of all classes in the order of their numbers, some of which may have no images here; if None,
            those that have a folder, and each must have images.

    Raises:
        ValueError: If a class has no number, or no images although it must.
    """

    def __init__(self, folder: Path, classes: Sequence[str] | None = None) -> None:
        from torchvision.datasets.folder import IMG_EXTENSIONS, make_dataset

        here = class_names(folder)
        self.classes = tuple(here if classes is None else classes)
        self.is_numbered = classes is not None
        """Whether the numbers of the classes were given."""
        if unknown := sorted(set(here) - set(self.classes)):
            raise ValueError(
                f"{folder} has a folder {unknown[0]}, but there is no such class among those of the training images, "
                f"{', '.join(self.classes[:10])}{', ...' if len(self.classes) > 10 else ''}; rename it or take it away."
            )
        numbers = {name: n for n, name in enumerate(self.classes)}
        samples = make_dataset(str(folder), numbers, IMG_EXTENSIONS, allow_empty=True)
        self._paths = [path for path, _ in samples]
        self.labels = np.array([label for _, label in samples], np.int64)
        self.num_classes = len(self.classes)
        if classes is None and (empty := sorted(set(numbers.values()) - set(self.labels.tolist()))):
            raise ValueError(f"{folder / self.classes[empty[0]]} holds no images; add some, or take the folder away.")

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        return decoded(Path(self._paths[index]).read_bytes()).convert("RGB"), int(self.labels[index])


class ParquetImages(Images):
    """Parquet files with a column `image` or `img` of structs whose `bytes` are a file, and a column `label`."""

    def __init__(self, files: Sequence[Path]) -> None:
        import pyarrow.parquet as pq
        from pyarrow import concat_tables

        names = pq.read_schema(files[0]).names
        column = next((name for name in ("image", "img") if name in names), None)
        if column is None or "label" not in names:
            raise ValueError(f"{files[0]} has the columns {names}, but needs image or img, and label.")
        self.labels = read_labels(files)
        self.num_classes = int(self.labels.max(initial=UNLABELLED)) + 1
        # Chunks stay apart: together they may have more bytes than the offsets of one array can count.
        self._images = concat_tables(pq.read_table(file, columns=[column], memory_map=True) for file in files)[column]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        return decoded(self._images[index]["bytes"].as_py()), int(self.labels[index])


class ShardImages(Images):
    """WebDataset shards: tar files of pairs `<key>.jpg` (or another image) and `<key>.cls`, read in place by index.

    Reading by index instead of as a stream lets shards be shuffled, divided and resumed exactly as any other data. The
    headers of all files are read once, at the start.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = list(files)
        self._images: list[tuple[int, int, int]] = []
        labels: list[int] = []
        for n, path in enumerate(self._files):
            with tarfile.open(path) as tar:
                labels += self._read_headers(n, tar)
        self.labels = np.array(labels, np.int64)
        self.num_classes = int(self.labels.max()) + 1

    def _read_headers(self, n: int, tar: tarfile.TarFile) -> list[int]:
        images, labels = {}, {}
        for member in tar:
            folder, _, name = member.name.rpartition("/")
            stem, _, ending = name.partition(".")  # a key ends at the first dot of its name, says WebDataset
            if ending.lower() == "cls":
                labels[folder, stem] = int(tar.extractfile(member).read())  # type: ignore[union-attr]
            elif ending.lower() in ("jpg", "jpeg", "png", "webp"):
                images[folder, stem] = (n, member.offset_data, member.size)
        odd = images.keys() ^ labels.keys()
        if odd or not images:
            what = f"{'/'.join(filter(None, min(odd)))} has no image or no .cls" if odd else "there are none"
            raise ValueError(f"{tar.name!s} should hold an image and a .cls file for each key, but {what}.")
        self._images += images.values()
        return [labels[key] for key in images]

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        n, offset, size = self._images[index]
        with self._files[n].open("rb") as file:
            file.seek(offset)
            return decoded(file.read(size)), int(self.labels[index])


def open_images(root: str | os.PathLike[str], split: str) -> Images:
    """The images of one split of a data set.

    Folders of classes are numbered as those of `train`, if these are beside them.

    Args:
        root: Folder of the data set; one that does not exist here is looked for in the folder SUPERPOSE_DATA names.
        split: `train` or `test`; where there is no `test`, or one without labels, it is `val` or `validation`, as in
            ImageNet.

    Raises:
        DataMissingError: If there are none.
        ValueError: If they are in no known layout, or of a class that `train` does not have.
    """
    folder = find_root(root)
    there = [name for name in (REPORTED if split == "test" else (split,)) if _layout(folder, name) is not None]
    if not there:
        raise DataMissingError(f"{folder} holds no images to {split} with: expected {LAYOUTS.format(split=split)}.")
    name = next((name for name in there if _has_labels(folder, name)), there[0])
    if _layout(folder, name) == FOLDERS:
        classes = None if name == TRAIN else class_names(folder / TRAIN)
        return FolderImages(folder / name, classes or None)
    files = _files(folder, name, PARQUET)
    return ParquetImages(files) if files else ShardImages(_files(folder, name, SHARDS))


def class_names(folder: Path) -> list[str]:
    """Names of the classes that have a folder in this one, in their order; none if there is no such folder."""
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir()) if folder.is_dir() else []


def read_labels(files: Sequence[Path]) -> np.ndarray:
    """The labels in Parquet files, `UNLABELLED` where there is none.

    Raises:
        ValueError: If they are no whole numbers.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    labels = pa.concat_tables(pq.read_table(file, columns=["label"], memory_map=True) for file in files)["label"]
    if not (pa.types.is_integer(labels.type) or pa.types.is_null(labels.type)):
        raise ValueError(
            f"the column label of {files[0]} holds {labels.type}, but the classes should be whole numbers from 0."
        )
    return labels.cast(pa.int64()).fill_null(UNLABELLED).to_numpy()


def _layout(folder: Path, name: str) -> str | None:
    """In which layout a split is there, None if it is not."""
    if class_names(folder / name):
        return FOLDERS
    return next((ending for ending in (PARQUET, SHARDS) if _files(folder, name, ending)), None)


def _files(folder: Path, name: str, ending: str) -> list[Path]:
    return sorted(folder.glob(f"{name}*{ending}"))


def _has_labels(folder: Path, name: str) -> bool:
    """Whether somebody tells the classes; only Parquet files may do without."""
    if _layout(folder, name) != PARQUET:
        return True
    import pyarrow.parquet as pq

    files = _files(folder, name, PARQUET)
    return "label" in pq.read_schema(files[0]).names and bool((read_labels(files) >= 0).any())


def find_root(root: str | os.PathLike[str], layout: str = f"layouts: {LAYOUTS.format(split='train')}") -> Path:
    """The folder of a data set, here or in the folder that SUPERPOSE_DATA names.

    Args:
        root: Its path, or its name there.
        layout: How it is to be laid out, for the error.

    Raises:
        DataMissingError: If there is no such folder.
    """
    base = os.environ.get("SUPERPOSE_DATA")
    places = [Path(root), *([Path(base) / root] if base else [])]
    for place in places:
        if place.is_dir():
            return place
    hint = "" if base else " (or set SUPERPOSE_DATA to the folder that holds your data sets)"
    raise DataMissingError(
        f"no data in {' or '.join(str(place.absolute()) for place in places)}: put them there, or name their folder with "
        f"--data.root{hint}. Nothing is downloaded; {layout}."
    )


def decoded(data: bytes) -> Image.Image:
    """The image in the bytes of a file."""
    image = Image.open(io.BytesIO(data))
    image.load()
    return image
