"""Images with labels, wherever they are: folders of classes, Parquet files, or WebDataset shards."""

import io
import os
import tarfile
from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from torch.utils.data import Dataset

LAYOUTS = "{split}/<class>/<image>, {split}*.parquet (columns image or img, and label), or {split}*.tar (WebDataset)"
REPORTED = ("test", "val", "validation")
"""Splits to report on, the first that is there."""


class DataMissingError(ValueError):
    """The data are not where they should be."""


class Images(Dataset[tuple[Image.Image, int]]):
    """Images and the numbers of their classes, by index."""

    num_classes: int
    """One more than the largest number of a class."""

    def __len__(self) -> int:
        raise NotImplementedError

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        raise NotImplementedError


class FolderImages(Images):
    """A folder for each class, in alphabetical order, as ImageNet is laid out."""

    def __init__(self, folder: Path) -> None:
        from torchvision.datasets import ImageFolder

        self._folder = ImageFolder(str(folder))
        self.num_classes = len(self._folder.classes)

    def __len__(self) -> int:
        return len(self._folder)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        return self._folder[index]


class ParquetImages(Images):
    """Parquet files with a column `image` or `img` of structs whose `bytes` are a file, and a column `label`."""

    def __init__(self, files: Sequence[Path]) -> None:
        import pyarrow.parquet as pq
        from pyarrow import concat_tables

        names = pq.read_schema(files[0]).names
        column = next((name for name in ("image", "img") if name in names), None)
        if column is None or "label" not in names:
            raise ValueError(f"{files[0]} has the columns {names}, but needs image or img, and label.")
        table = concat_tables(pq.read_table(file, columns=[column, "label"], memory_map=True) for file in files)
        self._labels = table["label"].to_numpy()
        self.num_classes = int(self._labels.max()) + 1
        self._bytes = table[column].combine_chunks().field("bytes")

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        return decoded(self._bytes[index].as_py()), int(self._labels[index])


class ShardImages(Images):
    """WebDataset shards: tar files of pairs `<key>.jpg` (or another image) and `<key>.cls`, read in place by index.

    Reading by index instead of as a stream lets shards be shuffled, divided and resumed exactly as any other data. The
    headers of all files are read once, at the start.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = list(files)
        self._images: list[tuple[int, int, int]] = []
        self._labels: list[int] = []
        for n, path in enumerate(self._files):
            with tarfile.open(path) as tar:
                self._read_headers(n, tar)
        self.num_classes = max(self._labels) + 1

    def _read_headers(self, n: int, tar: tarfile.TarFile) -> None:
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
        self._labels += [labels[key] for key in images]

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        n, offset, size = self._images[index]
        with self._files[n].open("rb") as file:
            file.seek(offset)
            return decoded(file.read(size)), self._labels[index]


def open_images(root: str | os.PathLike[str], split: str) -> Images:
    """The images of one split of a data set.

    Args:
        root: Folder of the data set; one that does not exist here is looked for in the folder SUPERPOSE_DATA names.
        split: `train` or `test`; where there is no `test`, it is `val`, as in ImageNet.

    Raises:
        DataMissingError: If there are none.
        ValueError: If they are in no known layout.
    """
    folder = find_root(root)
    for name in REPORTED if split == "test" else (split,):
        if (folder / name).is_dir():
            return FolderImages(folder / name)
        for ending, kind in ((".parquet", ParquetImages), (".tar", ShardImages)):
            if files := sorted(folder.glob(f"{name}*{ending}")):
                return kind(files)
    raise DataMissingError(f"{folder} holds no images to {split} with: expected {LAYOUTS.format(split=split)}.")


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
