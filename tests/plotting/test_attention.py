"""What is drawn are the maps, on one scale, where even attention has the colour of the background."""

import matplotlib as mpl
import numpy as np
import pytest
import torch

pytest.importorskip("timm")
mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.colors import to_rgba

from superpose.plotting import plot_attention, plot_head_distances
from superpose.vision.attention_maps import AttentionMaps, head_distances


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def _maps(generator, sharp=4.0):
    scores = {f"blocks.{n}.attn": sharp * torch.randn(2, 3, 5, 5, generator=generator) for n in range(2)}
    return AttentionMaps({name: each.softmax(-1) for name, each in scores.items()}, (2, 2), 1, True)


@pytest.mark.parametrize("style", ["default", "dark_background"])
def test_maps_and_their_entropies_on_one_scale(generator, style):
    maps = _maps(generator)
    with plt.style.context(style):
        ax = plot_attention(maps, torch.rand(3, 8, 8), index=1)
        paper = to_rgba(plt.rcParams["figure.facecolor"])
    drawn = ax.images[:6]
    assert len({(each.get_clim(), each.get_cmap().name) for each in drawn}) == 1
    words = [text.get_text() for text in ax.texts]
    for n, (name, weights) in enumerate(maps.weights.items()):
        for head in range(3):
            row = weights[1, head, 0].double().numpy()
            np.testing.assert_allclose(drawn[3 * n + head].get_array(), np.log2(5 * row[1:].reshape(2, 2)), atol=1e-5)
            assert f"{-(row * np.log(row)).sum() / np.log(5):.2f}" in words
        assert name.split(".")[1] in " ".join(words)
    control = next(each for each in ax.images[6:] if each.get_array().shape == (2, 2))
    np.testing.assert_allclose(control.to_rgba(control.get_array())[0, 0], paper, atol=0.02)


def test_nearly_even_attention_looks_even(generator):
    ax = plot_attention(_maps(generator, sharp=0.01))
    for each in ax.images[:6]:
        assert each.get_clim() == (-2, 2)
        assert each.to_rgba(each.get_array())[..., :3].min() > 0.93


def test_distances_with_one_scale(generator):
    maps = _maps(generator)
    ax = plot_head_distances(maps)
    np.testing.assert_allclose(ax.images[0].get_array(), head_distances(maps.weights))
    assert ax.images[0].get_clim() == (0, 1)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["0", "1"]


def test_wrong_input_raises(generator):
    with pytest.raises(ValueError, match="index is 2, but the maps are of 2 images"):
        plot_attention(_maps(generator), index=2)
    with pytest.raises(ValueError, match=r"do not fit into 1\.0 x 1\.0 inches"):
        plot_attention(_maps(generator), ax=plt.figure(figsize=(1, 1)).add_axes((0, 0, 1, 1)))
