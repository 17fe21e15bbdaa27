"""Tests for transforms of images with their targets, as the Trainer asks for them."""

import torch
from torchvision import tv_tensors

from superpose.data.joint import JointViews, detection_transforms, segmentation_transforms
from superpose.data.shapes import Shapes


def test_views_depend_on_seed_epoch_and_index_alone():
    views = JointViews(Shapes(6, 48), [5, 2], detection_transforms(True, 32), seed=3)
    state = torch.get_rng_state()
    first, target = views[1, 0]
    views[1, 1]
    again, same = views[1, 0]
    assert torch.equal(first, again)
    assert torch.equal(target["boxes"], same["boxes"])
    assert torch.equal(torch.get_rng_state(), state)
    others = [views[2, 0][0], JointViews(views.dataset, [5, 2], views.transforms, seed=4)[1, 0][0]]
    assert not any(torch.equal(first, other) for other in others)
    assert len(views) == 2


def test_images_are_not_changed_for_judging():
    image, target = Shapes(1, 48)[0]
    x, same = detection_transforms(False)(image, target)
    torch.testing.assert_close(torch.as_tensor(x), torch.as_tensor(image) / 255)
    assert torch.equal(same["masks"], target["masks"])


def test_crops_without_a_thing_have_empty_targets():
    image = tv_tensors.Image(torch.zeros(3, 64, 64, dtype=torch.uint8))
    boxes = tv_tensors.BoundingBoxes([[0, 0, 3, 3]], format="XYXY", canvas_size=(64, 64))
    masks = tv_tensors.Mask(torch.zeros(1, 64, 64, dtype=torch.uint8))
    target = {"boxes": boxes, "labels": torch.tensor([1]), "area": torch.tensor([9.0]), "masks": masks}
    transforms = detection_transforms(True, 16, (3.0, 4.0))
    found = [transforms(image, target)[1] for _ in range(8)]
    empty = [x for x in found if not len(x["boxes"])]
    assert empty  # a crop is a twelfth of the image, and a thing in its corner is rarely on one
    assert all(len(x["labels"]) == len(x["area"]) == len(x["masks"]) == 0 for x in empty)


def test_pixels_outside_of_the_image_count_for_nothing():
    item = Shapes(1, 32, semantic=True)[0]
    found = [segmentation_transforms(True, 48, scales=(0.3, 0.4))(*item)[1] for _ in range(3)]
    assert all(int((x != 255).sum()) <= 20 * 20 and int((x == 255).sum()) >= 48 * 48 - 20 * 20 for x in found)
