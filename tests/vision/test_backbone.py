"""Tests for backbones by name."""

import pytest

from superpose.vision.backbone import create_backbone


def test_windows_are_a_matter_of_choice():
    plain = create_backbone("test_vit", model_arguments={"depth": 3})
    windowed = create_backbone("test_vit", window=5, global_blocks=[1], model_arguments={"depth": 3})
    assert (len(plain.blocks), plain.dynamic_img_size) == (3, True)
    assert (windowed.window, windowed.global_blocks, len(windowed.model.blocks)) == (5, (1,), 3)


def test_an_unknown_name_raises():
    with pytest.raises(ValueError, match=r"near are .*vit_tiny"):
        create_backbone("vit_tiny_patch15")
