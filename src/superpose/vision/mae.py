"""Masked autoencoders: a vision transformer learns from images alone, by guessing what is hidden in them."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from timm.layers import build_sincos2d_pos_embed
from timm.models import checkpoint_seq
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from superpose.vision.kernel_vit import Kind, blocks_with

EPSILON = 1e-6
"""Added to the variance of a patch, as by He et al."""


class MaskedAutoencoder(nn.Module):
    """A vision transformer that sees some patches of an image, and a smaller one that guesses the others.

    The encoder works on the visible patches alone. The decoder gets its tokens, with a learned token in each hidden place,
    and predicts the pixels of every patch; the loss is the mean squared error in the hidden ones (He et al. 2022, arXiv
    2111.06377). Afterwards the decoder is thrown away.

    Args:
        encoder: A `VisionTransformer` of timm with any attention, made with `num_classes=0`. It becomes a part of this
            module. If its positions are fixed, see `fix_positions_`, so are the decoder's; else both are learned.
        decoder_dim: Width of the decoder.
        decoder_depth: Number of its blocks.
        decoder_heads: Number of its heads.
        attention: Kind of attention in the decoder, or one for each block, see `superpose.vision.kernel_vit`.
        ratio: Share of the patches that is hidden, above 0 and below 1; at least one is, and one is not.
        norm_pix: Whether the pixels of each patch are normalised before they are guessed.
        **block: Further arguments of timm's `Block` for the decoder, such as `mlp_ratio` or `proj_drop`.

    Raises:
        TypeError: If the encoder is no `VisionTransformer`.
        ValueError: If it has parts that pretraining would not train, or a number is out of its range.

    Example:
        >>> vit = VisionTransformer(32, 8, embed_dim=64, depth=2, num_heads=4, num_classes=0)
        >>> mae = MaskedAutoencoder(vit, 48, 1, 4)
        >>> images = torch.zeros(5, 3, 32, 32)
        >>> visible = mae.draw(images)
        >>> visible.shape, mae(images, visible).shape
        (torch.Size([5, 4]), torch.Size([5, 16, 192]))
    """

    def __init__(
        self,
        encoder: VisionTransformer,
        decoder_dim: int = 512,
        decoder_depth: int = 8,
        decoder_heads: int = 16,
        *,
        attention: Kind | Sequence[Kind] = "softmax",
        ratio: float = 0.75,
        norm_pix: bool = True,
        **block: Any,
    ) -> None:
        super().__init__()
        _check_encoder(encoder)
        if decoder_depth < 1 or decoder_heads < 1 or decoder_dim < 1 or decoder_dim % decoder_heads:
            raise ValueError(
                f"the decoder needs at least one block, and a dim that is a multiple of its heads; got decoder_dim "
                f"{decoder_dim}, decoder_depth {decoder_depth} and decoder_heads {decoder_heads}."
            )
        embed = encoder.patch_embed
        patches = embed.num_patches
        if not 0 < ratio < 1 or patches < 2:
            raise ValueError(f"ratio should be above 0 and below 1, of at least 2 patches; got {ratio} of {patches}.")
        self.encoder, self.ratio, self.norm_pix = encoder, ratio, norm_pix
        self.hidden = min(max(round(ratio * patches), 1), patches - 1)
        """Number of hidden patches."""
        self.decoder_embed = nn.Linear(encoder.embed_dim, decoder_dim)
        self.mask_token = nn.Parameter(torch.empty(1, 1, decoder_dim))
        tokens = patches + encoder.num_prefix_tokens
        self.decoder_positions = nn.Parameter(torch.empty(1, tokens, decoder_dim))
        make = blocks_with(attention, decoder_depth)
        arguments = {"dim": decoder_dim, "num_heads": decoder_heads, "qkv_bias": True, **block}
        self.decoder = nn.Sequential(*[make(depth=i, **arguments) for i in range(decoder_depth)])
        self.decoder_norm = nn.LayerNorm(decoder_dim, eps=1e-6)
        self.decoder_head = nn.Linear(decoder_dim, embed.proj.in_channels * embed.patch_size[0] * embed.patch_size[1])
        self._start_decoder_()

    @torch.no_grad()
    def _start_decoder_(self) -> None:
        """Draw the mask token and the positions; the layers have drawn their own weights."""
        nn.init.normal_(self.mask_token, std=0.02)
        nn.init.trunc_normal_(self.decoder_positions, std=0.02)
        if self.encoder.pos_embed is not None and not self.encoder.pos_embed.requires_grad:
            grid = self.encoder.patch_embed.grid_size
            self.decoder_positions.copy_(
                _sincos(grid, self.decoder_positions.shape[-1], self.encoder.num_prefix_tokens)
            )
            self.decoder_positions.requires_grad = False

    def draw(
        self, images: Float[Tensor, "batch channels height width"], generator: torch.Generator | None = None
    ) -> Int[Tensor, "batch visible"]:
        """Which patches stay visible, chosen at random for each image.

        Args:
            images: What is to be masked.
            generator: Source of randomness; the global state of the images' device if None.
        """
        device = images.device if generator is None else generator.device
        noise = torch.rand(len(images), self.encoder.patch_embed.num_patches, generator=generator, device=device)
        return noise.argsort(1)[:, self.hidden :].to(images.device)

    def forward(
        self, images: Float[Tensor, "batch channels height width"], visible: Int[Tensor, "batch visible"]
    ) -> Float[Tensor, "batch patches pixels"]:
        """The predicted pixels of every patch, in the order of `patches`; normalised ones if `norm_pix`."""
        seen = self.decoder_embed(self.encode(images, visible))
        first = self.encoder.num_prefix_tokens
        batch, width = len(images), seen.shape[-1]
        tokens = self.mask_token.to(seen.dtype).expand(batch, self.encoder.patch_embed.num_patches, -1)
        tokens = tokens.scatter(1, visible.unsqueeze(-1).expand(-1, -1, width), seen[:, first:])
        x = self.decoder(torch.cat([seen[:, :first], tokens], 1) + self.decoder_positions)
        return self.decoder_head(self.decoder_norm(x[:, first:]))

    def encode(
        self, images: Float[Tensor, "batch channels height width"], visible: Int[Tensor, "batch visible"]
    ) -> Float[Tensor, "batch tokens dim"]:
        """The encoder's tokens: its class token and registers, and the visible patches in the order of `visible`."""
        encoder = self.encoder
        x = encoder._pos_embed(encoder.patch_embed(images))
        first = encoder.num_prefix_tokens
        patches = x[:, first:].gather(1, visible.unsqueeze(-1).expand(-1, -1, x.shape[-1]))
        x = encoder.norm_pre(torch.cat([x[:, :first], patches], 1))
        x = checkpoint_seq(encoder.blocks, x) if encoder.grad_checkpointing else encoder.blocks(x)
        return encoder.norm(x)

    def loss(
        self, images: Float[Tensor, "batch channels height width"], visible: Int[Tensor, "batch visible"]
    ) -> Float[Tensor, ""]:
        """The mean squared error over the pixels of the hidden patches."""
        errors = (self(images, visible) - self.targets(images)).square().mean(-1)
        hidden = self.is_hidden(visible)
        return (errors * hidden).sum() / hidden.sum()

    def targets(self, images: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch patches pixels"]:
        """What is predicted: the pixels of every patch, with mean 0 and variance 1 if `norm_pix`."""
        pixels = self.patches(images)
        return (pixels - pixels.mean(-1, keepdim=True)) / _deviation(pixels) if self.norm_pix else pixels

    def is_hidden(self, visible: Int[Tensor, "batch visible"]) -> Bool[Tensor, "batch patches"]:
        """Which patches are not visible."""
        everything = visible.new_ones(len(visible), self.encoder.patch_embed.num_patches, dtype=torch.bool)
        return everything.scatter(1, visible, value=False)

    def patches(self, images: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch patches pixels"]:
        """The pixels of every patch, row by row of patches; within one row by row, the channels of a pixel together."""
        (rows, columns), (height, width) = self.encoder.patch_embed.grid_size, self.encoder.patch_embed.patch_size
        cut = images.unflatten(3, (columns, width)).unflatten(2, (rows, height))
        return cut.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)

    def images(self, patches: Float[Tensor, "batch patches pixels"]) -> Float[Tensor, "batch channels height width"]:
        """The images that these patches make up."""
        grid, (height, width) = self.encoder.patch_embed.grid_size, self.encoder.patch_embed.patch_size
        cut = patches.unflatten(2, (height, width, -1)).unflatten(1, grid)
        return cut.permute(0, 5, 1, 3, 2, 4).flatten(4).flatten(2, 3)

    @torch.no_grad()
    def reconstruct(
        self, images: Float[Tensor, "batch channels height width"], visible: Int[Tensor, "batch visible"]
    ) -> tuple[Float[Tensor, "batch channels height width"], Float[Tensor, "batch channels height width"]]:
        """For display: the images with zeros in the hidden patches, and with what is guessed there.

        With `norm_pix` a guess has no brightness or contrast of its own, and gets those of the true patch.
        """
        pixels, guessed = self.patches(images), self(images, visible)
        if self.norm_pix:
            guessed = guessed * _deviation(pixels) + pixels.mean(-1, keepdim=True)
        hidden = self.is_hidden(visible).unsqueeze(-1)
        return self.images(pixels.masked_fill(hidden, 0)), self.images(torch.where(hidden, guessed.to(pixels), pixels))

    @torch.jit.ignore
    def no_weight_decay(self) -> set[str]:
        """Names of parameters that should not decay, for timm's optimizers."""
        return {f"encoder.{name}" for name in self.encoder.no_weight_decay()} | {"mask_token", "decoder_positions"}


@torch.no_grad()
def fix_positions_(model: VisionTransformer) -> VisionTransformer:
    """Give a vision transformer positions that are not learned: sines and cosines of row and column.

    Those of class token and registers are zero (He et al. 2022, appendix A.1).

    Args:
        model: A `VisionTransformer` of timm with an embedding of positions and a width that is a multiple of 4.

    Returns:
        The model itself.

    Raises:
        TypeError: If it is no `VisionTransformer`.
        ValueError: If it has no positions, or another width.

    Example:
        >>> vit = fix_positions_(VisionTransformer(32, 8, embed_dim=64, depth=1, num_heads=4))
        >>> vit.pos_embed.requires_grad
        False
    """
    _check_kind(model)
    if model.pos_embed is None:
        raise ValueError("the model has no embedding of positions to fix; make it with pos_embed='learn'.")
    prefix = model.pos_embed.shape[1] - model.patch_embed.num_patches
    model.pos_embed.copy_(_sincos(model.patch_embed.grid_size, model.embed_dim, prefix))
    model.pos_embed.requires_grad = False
    return model


def _sincos(grid: tuple[int, int], dim: int, prefix: int) -> Float[Tensor, "1 tokens dim"]:
    if dim % 4:
        raise ValueError(f"sines and cosines of rows and columns fill a multiple of 4 channels, not {dim}.")
    positions = build_sincos2d_pos_embed(list(grid), dim)
    return torch.cat([positions.new_zeros(prefix, dim), positions]).unsqueeze(0)


def _deviation(pixels: Float[Tensor, "batch patches pixels"]) -> Float[Tensor, "batch patches 1"]:
    return (pixels.var(-1, keepdim=True) + EPSILON).sqrt()


def _check_kind(model: Any) -> None:
    """Raise if a network is of another kind."""
    if not isinstance(model, VisionTransformer):
        raise TypeError(
            f"a masked autoencoder needs a VisionTransformer of timm, got {type(model).__name__}; for example "
            "timm.create_model('kernel_vit_mini_patch4_32', num_classes=0)."
        )


def _check_encoder(encoder: Any) -> None:
    """Raise what is wrong with an encoder."""
    _check_kind(encoder)
    idle = [
        name
        for name in ("head", "fc_norm", "attn_pool", "patch_drop")
        if not isinstance(getattr(encoder, name), nn.Identity | None)
    ]
    if idle:
        raise ValueError(
            f"the encoder's {', '.join(idle)} would have no part in pretraining; make it with num_classes=0, "
            "global_pool='token' (or 'avg' and fc_norm=False) and patch_drop_rate=0."
        )
