"""Tests for the data of dense tasks, and for whole runs of them."""

import json
import os

import pytest
import torch
import yaml

from superpose.cli import main
from superpose.data.joint import JointViews
from superpose.train.dense_data import ADE20KData, CocoData, ShapesData

# What reads configurations may be newer than the oldest that is supported, and says what it will lose.
pytestmark = [pytest.mark.as_shipped, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

BACKBONE = {
    "class_path": "superpose.vision.backbone.create_backbone",
    "init_args": {
        "name": "test_vit",
        "window": 3,
        "global_blocks": 1,
        "model_arguments": {"img_size": 32, "patch_size": 8, "depth": 4},
    },
}


def task(kind):
    if kind == "detection":
        model = {
            "class_path": "superpose.vision.detection.retinanet",
            "init_args": {"backbone": BACKBONE, "num_classes": 3, "channels": 8, "min_size": 48},
        }
        return {
            "class_path": "superpose.train.detection.Detection",
            "init_args": {"model": model, "masks": False},
        }
    model = {
        "class_path": "superpose.vision.segmentation.UPerNet",
        "init_args": {"backbone": BACKBONE, "num_classes": 4, "channels": 8},
    }
    return {"class_path": "superpose.train.segmentation.Segmentation", "init_args": {"model": model, "num_classes": 4}}


@pytest.mark.parametrize("kind", ["detection", "segmentation"])
def test_a_configuration_trains_and_evaluates(kind, tmp_path, capsys):
    config = {
        "task": task(kind),
        "data": {
            "class_path": "superpose.train.dense_data.ShapesData",
            "init_args": {"count": 6, "test_count": 2, "size": 48, "batch_size": 2, "semantic": kind == "segmentation"},
        },
        "optimization": {"epochs": 1, "layer_decay": 0.7},
        "machine": {"accelerator": "cpu"},
        "records": {"folder": str(tmp_path / "runs")},
    }
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    assert main(["train", "--config", str(path)]) == 0
    (run,) = (tmp_path / "runs" / "run").iterdir()
    capsys.readouterr()
    assert main(["eval", str(run)]) == 0
    assert {"detection": "box_AP50", "segmentation": "mIoU"}[kind] in capsys.readouterr().out


@pytest.mark.parametrize("name", ["coco_mask_rcnn_kat_small", "ade20k_upernet_kat_small", "shapes_mask_rcnn_kat"])
def test_recipes_are_understood(name, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["train", name, "--print_config"])
    assert stop.value.code == 0
    assert "superpose.train.dense_data" in capsys.readouterr().out


def test_a_missing_folder_is_a_message(tmp_path, capsys):
    config = {"task": task("detection"), "data": {"class_path": "superpose.train.dense_data.CocoData",
              "init_args": {"root": "nowhere", "batch_size": 2}}, "optimization": {"epochs": 1},
              "machine": {"accelerator": "cpu"}, "records": {"folder": str(tmp_path / "runs")}}  # fmt: skip
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    assert main(["train", "--config", str(path)]) == 2
    assert "COCO is laid out as" in capsys.readouterr().err


def test_held_out_images_are_not_learned_from_and_those_reported_are_others():
    data = ShapesData(count=10, test_count=3, size=32, batch_size=2, held_out=0.3)
    data.setup("fit")
    data.setup("test")
    training, held, test = data.training_set(), data.validation_set(), data.test_set()
    assert sorted(training.indices + held.indices) == list(range(10))
    assert (len(held), len(test)) == (3, 3)
    assert not any(torch.equal(test[0, i][0], held[0, j][0]) for i in range(3) for j in range(3))


def test_coco_and_ade20k_are_opened(tmp_path):
    from PIL import Image

    (tmp_path / "annotations").mkdir()
    for split, count in {"train2017": 4, "val2017": 2}.items():
        (tmp_path / split).mkdir()
        images = [{"id": i, "file_name": f"{i}.jpg", "height": 20, "width": 30} for i in range(count)]
        box = {"category_id": 5, "bbox": [1, 2, 9, 8], "area": 72, "iscrowd": 0}
        content = {"images": images, "categories": [{"id": 5, "name": "cat"}],
                   "annotations": [{"id": i, "image_id": i, **box} for i in range(count)]}  # fmt: skip
        (tmp_path / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
        for image in images:
            Image.new("RGB", (30, 20)).save(tmp_path / split / image["file_name"])
    for split in ("training", "validation"):
        for kind, ending in {"images": "jpg", "annotations": "png"}.items():
            (tmp_path / kind / split).mkdir(parents=True)
            for i in range(3):
                Image.new("RGB" if kind == "images" else "L", (30, 20)).save(tmp_path / kind / split / f"{i}.{ending}")
    coco = CocoData(os.fspath(tmp_path), size=16, masks=False, held_out=0.25, batch_size=1)
    ade = ADE20KData(os.fspath(tmp_path), size=16, held_out=0.4, batch_size=1)
    for data, sizes in ((coco, (3, 1, 2)), (ade, (2, 1, 3))):
        data.setup("fit")
        data.setup("test")
        sets = data.training_set(), data.validation_set(), data.test_set()
        assert all(isinstance(part, JointViews) for part in sets)
        assert tuple(map(len, sets)) == sizes
        assert sets[0][0, 0][0].shape == (3, 16, 16)
        assert sets[2].collate([sets[2][0, 0]])


def test_a_share_that_holds_out_all_raises():
    with pytest.raises(ValueError, match="held_out"):
        ShapesData(batch_size=1, held_out=1.0)
