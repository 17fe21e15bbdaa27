"""A picture of what the group-rational functions of a network have learned."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

from superpose.layers import GroupRational
from superpose.layers.statistics import evaluating, layers_of, seeing
from superpose.ops.rational import rational
from superpose.plotting.canvas import axes_for, colours, figure_of
from superpose.plotting.names import without_common_parts

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANEL = (1.75, 1.35)
"""Of one layer, in inches."""
FINE = 200
"""Points of a curve."""
MOST = 0.9995
"""Share of the inputs, between two quantiles, that a panel shows: a few outliers would squeeze all others."""
KEY = 1.0
"""Room for a word of the legend, in inches."""
STRIP = 0.16
"""Share of the height that shows where the inputs are."""


@dataclass(frozen=True)
class Panel:
    """One layer.

    Attributes:
        name: Of the layer.
        x: Points.
        now: Its functions there.
        then: What these were before.
        inputs: What it was given, if that is known.
    """

    name: str
    x: Float[np.ndarray, " points"]
    now: Float[np.ndarray, "groups points"]
    then: Float[np.ndarray, "groups points"]
    inputs: Float[np.ndarray, " inputs"] | None


def plot_rationals(
    model: nn.Module,
    X: Any = None,
    *,
    before: nn.Module | None = None,
    modules: Sequence[str] | None = None,
    ax: "Axes | None" = None,
) -> "Axes":
    """Draw every group-rational function of a network, a panel for each layer and a line for each group.

    Behind them, broad and grey, is what they were before. With data a panel spans what its layer is given there (but for
    one input in two thousand), and a histogram at the bottom shows how often; without, the interval that the activation
    was fitted on.

    Args:
        model: The network.
        X: Inputs of the network, such as a batch of images, as it takes them.
        before: The same network at another time, such as before training; if None, what each layer started as.
        modules: Which layers, see `superpose.layers.statistics.layers_of`; all `GroupRational` if None.
        ax: Where to draw; a new figure if None.

    Raises:
        TypeError: If `ax` is not what matplotlib draws in.
        ValueError: If there is no such layer, the other network has other layers, or a layer has not run on the data.

    Example:
        >>> import matplotlib
        >>> matplotlib.use("Agg")
        >>> from superpose.layers import RationalMlp
        >>> from superpose.plotting import plot_rationals
        >>> ax = plot_rationals(nn.Sequential(RationalMlp(16), RationalMlp(16)), torch.randn(100, 16))
        >>> [panel.get_title(loc="left") for panel in ax.child_axes]
        ['0 act1', '0 act2', '1 act1', '1 act2']
    """
    found = panels(model, X, before, modules)
    columns = len(found) if len(found) <= 4 else _even(sqrt(1.2 * len(found)))
    rows = ceil(len(found) / columns)
    given, ax = ax, axes_for(ax, (columns * PANEL[0] + 0.5, rows * PANEL[1] + 0.55), bare=True)
    ax.set_axis_off()
    box = ax.get_window_extent()
    room = box.width / figure_of(ax).dpi, box.height / figure_of(ax).dpi
    if given is not None:
        shape = room[0] / room[1] * PANEL[1] / PANEL[0]
        columns = min(len(found), _even(sqrt(len(found) * shape)))
    titles = without_common_parts([panel.name for panel in found])
    most = max(len(panel.now) for panel in found)
    keys = _keys(ax, most, "at the start" if before is None else "before", data=X is not None)
    across = min(len(keys), max(1, int(room[0] / KEY)))
    page = _Page(*room, ceil(len(found) / columns), columns, 0.26 + 0.16 * ceil(len(keys) / across))
    for n, (panel, title) in enumerate(zip(found, titles, strict=True)):
        _draw_(ax.inset_axes(page.place(*divmod(n, columns))), panel, title, page)
    ax.legend(handles=keys, loc="lower center", ncols=across, frameon=False, fontsize="x-small", borderaxespad=0)
    return ax


@dataclass(frozen=True)
class _Page:
    """The picture, in inches, its panels, and the room below them."""

    width: float
    height: float
    rows: int
    columns: int
    bottom: float

    @property
    def panel(self) -> tuple[float, float]:
        """Width and height of a panel with its numbers."""
        return (self.width - 0.16) / self.columns, (self.height - 0.06 - self.bottom) / self.rows

    def place(self, row: int, column: int) -> tuple[float, float, float, float]:
        """Left, bottom, width and height of a panel as shares of the picture, without its numbers and its name."""
        w, h = self.panel
        pad = min(0.36, w / 3), min(0.2, h / 4)
        left, bottom = 0.08 + column * w + pad[0], self.bottom + (self.rows - 1 - row) * h + pad[1]
        return left / self.width, bottom / self.height, (w - pad[0]) / self.width, (h - 2 * pad[1]) / self.height


def _even(count: float) -> int:
    """So many columns, but an even number, so that the two activations of a block stand side by side."""
    return max(1, 2 * round(count / 2))


@torch.no_grad()
def panels(model: nn.Module, X: Any, before: nn.Module | None, modules: Sequence[str] | None) -> list[Panel]:
    """All that is drawn."""
    layers = _rationals(model, modules)
    others = layers if before is None else _rationals(before, modules)
    if {name: layer.groups for name, layer in layers.items()} != {name: other.groups for name, other in others.items()}:
        raise ValueError("before must have the same group-rational layers as the model, with the same groups.")
    inputs = {} if X is None else _inputs(model, layers, X)
    made = []
    for name, layer in layers.items():
        seen = inputs.get(name)
        low, high = layer.fit.interval if seen is None else _ends(seen)
        x = torch.linspace(low, high, FINE, dtype=torch.float64)
        now = _values(x, layer.weight_numerator, layer.weight_denominator, layer)
        then = (
            layer.fit(x).expand(layer.groups, -1).numpy()
            if before is None
            else _values(x, others[name].weight_numerator, others[name].weight_denominator, others[name])
        )
        made.append(Panel(name, x.numpy(), now, then, seen))
    return made


def _rationals(model: nn.Module, modules: Sequence[str] | None) -> dict[str, GroupRational]:
    found = {name: layer for name, layer in layers_of(model, modules).items() if isinstance(layer, GroupRational)}
    if not found:
        raise ValueError(f"there is no GroupRational among the layers of this {type(model).__name__}.")
    return found


def _inputs(model: nn.Module, layers: dict[str, GroupRational], X: Any) -> dict[str, np.ndarray]:
    """What each layer is given."""
    seen: dict[str, list[np.ndarray]] = {name: [] for name in layers}

    def see(name: str, _: nn.Module, x: Any, __: Any) -> None:
        seen[name].append(x[0].detach().flatten().float().cpu().numpy())

    with evaluating(model), seeing(layers, see):
        model(X)
    idle = [name for name, parts in seen.items() if not parts]
    if idle:
        raise ValueError(f"{', '.join(idle)} did not run on these inputs; leave them out by modules.")
    values = {name: np.concatenate(parts) for name, parts in seen.items()}
    for name, value in values.items():
        if not np.isfinite(value).all():
            raise ValueError(f"the inputs of {name} are not finite; superpose.train.watching.find_nonfinite finds why.")
    return values


def _ends(inputs: np.ndarray) -> tuple[float, float]:
    low, high = np.quantile(inputs, [(1 - MOST) / 2, (1 + MOST) / 2])
    return (low, high) if low < high else (low - 1, high + 1)


def _values(
    x: torch.Tensor, numerator: torch.Tensor, denominator: torch.Tensor, layer: GroupRational
) -> Float[np.ndarray, "groups points"]:
    points = x.unsqueeze(-1).expand(-1, layer.groups)
    return rational(points, numerator.cpu().double(), denominator.cpu().double(), layer.form).T.numpy()


def _draw_(ax: "Axes", panel: Panel, title: str, page: _Page) -> None:
    from matplotlib.collections import LineCollection

    paint = colours(ax)
    then = np.unique(panel.then, axis=0)
    ax.plot(panel.x, then.T, color=paint.faint(0.22), linewidth=4, solid_capstyle="butt", zorder=2)
    lines = [np.column_stack([panel.x, y]) for y in panel.now]
    ax.add_collection(LineCollection(lines, colors=_shades(len(lines)), linewidths=0.9, zorder=3, label="functions"))
    low, high = (float(f([f(panel.now), f(panel.then)])) for f in (np.min, np.max))
    room = 0.06 * ((high - low) or 1.0)
    strip = 0.0
    if panel.inputs is not None:
        strip = STRIP
        counts, edges = np.histogram(panel.inputs, bins=50, range=(panel.x[0], panel.x[-1]))
        heights = STRIP * 0.85 * counts / max(1, counts.max())
        ax.stairs(heights, edges, transform=ax.get_xaxis_transform(), fill=True, color=paint.faint(0.4), zorder=1)
    ax.set_xlim(panel.x[0], panel.x[-1])
    ax.set_ylim(low - room - strip / (1 - strip) * (high - low + 2 * room), high + room)
    ax.set_title(title, loc="left", fontsize="x-small", pad=2)
    ax.tick_params(labelsize=6, length=2, pad=1.5, width=0.5)
    ax.locator_params(axis="x", nbins=max(1, min(4, int(page.panel[0] / 0.4))))
    ax.locator_params(axis="y", nbins=4)
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_linewidth(0.5)


def _shades(count: int) -> list[Any]:
    """A colour for each group, from the first to the last."""
    from matplotlib import colormaps

    return [colormaps["plasma"](0.85 * n / max(1, count - 1)) for n in range(count)]


def _keys(ax: "Axes", most: int, then: str, *, data: bool) -> list[Any]:
    """What the legend explains."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    shades, paint = _shades(most), colours(ax)
    keys: list[Any] = [Line2D([], [], color=paint.faint(0.22), linewidth=4, label=then)]
    for n in range(most) if most <= 3 else (0, most // 2, most - 1):
        keys.append(Line2D([], [], color=shades[n], linewidth=1.4, label=f"group {n + 1}"))
    if data:
        keys.append(Patch(color=paint.faint(0.4), label="inputs"))
    return keys
