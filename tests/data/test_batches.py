"""Tests for batches of images."""

import torch

from superpose.data.batches import collate_alike, collate_lists


def item(height, width, rows=None):
    return torch.rand(3, height, width), torch.zeros(rows or height, width).long()


def test_images_of_one_size_are_stacked():
    items = [item(4, 5), item(4, 5)]
    images, classes = collate_alike(items)
    assert torch.equal(images[1], items[1][0])
    assert (images.shape, classes.shape) == ((2, 3, 4, 5), (2, 4, 5))


def test_images_or_maps_of_other_sizes_stay_apart():
    for items in ([item(4, 5), item(6, 5)], [item(4, 5, 8), item(4, 5, 9)]):
        images, classes = collate_alike(items)
        assert isinstance(images, list)
        assert isinstance(classes, list)
        assert all(image is own for image, (own, _) in zip(images, items, strict=True))


def test_lists_keep_what_they_are_given():
    items = [item(4, 5), item(6, 7)]
    images, targets = collate_lists(items)
    assert [image is own for image, (own, _) in zip(images, items, strict=True)] == [True, True]
    assert [target is own for target, (_, own) in zip(targets, items, strict=True)] == [True, True]
