"""Tests for data in the layout of ADE20K."""

import numpy as np
import pytest
import torch
from PIL import Image

from superpose.data.ade20k import ADE20K
from superpose.data.images import DataMissingError
from superpose.data.joint import segmentation_transforms


@pytest.fixture
def root(tmp_path):
    """Two images with the classes 0 (unlabelled), 1 and 150."""
    for kind in ("images", "annotations"):
        (tmp_path / kind / "validation").mkdir(parents=True)
    for name, (height, width) in {"a": (20, 30), "b": (24, 16)}.items():
        classes = np.zeros((height, width), np.uint8)
        classes[:, 5:10] = 1
        classes[:, 10:] = 150
        Image.fromarray(classes).save(tmp_path / "annotations" / "validation" / f"{name}.png")
        # The picture shows the class, so that a test sees whether they move together.
        Image.fromarray(np.repeat(classes[..., None], 3, 2)).save(
            tmp_path / "images" / "validation" / f"{name}.jpg", quality=100
        )
    return tmp_path


def test_classes_are_those_of_the_file(root):
    data = ADE20K(root, "validation")
    image, classes = data[0]
    assert (len(data), tuple(image.shape), image.dtype, classes.dtype) == (2, (3, 20, 30), torch.uint8, torch.int64)
    expected = torch.full((20, 30), 149)
    expected[:, :5] = 255
    expected[:, 5:10] = 0
    assert torch.equal(torch.as_tensor(classes), expected)
    raw = ADE20K(root, "validation", reduce_zero_label=False)[1][1]
    assert raw.unique().tolist() == [0, 1, 150]


def test_crops_move_classes_with_the_image(root):
    torch.manual_seed(0)  # noqa: TID251, torchvision draws from the global state
    transforms = segmentation_transforms(True, 24, mean=(0, 0, 0), std=(1, 1, 1))
    transforms.transforms.pop(3)  # colours tell the class here, so they must stay
    data = ADE20K(root, "validation", transforms=transforms)
    for index in [0, 1] * 5:
        image, classes = data[index]
        assert image.shape == (3, 24, 24)
        assert classes.shape == (24, 24)
        inside = (classes == 149) & (torch.nn.functional.max_pool2d((classes != 149)[None].float(), 5, 1, 2)[0] == 0)
        assert bool((image[0][inside] > 0.3).all())
        assert bool((image[0][classes == 255] < 0.3).all())


def test_judging_leaves_the_map_alone(root):
    data = ADE20K(root, "validation", transforms=segmentation_transforms(False, 32))
    image, classes = data[1]
    assert (tuple(image.shape), tuple(classes.shape)) == ((3, 48, 32), (24, 16))
    values = ADE20K(root, "validation")[1][0].float()[0, 0, -1] / 255
    torch.testing.assert_close(image[0, 0, -1], (values - 0.485) / 0.229, rtol=0, atol=0.02)


def test_batches_are_lists_where_sizes_differ(root):
    data = ADE20K(root, "validation")
    images, classes = next(iter(torch.utils.data.DataLoader(data, 2, collate_fn=data.collate)))
    assert [tuple(x.shape) for x in (*images, *classes)] == [(3, 20, 30), (3, 24, 16), (20, 30), (24, 16)]
    images, classes = data.collate([data[0], data[0]])
    assert (tuple(images.shape), tuple(classes.shape)) == ((2, 3, 20, 30), (2, 20, 30))


def test_what_is_missing_or_broken_raises(root):
    with pytest.raises(DataMissingError, match=r"images/training. ADE20K is laid out as .* unpacks to it"):
        ADE20K(root)
    path = root / "annotations" / "validation" / "a.png"
    Image.new("RGB", (30, 20)).save(path)
    with pytest.raises(ValueError, match="picture of the classes"):
        ADE20K(root, "validation")[0]
    path.unlink()
    with pytest.raises(ValueError, match="no counterpart, such as a"):
        ADE20K(root, "validation")
    (path.parent / "b.png").unlink()
    with pytest.raises(ValueError, match=r"no files \*.png"):
        ADE20K(root, "validation")
