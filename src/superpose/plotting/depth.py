"""A picture of the variance of activations from layer to layer."""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from superpose.layers.statistics import layer_statistics
from superpose.plotting.canvas import axes_for

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STYLES: tuple[tuple[Any, str], ...] = (("-", "o"), ("--", "s"), (":", "^"), ("-.", "D"))
"""Lines and marks of the kinds of layers."""
NUMBER = re.compile(r"(?<![^.])\d+(?![^.])")
"""A part of a name that is a number."""


def plot_variance(
    networks: nn.Module | Mapping[str, nn.Module | Mapping[str, float]],
    X: Any = None,
    *,
    modules: Sequence[str] | None = None,
    ax: "Axes | None" = None,
) -> "Axes":
    """Draw the variance of what the layers give, against their depth: a colour for each network, a line for each kind.

    Layers are of one kind if their names differ in their numbers only, as `blocks.0.mlp.act1` and `blocks.1.mlp.act1`.
    The first number is the depth. If no kind has two layers, all are one, in their order.

    Args:
        networks: A network, or several with what to call them, such as `{"before": a, "after": b}`. In place of a network
            there may be the variances by the names of the layers, such as `superpose.train.watching.WatchLayers` logs.
        X: Inputs of the networks, such as a batch of images.
        modules: Which layers, see `superpose.layers.statistics.layers_of`.
        ax: Where to draw; a new figure if None.

    Raises:
        TypeError: If there is a network but no data, or `ax` is not what matplotlib draws in.
        ValueError: If there is nothing to draw, or no layer has such a name.

    Example:
        >>> import matplotlib, torch
        >>> matplotlib.use("Agg")
        >>> from superpose.layers import RationalMlp
        >>> from superpose.plotting import plot_variance
        >>> deep = nn.Sequential(*(RationalMlp(16) for _ in range(5)))
        >>> plot_variance(deep, torch.randn(100, 16), modules=["?"]).get_ylabel()
        'variance'
    """
    given = {"": networks} if isinstance(networks, nn.Module) else networks
    found = {str(label): _variances(network, X, modules) for label, network in given.items()}
    kinds = _kinds(list(dict.fromkeys(name for values in found.values() for name in values)))
    if not kinds:
        raise ValueError("there are no layers to draw; modules chooses which.")
    ax = axes_for(ax, (5.2, 3.4))
    for n, (label, values) in enumerate(found.items()):
        for k, (kind, places) in enumerate(kinds.items()):
            points = [(depth, values[name]) for name, depth in places.items() if name in values]
            line, mark = STYLES[k % len(STYLES)]
            y = [variance if variance > 0 else np.nan for _, variance in points]
            ax.plot(
                [depth for depth, _ in points],
                y,
                color=f"C{n}",
                linestyle=line,
                marker=mark,
                markersize=3.5,
                linewidth=1.5,
                label=f"{label} {kind}".strip(),
            )
    _finish_(ax, kinds, list(found))
    return ax


def _variances(network: Any, X: Any, modules: Sequence[str] | None) -> dict[str, float]:
    if isinstance(network, Mapping):
        return {str(name): float(variance) for name, variance in network.items()}
    if X is None:
        raise TypeError(
            "give X, inputs of the network such as a batch of images, or variances in place of the network."
        )
    return {name: seen.variance for name, seen in layer_statistics(network, X, modules=modules).items()}


def _kinds(names: Sequence[str]) -> dict[str, dict[str, int]]:
    """For each kind, its layers and their depths."""
    kinds: dict[str, dict[str, int]] = {}
    for name in names:
        number = NUMBER.search(name)
        if number is not None:
            kinds.setdefault(NUMBER.sub("*", name), {})[name] = int(number[0])
    kinds = {kind: places for kind, places in kinds.items() if len(set(places.values())) > 1}
    return kinds or ({"": {name: n for n, name in enumerate(names)}} if names else {})


def _finish_(ax: "Axes", kinds: Mapping[str, Mapping[str, int]], labels: Sequence[str]) -> None:
    """Scales and words."""
    from matplotlib.lines import Line2D
    from matplotlib.ticker import MaxNLocator

    ax.set(yscale="log", ylabel="variance", xlabel="depth")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    if "" in kinds:
        ax.set_xlabel("")
        ax.set_xticks(list(kinds[""].values()), list(kinds[""]), rotation=30, ha="right", fontsize="small")
    rows = [Line2D([], [], color=f"C{n}", linewidth=3, label=label) for n, label in enumerate(labels) if label]
    ink = "0.5"
    for k, kind in enumerate(kinds):
        line, mark = STYLES[k % len(STYLES)]
        if kind:
            rows.append(Line2D([], [], color=ink, linestyle=line, marker=mark, markersize=3.5, label=kind))
    if rows:
        ax.legend(handles=rows, frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))
    ax.spines[["top", "right"]].set_visible(False)
