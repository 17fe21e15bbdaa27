"""Masked autoencoders: what is hidden, what is predicted, and what is learned."""

import math

import numpy as np
import pytest
import torch
from timm.layers import Attention
from timm.models.vision_transformer import VisionTransformer

from superpose.vision.kernel_vit import KINDS, blocks_with
from superpose.vision.mae import MaskedAutoencoder, fix_positions_


def vit(size=8, patch=2, **more):
    arguments = {"embed_dim": 16, "depth": 2, "num_heads": 2, "mlp_ratio": 2, "num_classes": 0, **more}
    return VisionTransformer(size, patch, **arguments)


def autoencoder(size=8, patch=2, encoder=None, **more):
    return MaskedAutoencoder(vit(size, patch) if encoder is None else encoder, 12, 1, 2, **more)


def pictures(count, size, generator):
    """Slopes in one colour: what is hidden can be guessed from what is not."""
    place = torch.linspace(-1, 1, size)
    colour, across, down = torch.randn(3, count, 3, 1, 1, generator=generator)
    return colour + (across * place + down * place[:, None]) / 2


@pytest.mark.parametrize(
    ("size", "patch"), [(32, 2), (32, 4), (32, 16), (64, 8), (96, 16), (128, 16), (224, 16), ((32, 48), (4, 8))]
)
def test_every_patch_is_predicted_at_any_size(size, patch):
    mae = autoencoder(size, patch)
    (height, width), (tall, wide) = mae.encoder.patch_embed.img_size, mae.encoder.patch_embed.patch_size
    images = torch.randn(2, 3, height, width)
    visible = mae.draw(images)
    patches = (height // tall) * (width // wide)
    assert visible.shape == (2, patches - round(0.75 * patches))
    assert mae(images, visible).shape == (2, patches, 3 * tall * wide)
    assert mae.loss(images, visible).isfinite()
    for picture in mae.reconstruct(images, visible):
        assert picture.shape == images.shape


def test_patches_are_cut_as_the_encoder_cuts_them(generator):
    """A convolution with the stride of its kernel is a linear map of the patches that `patches` gives."""
    encoder = vit((12, 8), (4, 2))
    images = torch.randn(3, 3, 12, 8, generator=generator)
    mae = autoencoder(encoder=encoder)
    weight = encoder.patch_embed.proj.weight.permute(2, 3, 1, 0).flatten(0, 2)
    torch.testing.assert_close(
        mae.patches(images) @ weight + encoder.patch_embed.proj.bias, encoder.patch_embed(images), rtol=1e-5, atol=1e-5
    )
    assert torch.equal(mae.images(mae.patches(images)), images)


def test_patches_are_hidden_uniformly_and_as_many_as_asked_for(generator):
    mae = autoencoder(ratio=0.6)
    images = torch.zeros(4000, 3, 8, 8)
    visible = mae.draw(images, generator)
    assert visible.shape == (4000, 6)
    hidden = mae.is_hidden(visible)
    assert (hidden.sum(1) == 10).all()
    z = (hidden.double().sum(0) - 2500) / math.sqrt(4000 * 0.625 * 0.375)
    assert z.abs().max() < 4
    pairs = np.corrcoef(hidden.double().T.numpy())[~np.eye(16, dtype=bool)]
    assert abs(pairs + 1 / 15).max() < 0.08  # drawn without replacement


@pytest.mark.parametrize(("size", "ratio", "hidden"), [(32, 0.6, 38), (32, 0.75, 48), (8, 0.01, 1), (8, 0.99, 3)])
def test_the_number_of_hidden_patches(size, ratio, hidden):
    assert autoencoder(size, 4, ratio=ratio).hidden == hidden  # 38 of 64 in the paper on kernels


def test_masks_come_from_the_generator_or_from_the_callers_state():
    mae, images = autoencoder(), torch.zeros(3, 3, 8, 8)
    first = mae.draw(images, torch.Generator().manual_seed(3))
    before = torch.get_rng_state()
    assert torch.equal(first, mae.draw(images, torch.Generator().manual_seed(3)))
    assert torch.equal(before, torch.get_rng_state())
    drawn = mae.draw(images)
    torch.set_rng_state(before)
    assert torch.equal(drawn, mae.draw(images))
    assert not torch.equal(drawn, mae.draw(images))


@pytest.mark.parametrize("norm_pix", [False, True])
def test_the_loss_is_that_of_a_loop_over_hidden_patches(norm_pix, generator):
    mae = autoencoder(patch=4, norm_pix=norm_pix).double()
    images = torch.randn(3, 3, 8, 8, generator=generator, dtype=torch.float64)
    visible = mae.draw(images, generator)
    predicted = mae(images, visible).detach().numpy()
    errors = []
    for n, image in enumerate(images.numpy()):
        for p in range(4):
            if p in visible[n]:
                continue
            top, left = 4 * (p // 2), 4 * (p % 2)
            target = image[:, top : top + 4, left : left + 4].transpose(1, 2, 0).reshape(-1)
            if norm_pix:
                target = (target - target.mean()) / np.sqrt(target.var(ddof=1) + 1e-6)
            errors += list((predicted[n, p] - target) ** 2)
    np.testing.assert_allclose(mae.loss(images, visible).item(), np.mean(errors), rtol=1e-12)


def test_hidden_pixels_do_not_reach_the_encoder(generator):
    mae = autoencoder().eval()
    images = torch.randn(2, 3, 8, 8, generator=generator)
    visible = mae.draw(images, generator)
    hidden = mae.is_hidden(visible).unsqueeze(-1)
    others = mae.images(torch.where(hidden, torch.randn_like(mae.patches(images)), mae.patches(images)))
    torch.testing.assert_close(mae(images, visible), mae(others, visible))
    assert mae.loss(images, visible) != mae.loss(others, visible)


def test_with_all_patches_visible_the_encoder_is_that_of_timm(generator):
    encoder = vit(reg_tokens=2, no_embed_class=True).eval()
    mae = autoencoder(encoder=encoder)
    images = torch.randn(2, 3, 8, 8, generator=generator)
    order = torch.stack([torch.randperm(16, generator=generator) for _ in images])
    tokens = mae.encode(images, order)
    expected = encoder.forward_features(images)
    torch.testing.assert_close(tokens[:, :3], expected[:, :3], rtol=1e-4, atol=1e-5)
    picked = expected[:, 3:].gather(1, order.unsqueeze(-1).expand(-1, -1, 16))
    torch.testing.assert_close(tokens[:, 3:], picked, rtol=1e-4, atol=1e-5)


def test_the_order_of_visible_patches_does_not_matter(generator):
    mae = autoencoder().eval()
    images = torch.randn(2, 3, 8, 8, generator=generator)
    visible = mae.draw(images, generator)
    torch.testing.assert_close(mae(images, visible), mae(images, visible.flip(1)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("norm_pix", [False, True])
def test_a_reconstruction_shows_what_is_known_and_what_is_guessed(norm_pix, generator):
    mae = autoencoder(norm_pix=norm_pix).double()
    images = 3 + torch.randn(2, 3, 8, 8, generator=generator, dtype=torch.float64)
    visible = mae.draw(images, generator)
    masked, guessed = (mae.patches(picture) for picture in mae.reconstruct(images, visible))
    hidden, pixels = mae.is_hidden(visible), mae.patches(images)
    assert torch.equal(guessed[~hidden], pixels[~hidden])
    assert torch.equal(masked[~hidden], pixels[~hidden])
    assert (masked[hidden] == 0).all()
    predicted = mae(images, visible).detach()
    error = (predicted - mae.targets(images))[hidden]
    scale = pixels.std(-1, keepdim=True)[hidden] if norm_pix else 1
    torch.testing.assert_close((guessed - pixels)[hidden], error * scale, rtol=1e-5, atol=1e-6)


def test_fixed_positions_are_sines_and_cosines_of_row_and_column():
    mae = autoencoder(encoder=fix_positions_(vit((8, 12), 4, embed_dim=16)))
    for positions, dim in ((mae.encoder.pos_embed, 16), (mae.decoder_positions, 12)):
        assert not positions.requires_grad
        assert (positions[0, 0] == 0).all()
        rate = 10000.0 ** -(np.arange(dim // 4) / (dim // 4))
        for row in range(2):
            for column in range(3):
                expected = np.concatenate([f(x * rate) for x in (row, column) for f in (np.sin, np.cos)])
                found = positions[0, 1 + 3 * row + column].numpy()
                np.testing.assert_allclose(np.sort(found), np.sort(expected), atol=1e-6)


def test_learned_positions_are_learned_on_both_sides(generator):
    mae = autoencoder()
    images = torch.randn(2, 3, 8, 8, generator=generator)
    mae.loss(images, mae.draw(images, generator)).backward()
    assert all(parameter.grad is not None for parameter in mae.parameters())


def test_the_papers_autoencoder_has_the_papers_parameters():
    """Counted for arXiv 2503.23038; its last layer has one bias a channel, this one one a pixel and channel."""
    encoder = VisionTransformer(32, 4, embed_dim=256, depth=8, num_heads=8, mlp_ratio=2, num_classes=0)
    mae = MaskedAutoencoder(encoder, 192, 6, 8, mlp_ratio=2, ratio=0.6, norm_pix=False)
    assert sum(parameter.numel() for parameter in mae.parameters()) == 6_100_547 - 3 + 48


def test_checkpointed_blocks_give_the_same_gradients(generator):
    mae = autoencoder()
    images = torch.randn(2, 3, 8, 8, generator=generator)
    visible = mae.draw(images, generator)
    gradients = []
    for enable in (False, True):
        mae.encoder.set_grad_checkpointing(enable)
        mae.zero_grad()
        mae.loss(images, visible).backward()
        gradients.append(mae.encoder.blocks[0].mlp.fc1.weight.grad.clone())
    torch.testing.assert_close(*gradients)


def test_decoders_take_other_attention_for_each_block():
    class Mine(Attention):
        pass

    mae = MaskedAutoencoder(vit(), 12, 2, 2, attention=["softmax", Mine], mlp_ratio=1, proj_drop=0.1)
    assert [type(block.attn) for block in mae.decoder] == [Attention, Mine]
    assert mae.decoder[1].mlp.fc1.out_features == 12


@pytest.mark.parametrize("kind", KINDS)
def test_any_attention_on_either_side(kind, generator):
    encoder = vit(block_fn=blocks_with(["softmax", kind], 2))
    mae = autoencoder(encoder=encoder, attention=[kind])
    images = torch.randn(2, 3, 8, 8, generator=generator)
    visible = mae.draw(images, generator)
    mae.loss(images, visible).backward()
    assert all(parameter.grad is not None for parameter in mae.parameters())
    exact = mae.loss(images, visible).detach()
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(mae.loss(images, visible).detach().float(), exact, rtol=2e-2, atol=0)


def test_the_whole_forward_pass_is_one_graph(generator):
    mae = autoencoder()
    images = torch.randn(2, 3, 8, 8, generator=generator)
    visible = mae.draw(images, generator)
    compiled = torch.compile(mae, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(images, visible), mae(images, visible))


def test_it_learns_to_guess(generator):
    with torch.random.fork_rng():
        torch.default_generator.manual_seed(0)
        mae = MaskedAutoencoder(vit(16, 4, embed_dim=32), 24, 1, 2, norm_pix=False)
    optimizer = torch.optim.AdamW(mae.parameters(), 3e-3)
    images = pictures(256, 16, generator)
    test, fixed = pictures(64, 16, generator), torch.Generator().manual_seed(5)
    visible = mae.draw(test, fixed)
    for _ in range(120):
        batch = images[torch.randint(256, (32,), generator=generator)]
        optimizer.zero_grad()
        mae.loss(batch, mae.draw(batch, generator)).backward()
        optimizer.step()
    assert mae.loss(test, visible) < 0.6 * test.var()  # a guess of the mean has the variance


def test_bad_arguments_raise():
    with pytest.raises(TypeError, match="needs a VisionTransformer of timm, got Linear"):
        MaskedAutoencoder(torch.nn.Linear(2, 2))
    with pytest.raises(ValueError, match="head would have no part"):
        MaskedAutoencoder(vit(num_classes=10))
    with pytest.raises(ValueError, match="fc_norm would have no part"):
        MaskedAutoencoder(vit(global_pool="avg"))
    with pytest.raises(ValueError, match="multiple of its heads; got decoder_dim 13"):
        MaskedAutoencoder(vit(), 13, 1, 2)
    for ratio in (0.0, 1.0):
        with pytest.raises(ValueError, match="ratio should be above 0 and below 1"):
            autoencoder(ratio=ratio)
    with pytest.raises(ValueError, match="at least 2 patches"):
        autoencoder(8, 8)
    with pytest.raises(ValueError, match="no embedding of positions"):
        fix_positions_(vit(pos_embed="none"))
    with pytest.raises(ValueError, match="multiple of 4 channels, not 18"):
        fix_positions_(vit(embed_dim=18))
