"""superpose train and superpose eval as somebody at a terminal meets them."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

pytest.importorskip("lightning")

from superpose.cli import main

pytestmark = pytest.mark.as_shipped

SETTINGS = """
task:
  class_path: Classification
  init_args:
    model: kat_tiny_patch16_224
    num_classes: 2
    model_arguments: {img_size: 8, patch_size: 4, embed_dim: 16, depth: 1, num_heads: 2}
data:
  class_path: SmallImages
  init_args: {root: images, batch_size: 4}
optimization: {epochs: 2}
machine: {accelerator: cpu, devices: 1}
records: {name: tiny}
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with images and a configuration."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("SUPERPOSE_DATA", raising=False)
    (tmp_path / "images").mkdir()
    for split in ("train", "test"):
        rows = []
        for n in range(20):
            file = io.BytesIO()
            Image.fromarray(np.full((8, 8, 3), 200 * (n % 2), np.uint8)).save(file, "PNG")
            rows.append({"bytes": file.getvalue(), "path": None})
        pq.write_table(pa.table({"img": rows, "label": [n % 2 for n in range(20)]}), f"images/{split}.parquet")
    (tmp_path / "tiny.yaml").write_text(SETTINGS)
    return tmp_path


def test_a_kat_is_trained_continued_and_judged(here, capsys):
    assert main(["train", "tiny.yaml", "--optimization.lr", "0.01"]) == 0
    text = capsys.readouterr().out
    (run,) = (here / "runs" / "tiny").iterdir()
    assert f"Writing to runs/tiny/{run.name}" in text
    assert "epoch 2/2" in text
    assert f"superpose eval runs/tiny/{run.name}" in text
    assert "lr: 0.01" in (run / "config.yaml").read_text()
    assert main(["train", "--resume", str(run), "--optimization.epochs", "3"]) == 0
    text = capsys.readouterr().out
    assert "epoch 3/3" in text
    assert "epoch 2/3" not in text
    assert main(["eval", str(run), "--data.batch_size", "7"]) == 0
    text = capsys.readouterr().out
    assert "best.safetensors on 20 test samples" in text
    (top1,) = (line.split() for line in text.splitlines() if "top1" in line)
    assert top1[1:] == ["1.0000", "0.8389", "to", "1.0000"]
    assert main(["eval", str(run / "env.json")]) == 2
    assert "env.json holds no weights of a run" in capsys.readouterr().err
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    assert main(["train", "--resume", str(run), "--data.root", "imagse"]) == 2
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


def test_recipes_are_listed(capsys):
    assert main(["train", "--recipes"]) == 0
    assert "imagenet_kat_tiny" in capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["train", "tiny.yml"], "there is no file tiny.yml; the configurations that come with superpose are"),
        (["train", "tiny.yaml", "--data.root", "imagse"], "no data in"),
        (["train", "tiny.yaml", "--resume", "nowhere"], "so there is nothing to go on from"),
        (["train", "tiny.yaml", "--optimization.clip", "-1"], "clip should be a norm above 0"),
        (["train", "tiny.yaml", "--data.pixels.std", "[0, 1, 1]"], "std should be above 0"),
        (["train", "tiny.yaml", "--data.augmentation.rand_augment", "31"], "rand_augment should be from 0 to 30"),
        (["train", "tiny.yaml", "--task.num_classes", "1"], "num_classes should be at least 2"),
        (["train", "tiny.yaml", "--task.mixing.mixup", "1", "--data.batch_size", "5"], "take a multiple of 2"),
        (["train", "tiny.yaml", "--optimization.optimizer", "adam7"], "optimizer adam7 "),
        (["eval", "nowhere"], "there is no file nowhere; name the folder of a run"),
    ],
)
def test_wrong_input_is_one_sentence_and_exit_code_2(command, words, here, capsys):
    assert main(command) == 2
    said = capsys.readouterr().err.strip()
    assert said.splitlines()[-1].startswith("superpose: ")
    assert words in said
    assert not (here / "runs").exists()


def test_folders_of_test_images_are_numbered_as_those_of_training(here, capsys):
    colours = {"blue": (0, 0, 255), "green": (0, 255, 0), "red": (255, 0, 0)}
    for split, names in (("train", list(colours)), ("test", ["green", "red"])):
        for name in names:
            folder = here / "folders" / split / name
            folder.mkdir(parents=True)
            for n in range(4):
                Image.new("RGB", (8, 8), colours[name]).save(folder / f"{n}.png")
    options = ["--data.root", "folders", "--task.num_classes", "3", "--optimization.epochs", "30"]
    assert main(["train", "tiny.yaml", *options, "--optimization.lr", "0.01"]) == 0
    (run,) = (here / "runs" / "tiny").iterdir()
    capsys.readouterr()
    assert main(["eval", str(run / "last.ckpt")]) == 0
    (top1,) = (line.split() for line in capsys.readouterr().out.splitlines() if "top1" in line)
    assert top1[1] == "1.0000"


def test_an_error_that_is_not_about_input_keeps_its_traceback(monkeypatch):
    monkeypatch.setattr("superpose.cli.training.train", lambda _: int("x"))
    with pytest.raises(ValueError, match="invalid literal"):
        main(["train", "tiny.yaml"])
