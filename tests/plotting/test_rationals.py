"""The lines are the functions, computed here by NumPy's polynomials, over what the layers are given."""

import copy

import matplotlib as mpl
import numpy as np
import pytest
import torch
from numpy.polynomial import Polynomial
from torch import nn

mpl.use("Agg")

from matplotlib import pyplot as plt

from superpose.layers import GroupRational, RationalMlp
from superpose.plotting import plot_rationals


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def _network(depth=2, width=16):
    with torch.random.fork_rng():
        torch.default_generator.manual_seed(0)
        return nn.Sequential(*(RationalMlp(width) for _ in range(depth)))


def _x(rows=200, width=16):
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def _changed(model):
    model, generator = copy.deepcopy(model), torch.Generator().manual_seed(1)
    for p in model.parameters():
        p.add_(0.05 * torch.randn(p.shape, generator=generator))
    return model


def _oracle(layer, group, x):
    a, b = (p.detach().double().numpy() for p in (layer.weight_numerator[0], layer.weight_denominator[group]))
    return Polynomial(a)(x) / (1 + Polynomial([0, *np.abs(b)])(np.abs(x)))


def _functions(panel):
    (lines,) = (each for each in panel.collections if each.get_label() == "functions")
    return lines.get_segments()


def test_a_line_for_each_group_and_what_it_was():
    start = _network()
    model = _changed(start)
    ax = plot_rationals(model, before=start)
    assert [panel.get_title(loc="left") for panel in ax.child_axes] == ["0 act1", "0 act2", "1 act1", "1 act2"]
    for panel, layer, old in zip(
        ax.child_axes, [m for m in model.modules() if isinstance(m, GroupRational)],
        [m for m in start.modules() if isinstance(m, GroupRational)], strict=True,
    ):  # fmt: skip
        functions = _functions(panel)
        assert len(functions) == 8
        assert panel.get_xlim() == (-8, 8)
        for group, points in enumerate(functions):
            np.testing.assert_allclose(points[:, 1], _oracle(layer, group, points[:, 0]), atol=1e-9)
        (then,) = panel.lines  # all groups started as one
        np.testing.assert_allclose(then.get_ydata(), _oracle(old, 0, then.get_xdata()), atol=1e-9)
        low, high = panel.get_ylim()
        values = np.concatenate([then.get_ydata(), *(points[:, 1] for points in functions)])
        assert low < values.min()
        assert values.max() < high


def test_without_another_network_it_is_what_the_layer_started_as():
    model = _changed(nn.Sequential(GroupRational(8, activation="silu")))
    (panel,) = plot_rationals(model).child_axes
    x = panel.lines[0].get_xdata()
    np.testing.assert_allclose(panel.lines[0].get_ydata(), x / (1 + np.exp(-x)), atol=6e-4)


def test_panels_span_what_the_layers_are_given():
    model, x = _network(1), _x(2000)
    x[0, 0] = 1e4
    hidden = model[0].fc1(model[0].act1(x)).detach().numpy()
    ax = plot_rationals(model, x)
    low, high = ax.child_axes[1].get_xlim()
    assert np.mean((hidden >= low) & (hidden <= high)) == pytest.approx(0.9995, abs=1e-4)
    assert ax.child_axes[0].get_xlim()[1] < 5, "one outlier does not squeeze the others"
    (bars,) = ax.child_axes[1].patches
    heights = bars.get_data().values
    counts, _ = np.histogram(hidden, 50, (low, high))
    np.testing.assert_allclose(heights / heights.max(), counts / counts.max(), atol=1e-6)
    assert not any(m._forward_hooks for m in model.modules())


def test_a_deep_network_is_readable():
    """No panel lies on another one, and numbers do not run into panels."""
    ax = plot_rationals(_network(12), _x(50))
    ax.figure.canvas.draw()
    boxes = [panel.get_tightbbox() for panel in ax.child_axes] + [ax.get_legend().get_window_extent()]
    assert len(boxes) == 25
    for n, box in enumerate(boxes):
        for other in boxes[:n]:
            assert not (
                min(box.x1, other.x1) - max(box.x0, other.x0) > 2 and min(box.y1, other.y1) - max(box.y0, other.y0) > 2
            )


def test_axes_that_are_given_are_used():
    figure, axes = plt.subplots(1, 2, figsize=(8, 3))
    ax = plot_rationals(_network(2), ax=axes[1])
    assert ax is axes[1]
    assert len({panel.get_position().x0 for panel in ax.child_axes}) == 2, "two columns suit this shape"
    with pytest.raises(TypeError, match="ax must be matplotlib Axes"):
        plot_rationals(_network(1), ax=figure)


def test_what_cannot_be_drawn_raises():
    with pytest.raises(ValueError, match="there is no GroupRational"):
        plot_rationals(nn.Sequential(nn.Linear(2, 2)))
    with pytest.raises(ValueError, match="the same group-rational layers"):
        plot_rationals(_network(2), before=_network(1))
    with pytest.raises(ValueError, match=r"inputs of 0\.act1 are not finite"):
        plot_rationals(_network(1), _x() * float("nan"))
