"""A picture of what a masked autoencoder guesses."""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from superpose.plotting.canvas import as_picture, axes_for, colours, figure_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = ("image", "what is seen", "guess", "guess in its place")
SIDE = 1.1
"""Of an image, in inches."""
GAP, HEAD = 0.06, 0.24
"""Room between images, and above them for words, in inches."""


def plot_reconstructions(mae: Any, images: Any, visible: Any = None, *, ax: "Axes | None" = None) -> "Axes":
    """Draw images, what a masked autoencoder sees of them, and what it guesses; a row for each image.

    The third picture has the guesses alone, and the visible patches in the colour of what is hidden before; the last one
    has both. With `norm_pix` a guess has no brightness or contrast of its own and gets those of the true patch: what it
    shows beyond them is learned. All pictures of a row have the scale of the image.

    Args:
        mae: A `superpose.vision.mae.MaskedAutoencoder`.
        images: Images as the network takes them.
        visible: Which patches it sees, as `mae.draw` gives them; drawn by it, from the global state, if None.
        ax: Where to draw; a new figure if None.

    Raises:
        TypeError: If `ax` is not what matplotlib draws in.
        ValueError: If there are no images, or they have neither one nor three channels.

    Example:
        >>> import matplotlib, timm
        >>> matplotlib.use("Agg")
        >>> from superpose.plotting import plot_reconstructions
        >>> from superpose.vision.mae import MaskedAutoencoder
        >>> mae = MaskedAutoencoder(timm.create_model("kernel_vit_nano_patch4_32", num_classes=0), 32, 1, 4)
        >>> ax = plot_reconstructions(mae, torch.randn(2, 3, 32, 32))
        >>> len(ax.images)
        8
    """
    if len(images) == 0:
        raise ValueError("there are no images to draw.")
    visible = mae.draw(images) if visible is None else visible
    _, guessed = _evaluated(mae, images, visible)
    hidden = mae.is_hidden(visible).unsqueeze(-1)
    shown = mae.images(hidden.expand(-1, -1, mae.patches(images).shape[-1]).to(images)) > 0
    wide, high = SIDE * images.shape[3] / max(images.shape[2:]), SIDE * images.shape[2] / max(images.shape[2:])
    size = len(COLUMNS) * (wide + GAP) + GAP, len(images) * (high + GAP) + HEAD
    ax = axes_for(ax, size, bare=True)
    ax.set(xlim=(0, size[0]), ylim=(size[1], 0), aspect="equal")
    ax.set_axis_off()
    grey = np.array(colours(ax).faint(0.35)[:3], dtype=np.float32)
    letters = min(8.0, 8 * ax.get_window_extent().width / figure_of(ax).dpi / size[0])
    for row, (image, guess, mask) in enumerate(zip(images, guessed, shown, strict=True)):
        true, made = as_picture(image), as_picture(guess, image)
        where = mask[:1].permute(1, 2, 0).cpu().numpy()
        pictures = true, np.where(where, grey, true), np.where(where, made, grey), np.where(where, made, true)
        for column, picture in enumerate(pictures):
            left, top = GAP + column * (wide + GAP), HEAD + row * (high + GAP)
            box = (left, left + wide, top + high, top)
            ax.imshow(picture, extent=box, aspect="equal", interpolation="nearest")
    for column, word in enumerate(COLUMNS):
        ax.text(GAP + column * (wide + GAP) + wide / 2, HEAD - 0.06, word, ha="center", fontsize=letters)
    return ax


def _evaluated(mae: Any, images: Any, visible: Any) -> Any:
    from superpose.layers.statistics import evaluating

    with evaluating(mae), torch.no_grad():
        return mae.reconstruct(images, visible)
