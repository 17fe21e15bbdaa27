"""Tests for data in the layout of COCO."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as rle

from superpose.data.coco import CocoInstances
from superpose.data.images import DataMissingError
from superpose.data.joint import detection_transforms

SIZES = {7: (40, 60), 3: (64, 64), 9: (30, 30)}
"""Height and width of images by their numbers; the last has nothing on it but a crowd."""


def thing(number, image, category, box, segmentation, **more):
    width, height = box[2:]
    return {"id": number, "image_id": image, "category_id": category, "bbox": box, "area": width * height,
            "segmentation": segmentation, "iscrowd": 0} | more  # fmt: skip


def corners(x, y, width, height):
    return [x, y, x + width, y, x + width, y + height, x, y + height]


@pytest.fixture
def root(tmp_path):
    """Three images, with things as polygons, as runs of pixels, and a crowd."""
    (tmp_path / "annotations").mkdir()
    (tmp_path / "tiny").mkdir()
    for number, (height, width) in SIZES.items():
        pixels = np.full((height, width, 3), number * 10, np.uint8)
        Image.fromarray(pixels).save(tmp_path / "tiny" / f"{number:012}.jpg", quality=95)
    mask = np.zeros((64, 64), np.uint8, order="F")
    mask[10:20, 5:45] = 1
    packed = rle.encode(mask)
    packed["counts"] = packed["counts"].decode()
    counts = [10 + 30 * 5, 4, 30 * 30 - 10 - 30 * 5 - 4]  # four pixels of column 5, from row 10
    things = [
        thing(1, 7, 18, [10, 5, 20, 30], [corners(10, 5, 20, 30)]),
        thing(2, 7, 90, [50, 20, 20, 10], [corners(50, 20, 10, 5), corners(50, 27, 10, 3)]),
        thing(3, 3, 3, [5, 10, 40, 10], packed),
        thing(4, 3, 3, [5, 10, 0, 10], [corners(5, 10, 0, 10)]),
        thing(5, 9, 90, [5, 10, 1, 4], {"counts": counts, "size": [30, 30]}, iscrowd=1),
    ]
    content = {
        "images": [
            {"id": number, "file_name": f"{number:012}.jpg", "height": h, "width": w}
            for number, (h, w) in SIZES.items()
        ],
        "annotations": things,
        "categories": [{"id": 90, "name": "toothbrush"}, {"id": 3, "name": "car"}, {"id": 18, "name": "dog"}],
    }
    (tmp_path / "annotations" / "instances_tiny.json").write_text(json.dumps(content))
    return tmp_path


def test_images_boxes_and_masks_are_those_of_the_file(root):
    data = CocoInstances(root, "tiny")
    assert (data.classes, data.categories, len(data)) == (("car", "dog", "toothbrush"), (3, 18, 90), 3)
    image, target = data[0]
    assert image.shape == (3, 40, 60)
    assert image.dtype == torch.uint8
    assert int(image.max()) == 70
    assert target["image_id"] == 7
    assert target["labels"].tolist() == [2, 3]
    assert target["boxes"].tolist() == [[10, 5, 30, 35], [50, 20, 60, 30]]  # the second is cut at the border
    masks = torch.zeros(2, 40, 60, dtype=torch.uint8)
    masks[0, 5:35, 10:30] = 1
    masks[1, 20:25, 50:60] = 1
    masks[1, 27:30, 50:60] = 1
    assert torch.equal(torch.as_tensor(target["masks"]), masks)
    assert target["area"].tolist() == [600, 200]


def test_runs_of_pixels_crowds_and_boxes_without_area(root):
    data = CocoInstances(root, "tiny")
    _, target = data[1]
    assert target["labels"].tolist() == [1]  # the box without width is no thing
    expected = torch.zeros(1, 64, 64, dtype=torch.uint8)
    expected[:, 10:20, 5:45] = 1
    assert torch.equal(torch.as_tensor(target["masks"]), expected)
    _, crowd = data[2]
    expected = torch.zeros(1, 30, 30, dtype=torch.uint8)
    expected[:, 10:14, 5] = 1
    assert torch.equal(torch.as_tensor(crowd["masks"]), expected)
    assert crowd["iscrowd"].tolist() == [1]


def test_training_leaves_out_crowds_and_empty_images(root):
    data = CocoInstances(root, "tiny", train=True, masks=False)
    assert [data[i][1]["image_id"] for i in range(len(data))] == [7, 3]
    assert "masks" not in data[0][1]


def test_transforms_move_boxes_with_masks(root):
    torch.manual_seed(0)  # noqa: TID251, torchvision draws from the global state
    data = CocoInstances(root, "tiny", transforms=detection_transforms(True, 48, (0.8, 1.5)), train=True)
    seen = 0
    for index in [0, 1] * 10:
        image, target = data[index]
        assert image.shape == (3, 48, 48)
        assert 0 <= image.min() <= image.max() <= 1
        assert len(target["boxes"]) == len(target["labels"]) == len(target["masks"]) == len(target["area"])
        for box, mask, label in zip(target["boxes"], target["masks"], target["labels"], strict=True):
            rows, columns = torch.nonzero(mask.any(1)).flatten(), torch.nonzero(mask.any(0)).flatten()
            if label == 3 or len(rows) < 2:  # the box of this one was wider than what is left of it in the image
                continue
            found = torch.stack([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
            torch.testing.assert_close(torch.as_tensor(box), found.float(), rtol=0, atol=1.1)
            seen += 1
    assert seen > 10


def test_batches_are_lists(root):
    data = CocoInstances(root, "tiny")
    images, targets = next(iter(torch.utils.data.DataLoader(data, 3, collate_fn=data.collate)))
    assert [tuple(image.shape[1:]) for image in images] == list(SIZES.values())
    assert [target["image_id"] for target in targets] == list(SIZES)


def test_what_is_missing_or_broken_raises(root):
    with pytest.raises(DataMissingError, match="there are the splits tiny"):
        CocoInstances(root, "train2017")
    with pytest.raises(DataMissingError, match=r"instances_val2017.json; COCO is laid out as .* unpack to it"):
        CocoInstances(root / "tiny", "val2017")
    with pytest.raises(DataMissingError, match=r"no data in .*nowhere.* COCO is laid out as"):
        CocoInstances(root / "nowhere", "val2017")
    with pytest.raises(DataMissingError, match=r"no folder .* of images"):
        CocoInstances(root, "tiny", images=root / "photographs")
    (root / "tiny" / "000000000003.jpg").unlink()
    with pytest.raises(DataMissingError, match=r"000000000003.jpg, which the annotations name"):
        CocoInstances(root, "tiny")[1]
    path = root / "annotations" / "instances_tiny.json"
    content = json.loads(path.read_text())
    content["annotations"][0]["category_id"] = 4
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="annotation 1 has no category 4"):
        CocoInstances(root, "tiny")
    path.write_text('{"images": []}')
    with pytest.raises(ValueError, match="no list of annotations and of categories"):
        CocoInstances(root, "tiny")
    path.write_text('{"images": [')
    with pytest.raises(ValueError, match="cut off"):
        CocoInstances(root, "tiny")
    path.write_text('{"images": [], "annotations": [], "categories": []}')
    with pytest.raises(ValueError, match="no image"):
        CocoInstances(root, "tiny")


def test_things_without_masks_raise_where_masks_are_wanted(root):
    path = root / "annotations" / "instances_tiny.json"
    content = json.loads(path.read_text())
    content["annotations"][0]["segmentation"] = []
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="masks=False"):
        CocoInstances(root, "tiny")[0]
    assert len(CocoInstances(root, "tiny", masks=False)[0][1]["boxes"]) == 2
