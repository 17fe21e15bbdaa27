"""A picture of one edge."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float

from superpose.models import KAN
from superpose.plotting.canvas import axes_for, colours
from superpose.plotting.graph import Edge, as_array, edge_functions, factors, multiplied
from superpose.plotting.names import checked_edge, is_math, plain
from superpose.scores import table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Candidate = tuple[str, Callable[[np.ndarray], Any]]
"""What it is called, and a function of what the edge takes."""

SIZE = (4.5, 3.4)
"""Of a picture that makes its own figure, in inches."""
FINE = 400
"""Points of the curve."""
FEW = 300
"""Rows up to which each has a mark of its own; more become a histogram."""
STRIP = 0.12
"""Share of the height that shows where the data are."""


@dataclass(frozen=True)
class Profile:
    """One edge on its own data.

    Attributes:
        data: What the edge takes, row by row.
        x: Points over the range of the data.
        y: The function of the edge there.
        name: The input of the network that it comes from, or the node of a hidden layer, as LaTeX or plain text.
        units: Scale and shift that bring `x` back to the units of the model's inputs; 1 and 0 for hidden layers.
    """

    data: Float[np.ndarray, " rows"]
    x: Float[np.ndarray, " points"]
    y: Float[np.ndarray, " points"]
    name: str
    units: tuple[float, float]


def plot_edge(
    model: KAN, X: Any, edge: Edge, *, candidates: Sequence[Candidate] | None = None, ax: "Axes | None" = None
) -> "Axes":
    """Draw one edge: its function over the range of its data, where the data lie, and what might stand in for it.

    Args:
        model: The network.
        X: Rows of inputs in the units of the model: a tensor, array, data frame or lists.
        edge: Layer, output and input, counted from 0.
        candidates: Labels and functions to draw over it, with what they leave unexplained in a panel below. A function
            takes and gives an array, of what the edge takes: for the first layer that is the input after the model's
            own change of units, `model.input_scaling`. The axis shows the units of the model's inputs all the same.
        ax: Where to draw; a new figure if None. Candidates take the lower third of it.

    Raises:
        TypeError: If the model is not a `KAN`, `X` does not hold numbers, or `ax` is not what matplotlib draws in.
        ValueError: If there is no such edge, or a candidate does not give a number for each number.

    Example:
        >>> import matplotlib, torch
        >>> matplotlib.use("Agg")
        >>> from superpose import KAN
        >>> from superpose.plotting import plot_edge
        >>> ax = plot_edge(KAN((2, 1)), torch.rand(100, 2), (0, 0, 1), candidates=[("a line", lambda x: x / 3)])
        >>> ax.get_ylabel()
        'edge (0, 0, 1)'
    """
    if not isinstance(model, KAN):
        raise TypeError(f"only a KAN has edge functions to draw, got {type(model).__name__}.")
    found = profile(model, X, edge := checked_edge(model, edge))
    guesses = [(plain(str(label)), _values(label, function, found.x)) for label, function in candidates or []]
    ax = axes_for(ax, (SIZE[0], SIZE[1] + (1.2 if guesses else 0)))
    paint = colours(ax)
    scale, shift = found.units
    shown = found.x * scale + shift
    ax.plot(shown, found.y, color=paint.curve, linewidth=2.2, label="edge" if guesses else None, zorder=3)
    ax.set_ylabel(f"edge {edge}")
    ax.margins(x=0.02)
    below = ax
    if guesses:
        below = _divided(ax)
        below.axhline(0, color=paint.faint(0.5), linewidth=0.8)
        below.set_ylabel("left over")
    for n, (label, values) in enumerate(guesses):
        style: dict[str, Any] = {"color": f"C{n + 1}", "linewidth": 1.5, "linestyle": ("--", "-.", ":")[n % 3]}
        ax.plot(shown, values, label=label, zorder=4, **style)
        below.plot(shown, found.y - values, **style)
    _draw_data_(ax, found.data * scale + shift, paint.faint(0.45))
    if guesses:
        ax.legend(frameon=False, fontsize="small")
    below.set_xlabel(found.name, parse_math=is_math(found.name))
    return ax


@torch.no_grad()
def profile(model: KAN, X: Any, edge: Edge, names: Sequence[str] | None = None) -> Profile:
    """One edge on its own data."""
    n, o, i = edge
    values = model.input_scaling(table(X, "X", model.widths[0]).to(model.input_scaling.scale))
    for layer, arities in zip(model.layers[:n], factors(model), strict=False):
        values = multiplied(layer(values), arities)
    layer, data = model.layers[n], values[:, i]
    x = values.new_zeros(FINE, layer.in_features)
    x[:, i] = torch.linspace(0, 1, FINE, dtype=x.dtype, device=x.device) * (data.max() - data.min()) + data.min()
    y = edge_functions(layer, x)[o, i]
    columns = getattr(X, "columns", None) if names is None else names
    known = str(columns[i]) if columns is not None else f"$x_{{{i + 1}}}$"
    name = known if n == 0 else f"node {i + 1} of layer {n}"
    units = 1.0, 0.0
    if n == 0:
        scale, shift = float(model.input_scaling.scale[i]), float(model.input_scaling.shift[i])
        units = 1 / scale, -shift / scale
    return Profile(as_array(data), as_array(x[:, i]), as_array(y), name, units)


def _values(label: str, function: Callable[[np.ndarray], Any], x: np.ndarray) -> Float[np.ndarray, " points"]:
    """A candidate at points of the edge, checked."""
    values = np.asarray(function(x), dtype=float)
    values = np.full_like(x, float(values)) if values.ndim == 0 else values
    if values.shape != x.shape:
        raise ValueError(
            f"the candidate {label!r} gave shape {values.shape} for {x.shape}; it must give a number for each number."
        )
    return np.where(np.isfinite(values), values, np.nan)


def _divided(ax: "Axes") -> "Axes":
    """Axes in what was the lower part of `ax`, which keeps the rest and the numbers on x."""
    place = ax.get_subplotspec()
    if place is not None:
        grid = place.subgridspec(2, 1, height_ratios=(5, 2), hspace=0.06)
        ax.set_subplotspec(grid[0])
        below = ax.figure.add_subplot(grid[1], sharex=ax)
    else:
        left, bottom, width, height = ax.get_position().bounds
        ax.set_position((left, bottom + 0.32 * height, width, 0.68 * height))
        below = ax.figure.add_axes((left, bottom, width, 0.28 * height), sharex=ax)
    ax.tick_params(labelbottom=False)
    return below


def _draw_data_(ax: "Axes", data: Float[np.ndarray, " rows"], colour: Any) -> None:
    """Where the data lie, in a strip along the lower edge: a mark for each row, or a histogram of many."""
    from matplotlib.collections import LineCollection

    low, high = ax.get_ylim()
    ax.set_ylim(low - STRIP / (1 - STRIP) * (high - low), high)  # the strip is below the curve, never behind it
    across = ax.get_xaxis_transform()
    if len(data) <= FEW or data.min() == data.max():
        marks = [[(value, 0), (value, 0.4 * STRIP)] for value in np.unique(data)]
        ax.add_collection(LineCollection(marks, colors=[colour], linewidths=0.6, transform=across), autolim=False)
        return
    counts, ends = np.histogram(data, 48)
    ax.stairs(0.8 * STRIP * counts / counts.max(), ends, fill=True, color=colour, transform=across, label="_data")
