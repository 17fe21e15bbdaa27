"""A small data set, and the configuration of a run that takes seconds on it."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image
from rich.console import Console


@pytest.fixture(scope="session")
def squares(tmp_path_factory):
    """60 training and 30 test images of 8 x 8 pixels, noise with one strong colour, which is the class."""
    root = tmp_path_factory.mktemp("squares")
    generator = np.random.default_rng(0)
    for split, count in (("train", 60), ("test", 30)):
        images = []
        for n in range(count):
            pixels = generator.integers(0, 120, (8, 8, 3), dtype=np.uint8)
            pixels[..., n % 3] += 60
            file = io.BytesIO()
            Image.fromarray(pixels).save(file, "PNG")
            images.append({"bytes": file.getvalue(), "path": None})
        pq.write_table(pa.table({"image": images, "label": np.arange(count) % 3}), root / f"{split}.parquet")
    return root


@pytest.fixture
def config(squares, tmp_path):
    """Writes a configuration, changed as its arguments say, and gives its path."""

    def write(**sections):
        model = {"img_size": 8, "patch_size": 4, "embed_dim": 16, "depth": 2, "num_heads": 2}
        task = {"model": "kat_tiny_patch16_224", "num_classes": 3, "model_arguments": model}
        data = {"root": str(squares), "batch_size": 8, "augmentation": {"crop": 1}}
        settings = {
            "task": {"class_path": "Classification", "init_args": task | sections.pop("task", {})},
            "data": {"class_path": "SmallImages", "init_args": data | sections.pop("data", {})},
            "optimization": {"epochs": 3, "lr": 3e-3, "warmup_epochs": 1} | sections.pop("optimization", {}),
            "machine": {"accelerator": "cpu", "devices": 1} | sections.pop("machine", {}),
            "records": {"folder": str(tmp_path / "runs"), "log_every": 1} | sections.pop("records", {}),
            **sections,
        }
        path = tmp_path / f"{settings['records'].get('name', 'run')}.yaml"
        path.write_text(yaml.safe_dump(settings))
        return path

    return write


@pytest.fixture
def console():
    """Keeps what is printed, as on something that is no terminal."""
    return Console(file=io.StringIO(), width=200, markup=False, highlight=False)
