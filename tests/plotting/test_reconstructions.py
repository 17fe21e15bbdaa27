"""The pictures are the image, what is seen of it, and what the network guesses."""

import matplotlib as mpl
import numpy as np
import pytest
import torch

pytest.importorskip("timm")
mpl.use("Agg")

from matplotlib import pyplot as plt
from timm.models.vision_transformer import VisionTransformer

from superpose.plotting import plot_reconstructions
from superpose.vision.mae import MaskedAutoencoder


def test_each_patch_is_either_seen_or_guessed(generator):
    mae = MaskedAutoencoder(VisionTransformer(8, 4, embed_dim=16, depth=1, num_heads=2, num_classes=0), 16, 1, 2)
    images = torch.randn(2, 3, 8, 8, generator=generator)
    visible = torch.tensor([[1], [2]])  # top right, bottom left
    ax = plot_reconstructions(mae, images, visible)
    mae.eval()
    _, guessed = mae.reconstruct(images, visible)
    for row, (places, image) in enumerate(zip([(0, 1), (1, 0)], images, strict=True)):
        true, seen, guess, both = (np.asarray(each.get_array()) for each in ax.images[4 * row : 4 * row + 4])
        low, high = image.min(), image.max()
        np.testing.assert_allclose(true, ((image - low) / (high - low)).permute(1, 2, 0), atol=1e-6)
        made = ((guessed[row] - low) / (high - low)).clamp(0, 1).permute(1, 2, 0).numpy()
        mask = np.ones((8, 8), dtype=bool)
        mask[4 * places[0] : 4 * places[0] + 4, 4 * places[1] : 4 * places[1] + 4] = False
        np.testing.assert_allclose(seen[~mask], true[~mask])
        assert len(np.unique(seen[mask])) == 1
        np.testing.assert_allclose(guess[mask], made[mask], atol=1e-6)
        np.testing.assert_allclose(both[~mask], true[~mask], atol=1e-6)
        np.testing.assert_allclose(both[mask], made[mask], atol=1e-6)
    with pytest.raises(ValueError, match="there are no images"):
        plot_reconstructions(mae, images[:0])
    plt.close("all")
