"""Images in folders, Parquet files and shards."""

import io
import pickle
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from superpose.data.images import DataMissingError, find_root, open_images

PIXELS = np.random.default_rng(0).integers(0, 256, (7, 5, 6, 3), dtype=np.uint8)
LABELS = [0, 1, 2, 0, 1, 2, 0]


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def folder(root, split):
    for n, label in enumerate(LABELS):
        (root / split / f"class{label}").mkdir(parents=True, exist_ok=True)
        (root / split / f"class{label}" / f"{n}.png").write_bytes(png(PIXELS[n]))


def parquet(root, split, column="image"):
    for part, rows in enumerate((range(4), range(4, 7))):
        images = [{"bytes": png(PIXELS[n]), "path": None} for n in rows]
        table = pa.table({"more": list(rows), column: images, "label": [LABELS[n] for n in rows]})
        pq.write_table(table, root / f"{split}-0000{part}-of-00002.parquet")


def parquet_img(root, split):
    parquet(root, split, "img")


def shards(root, split):
    webdataset = pytest.importorskip("webdataset")
    for part, rows in enumerate((range(4), range(4, 7))):
        with webdataset.TarWriter(str(root / f"{split}-{part:06}.tar")) as writer:
            for n in rows:
                key = f"some.folder/{n:05}" if n % 2 else f"{n:05}"
                writer.write({"__key__": key, "png": png(PIXELS[n]), "cls": LABELS[n], "json": {"n": n}})


@pytest.mark.parametrize("layout", [folder, parquet, parquet_img, shards])
@pytest.mark.parametrize("copied", [False, True])
def test_every_layout_gives_every_image_with_its_label(layout, copied, tmp_path):
    layout(tmp_path, "train")
    images = open_images(tmp_path, "train")
    if copied:  # as it is for worker processes that are not forked
        images = pickle.loads(pickle.dumps(images))  # noqa: S301
    assert len(images) == 7
    assert images.num_classes == 3
    found = {(np.asarray(image).tobytes(), label) for image, label in (images[n] for n in range(7))}
    assert found == {(PIXELS[n].tobytes(), LABELS[n]) for n in range(7)}


def test_test_images_may_be_called_val(tmp_path):
    folder(tmp_path, "val")
    assert len(open_images(tmp_path, "test")) == 7
    parquet(tmp_path, "test")
    assert type(open_images(tmp_path, "test")).__name__ == "ParquetImages"


def test_more_bytes_than_one_array_can_count_are_read_in_chunks(tmp_path, monkeypatch):
    # Zeros that nobody touches take no memory: four times the same chunk, of 700 MB each.
    file = png(PIXELS[0])
    content = np.zeros(700 * 2**20, np.uint8)
    content[-len(file) :] = np.frombuffer(file, np.uint8)
    offsets = np.array([0, len(content) - len(file), len(content)], np.int32)
    data = pa.Array.from_buffers(pa.binary(), 2, [None, pa.py_buffer(offsets), pa.py_buffer(content)])
    chunk = pa.StructArray.from_arrays([data, pa.nulls(2, pa.string())], ["bytes", "path"])
    table = pa.table({"image": pa.chunked_array([chunk] * 4), "label": [0, 1, 0, 2, 0, 3, 0, 4]})
    parquet(tmp_path, "train")
    monkeypatch.setattr(pq, "read_table", lambda file, columns, **_: table.select(columns))
    (tmp_path / "train-00001-of-00002.parquet").unlink()
    images = open_images(tmp_path, "train")
    assert (len(images), images.num_classes) == (8, 5)
    for n in (1, 3, 5, 7):
        image, label = images[n]
        np.testing.assert_array_equal(np.asarray(image), PIXELS[0])
        assert label == (n + 1) // 2


def test_test_folders_have_the_numbers_of_the_training_folders(tmp_path):
    folder(tmp_path, "train")
    folder(tmp_path, "test")
    for path in (tmp_path / "test" / "class1").iterdir():
        path.unlink()
    (tmp_path / "test" / "class1").rmdir()
    images = open_images(tmp_path, "test")
    assert images.num_classes == 3
    found = {(np.asarray(image).tobytes(), label) for image, label in (images[n] for n in range(5))}
    assert found == {(PIXELS[n].tobytes(), LABELS[n]) for n in range(7) if LABELS[n] != 1}
    assert set(images.labels) == {0, 2}
    (tmp_path / "test" / "class7").mkdir()
    with pytest.raises(ValueError, match=r"test has a folder class7, but there is no such class .* class0, class1, cl"):
        open_images(tmp_path, "test")


def test_a_class_without_training_images_raises(tmp_path):
    folder(tmp_path, "train")
    (tmp_path / "train" / "class00").mkdir()
    with pytest.raises(ValueError, match=r"class00 holds no images; add some, or take the folder away"):
        open_images(tmp_path, "train")


@pytest.mark.parametrize("labels", [[-1, -1], [None, None]])
def test_test_images_without_labels_are_passed_over(labels, tmp_path):
    images = [{"bytes": png(PIXELS[n]), "path": None} for n in range(2)]
    pq.write_table(pa.table({"image": images, "label": labels}), tmp_path / "test.parquet")
    alone = open_images(tmp_path, "test")
    assert (len(alone), alone.num_classes, alone.labels.tolist()) == (2, 0, [-1, -1])
    parquet(tmp_path, "validation")
    assert open_images(tmp_path, "test").labels.tolist() == LABELS
    pq.write_table(pa.table({"image": images, "other": labels}), tmp_path / "test.parquet")
    assert len(open_images(tmp_path, "test")) == 7


def test_a_test_folder_without_classes_is_passed_over(tmp_path):
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "1.png").write_bytes(png(PIXELS[1]))
    folder(tmp_path, "val")
    assert len(open_images(tmp_path, "test")) == 7


def test_labels_that_are_no_numbers_raise(tmp_path):
    table = pa.table({"image": [{"bytes": png(PIXELS[0]), "path": None}], "label": ["cat"]})
    pq.write_table(table, tmp_path / "train.parquet")
    with pytest.raises(ValueError, match=r"holds string, but the classes should be whole numbers from 0"):
        open_images(tmp_path, "train")


def test_missing_data_raise_where_and_what(tmp_path, monkeypatch):
    monkeypatch.delenv("SUPERPOSE_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataMissingError, match=r"no data in .*cifar.*--data.root .*SUPERPOSE_DATA.*train\*\.parquet"):
        open_images("cifar", "train")
    (tmp_path / "cifar").mkdir()
    with pytest.raises(DataMissingError, match=r"cifar holds no images to test with: expected test/<class>"):
        open_images("cifar", "test")
    monkeypatch.setenv("SUPERPOSE_DATA", str(tmp_path))
    monkeypatch.chdir("/")
    assert find_root("cifar") == tmp_path / "cifar"


def test_files_of_another_make_raise_what_they_lack(tmp_path):
    pq.write_table(pa.table({"x": [1], "label": [0]}), tmp_path / "train.parquet")
    with pytest.raises(ValueError, match=r"has the columns \['x', 'label'\], but needs image or img"):
        open_images(tmp_path, "train")
    with tarfile.open(tmp_path / "test.tar", "w") as tar:
        entry = tarfile.TarInfo("a.png")
        entry.size = 3
        tar.addfile(entry, io.BytesIO(b"abc"))
    with pytest.raises(ValueError, match=r"but a has no image or no \.cls"):
        open_images(tmp_path, "test")
