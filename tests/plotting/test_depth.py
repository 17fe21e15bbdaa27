"""The lines are the variances of what the layers give, by depth."""

import matplotlib as mpl
import numpy as np
import pytest
import torch
from torch import nn

mpl.use("Agg")

from matplotlib import pyplot as plt

from superpose.layers import RationalMlp
from superpose.plotting import plot_variance


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def _x():
    return torch.randn(100, 16, generator=torch.Generator().manual_seed(0))


def _lines(ax):
    return {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in ax.lines}


def test_kinds_of_layers_and_networks():
    first, second = (nn.Sequential(*(RationalMlp(16) for _ in range(3))) for _ in range(2))
    x = _x()
    lines = _lines(plot_variance({"before": first, "after": second}, x))
    kinds = ["*", "*.act1", "*.act2"]
    assert list(lines) == [f"{label} {kind}" for label in ("before", "after") for kind in kinds]
    expected = [second[: n + 1](x).detach().numpy().var() for n in range(3)]
    depths, values = lines["after *"]
    assert depths == [0, 1, 2]
    np.testing.assert_allclose(values, expected, rtol=1e-4)


def test_what_was_logged():
    rows = {"step 0": {"blocks.0": 1.0, "blocks.1": 2.0}, "step 9": {"blocks.0": 3.0, "blocks.1": 0.0}}
    ax = plot_variance(rows)
    lines = _lines(ax)
    assert lines["step 0 blocks.*"] == ([0, 1], [1.0, 2.0])
    assert np.isnan(lines["step 9 blocks.*"][1][1]), "a logarithm has no place for zero"
    assert [text.get_text() for text in ax.get_legend().texts] == ["step 0", "step 9", "blocks.*"]


def test_layers_without_numbers_stand_in_their_order():
    network = nn.Sequential()
    network.add_module("first", nn.Linear(16, 8))
    network.add_module("last", nn.Linear(8, 2))
    ax = plot_variance(network, _x())
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["first", "last"]
    assert ax.get_legend() is None


def test_what_cannot_be_drawn_raises():
    with pytest.raises(TypeError, match="give X"):
        plot_variance(nn.Sequential(nn.Linear(2, 2)))
    with pytest.raises(ValueError, match="no layers to draw"):
        plot_variance({"before": {}})
