"""Tests for predictions crop by crop."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.models import VisionTransformer

from superpose.vision.segmentation import UPerNet
from superpose.vision.sliding import slide


@settings(max_examples=40, deadline=None)
@given(size=st.tuples(st.integers(1, 12), st.integers(1, 12)), crop=st.integers(1, 6), data=st.data())
def test_what_looks_at_one_pixel_is_unchanged(size, crop, data):
    stride = data.draw(st.integers(1, crop))
    images = torch.randn(2, 3, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    seen = []

    def predict(x):
        seen.append(tuple(x.shape[-2:]))
        return torch.stack([x.sum(1), x.prod(1)], 1)

    torch.testing.assert_close(slide(predict, images, crop=crop, stride=stride), predict(images))
    assert set(seen[:-1]) == {(min(crop, size[0]), min(crop, size[1]))}


def test_crops_that_overlap_are_averaged_as_by_hand():
    # Crops at 0, 2 and 3 of a row of six, each telling its own number.
    number = iter([1.0, 2.0, 6.0])
    found = slide(lambda x: torch.full((1, 1, 1, 3), next(number)), torch.zeros(1, 3, 1, 6), crop=3, stride=2)
    torch.testing.assert_close(found.flatten(), torch.tensor([1.0, 1.0, 1.5, 4.0, 4.0, 6.0]))


@pytest.mark.parametrize("size", [(33, 50), (64, 40)], ids=str)
def test_a_network_for_one_size_of_crops_judges_other_images(size):
    model = UPerNet(VisionTransformer(img_size=32, patch_size=8, embed_dim=16, depth=4, num_heads=2), 4, channels=8)
    model.eval()
    found = slide(lambda x: model(x)["out"], torch.rand(1, 3, *size), crop=32, stride=20)
    assert found.shape == (1, 4, *size)


def test_gaps_between_crops_raise():
    with pytest.raises(ValueError, match="left out"):
        slide(lambda x: x, torch.zeros(1, 3, 8, 8), crop=3, stride=4)
