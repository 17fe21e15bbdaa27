"""Labels that a task can learn from and be judged by."""

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from superpose.train.data import SmallImages


@pytest.fixture
def make(squares, tmp_path):
    """Opens these images with other labels, for a task that knows three classes."""

    def make(split, labels, known=3):
        table = pq.read_table(squares / "test.parquet").slice(0, len(labels))
        pq.write_table(table.set_column(1, "label", pa.array(labels)), tmp_path / f"{split}.parquet")
        return opened(tmp_path, split, known)

    return make


def opened(root, split, known=3):
    data = SmallImages(str(root), batch_size=2)
    task = SimpleNamespace() if known is None else SimpleNamespace(num_classes=known)
    data.trainer = SimpleNamespace(lightning_module=SimpleNamespace(task=task))
    data.setup("test" if split == "test" else "fit")
    return data


def test_labels_out_of_range_raise(make):
    assert len(make("train", [0, 1, 2, 0]).train_images) == 4
    with pytest.raises(ValueError, match=r"1 of 4 train images .* have no class, such as number 2 with the label -1"):
        make("train", [0, 1, -1, 2])
    with pytest.raises(ValueError, match=r"has 4 classes, the task 3; give --task\.num_classes 4"):
        make("train", [0, 3, 1, 2])
    with pytest.raises(ValueError, match=r"2 of 2 test images of .* have no class"):
        make("test", [-1, -1])


def test_a_task_that_knows_no_classes_needs_no_labels(make):
    assert len(make("train", [-1, -1, -1], known=None).train_images) == 3


def test_folders_that_nobody_numbers_raise(tmp_path):
    for name in ("a", "b"):
        (tmp_path / "test" / name).mkdir(parents=True)
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "test" / name / "1.png")
    assert opened(tmp_path, "test", known=2).test_images.labels.tolist() == [0, 1]
    with pytest.raises(ValueError, match=r"in folders of 2 classes, but the task knows 3, and the folder train is not"):
        opened(tmp_path, "test")
    for name in ("a", "aa", "b"):
        (tmp_path / "train" / name).mkdir(parents=True)
    assert opened(tmp_path, "test").test_images.labels.tolist() == [0, 2]
