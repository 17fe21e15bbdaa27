"""Tests for attention within windows."""

import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.models import VisionTransformer

from superpose.vision.windows import WindowedViT, in_windows


def vit(**options):
    options = {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 4, "num_heads": 2, "num_classes": 5} | options
    model = VisionTransformer(dynamic_img_size=True, **options).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.3)
    return model


def test_a_window_that_covers_the_image_is_global_attention():
    model = vit(reg_tokens=2)
    images = torch.randn(2, 3, 48, 72, dtype=torch.float64)
    windowed = WindowedViT(model, window=9, global_blocks=1)
    torch.testing.assert_close(windowed(images), model(images), rtol=0, atol=0)
    ours = windowed.forward_intermediates(images, [1, 3], intermediates_only=True)
    theirs = model.forward_intermediates(images, [1, 3], intermediates_only=True)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    torch.testing.assert_close(
        windowed.forward_intermediates(images, [-1], intermediates_only=False),
        model.forward_intermediates(images, [-1]),
    )


@pytest.mark.parametrize("grid", [(6, 9), (7, 8), (2, 5), (3, 3)], ids=str)
def test_windows_are_attention_with_a_mask(grid):
    # Without a class token, the tokens of other windows can be masked instead: one call, an additive mask of infinities.
    block = vit(class_token=False, global_pool="avg").blocks[0]
    tokens = torch.randn(2, grid[0] * grid[1], 16, dtype=torch.float64)
    row, column = torch.meshgrid(torch.arange(grid[0]), torch.arange(grid[1]), indexing="ij")
    window = (row // 3 * 100 + column // 3).flatten()
    mask = torch.zeros(len(window), len(window), dtype=torch.float64)
    mask[window[:, None] != window[None]] = -torch.inf
    torch.testing.assert_close(in_windows(block, tokens, grid, 3), block(tokens, attn_mask=mask))


@settings(max_examples=30, deadline=None)
@given(
    grid=st.tuples(st.integers(1, 9), st.integers(1, 9)), window=st.integers(1, 5), prefix=st.integers(0, 2)
)  # fmt: skip
def test_windows_are_a_double_loop(grid, window, prefix):
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(2, prefix + grid[0] * grid[1], 3, dtype=torch.float64, generator=generator)

    def block(x):  # every token hears of all others
        return x * x.sum(1, keepdim=True).sin()

    head, body = tokens[:, :prefix], tokens[:, prefix:].reshape(2, *grid, 3)
    expected, mean = torch.empty_like(body), torch.zeros_like(head)
    for top in range(0, grid[0], window):
        for left in range(0, grid[1], window):
            place = (slice(None), slice(top, top + window), slice(left, left + window))
            part = body[place]
            out = block(torch.cat([head, part.reshape(2, -1, 3)], 1))
            expected[place] = out[:, prefix:].reshape(part.shape)
            mean += out[:, :prefix] * (part[0, ..., 0].numel() / (grid[0] * grid[1]))
    expected = torch.cat([mean, expected.reshape(2, -1, 3)], 1)
    torch.testing.assert_close(in_windows(block, tokens, grid, window, prefix), expected)


def test_position_embeddings_are_resampled_and_gradients_flow_with_and_without_checkpointing():
    model = WindowedViT(vit(), window=2, global_blocks=2).train()
    images = torch.randn(1, 3, 40, 56, dtype=torch.float64)
    gradients = []
    for on in (False, True):
        model.model.set_grad_checkpointing(on)
        model.zero_grad()
        model(images).square().sum().backward()
        gradients.append([parameter.grad.clone() for parameter in model.parameters()])
    assert all(bool(gradient.abs().sum() > 0) for gradient in gradients[0])
    torch.testing.assert_close(*gradients)


def test_global_blocks_of_twelve_are_those_of_the_paper():
    model = timm.create_model("vit_tiny_patch16_224", dynamic_img_size=True, embed_dim=12, num_heads=1)
    assert WindowedViT(model).global_blocks == (2, 5, 8, 11)
    assert WindowedViT(model, global_blocks=0).global_blocks == ()
    assert WindowedViT(model).no_weight_decay() >= {"model.pos_embed", "model.cls_token"}


def test_bad_models_raise():
    with pytest.raises(ValueError, match="dynamic_img_size=True"):
        WindowedViT(VisionTransformer(img_size=32, patch_size=16, embed_dim=8, depth=1, num_heads=1))
    with pytest.raises(ValueError, match="patch_drop_rate=0"):
        WindowedViT(vit(patch_drop_rate=0.5))
    with pytest.raises(ValueError, match="4 blocks"):
        WindowedViT(vit(), global_blocks=[4])
    with pytest.raises(ValueError, match="no 5 parts"):
        WindowedViT(vit(), global_blocks=5)
    with pytest.raises(TypeError, match="VisionTransformer"):
        WindowedViT(torch.nn.Identity())
    with pytest.raises(ValueError, match="window"):
        WindowedViT(vit(), window=0)
    with pytest.raises(ValueError, match="grid of 2 by 2"):
        in_windows(torch.nn.Identity(), torch.zeros(1, 5, 1), (2, 2), 2)
