"""Tests for the shapes on noise."""

import pytest
import torch

from superpose.data.shapes import Shapes


def test_boxes_and_classes_follow_from_the_masks():
    things, classes = Shapes(20, 64, seed=3), Shapes(20, 64, seed=3, semantic=True)
    labels = set()
    for index in range(20):
        image, target = things[index]
        same, semantic = classes[index]
        assert torch.equal(image, same)
        masks = torch.as_tensor(target["masks"])
        assert int(masks.sum(0).max()) == 1  # nothing is in two shapes
        for box, mask, label in zip(target["boxes"].tolist(), masks, target["labels"].tolist(), strict=True):
            rows, columns = torch.nonzero(mask).unbind(1)
            assert box == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            assert bool((semantic[mask.bool()] == label).all())
            labels.add(label)
        assert bool((semantic[masks.sum(0) == 0] == 0).all())
    assert labels == {1, 2, 3}


def test_an_image_is_the_same_again_and_another_with_another_seed():
    before = torch.get_rng_state()
    assert torch.equal(Shapes(5)[2][0], Shapes(9)[2][0])
    assert not torch.equal(Shapes(5)[2][0], Shapes(5, seed=1)[2][0])
    assert torch.equal(torch.get_rng_state(), before)


def test_no_image_raises():
    with pytest.raises(ValueError, match="16 pixels"):
        Shapes(0)
    with pytest.raises(IndexError):
        Shapes(3)[3]
