"""A picture of a whole network."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from superpose.models import KAN
from superpose.plotting.canvas import Colours, axes_for, colours, figure_of
from superpose.plotting.graph import Edge, Graph, graph
from superpose.plotting.layout import Layout, layout, smooth
from superpose.plotting.names import as_math, checked_edge, default_names, inches, is_math, shorten_, shrink_, write
from superpose.scores import input_names, table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.text import Text

MOST_EDGES = 2000
"""Edges beyond which nobody can see anything."""
FRAME = 0.36
"""Largest side of a frame, in inches."""
PAGE = (7.0, 6.0)
"""Largest size of a picture that makes its own figure, in inches: the width of a text on paper."""
LARGE = 0.7
"""The same in the axes of somebody else."""
LEAST = 0.5
"""Least height of such a figure."""
PAD = 0.08
"""Space around the whole, in inches."""
GAP = 0.11
"""Space between a node and its name, in inches."""
MOST_NAME = 0.28
"""Share of the width beyond which a name loses its middle."""
CURVE = 0.36
"""Half the extent of a curve in its frame."""
FAINT = 0.15
"""Opacity of an edge that does not matter: it is there."""


def plot(
    model: KAN,
    X: Any,
    *,
    names: Sequence[str] | None = None,
    outputs: Sequence[str] | None = None,
    symbols: Mapping[Edge, str] | None = None,
    ax: "Axes | None" = None,
) -> "Axes":
    r"""Draw a network: from inputs on the left to outputs on the right, with the curve of every edge in a small frame.

    A curve is drawn over the range of its own data, and over its own range of values. How much an edge matters shows in
    the width and the strength of its line, against the most important one of its layer (see `superpose.attribute`).
    Pruned edges, and nodes without edges, are not there. Dots add up, crosses multiply.

    Args:
        model: The network.
        X: Rows of inputs in the units of the model: a tensor, array, data frame or lists.
        names: Names of the inputs; those of the columns of a data frame, or x1, x2 and so on, if None. What stands
            between dollar signs is LaTeX, as in `"$x_1$"`.
        outputs: Names of the outputs; y, or y1, y2 and so on, if None.
        symbols: LaTeX for edges that have become formulas, by (layer, output, input), such as `{(0, 0, 1): r"\sin"}`.
            They have another colour.
        ax: Where to draw; a new figure, of a size that suits the network, if None.

    Returns:
        The axes. Nothing is shown and nothing written: that is for you, as in `plot(model, X).figure.savefig("a.pdf")`.

    Raises:
        TypeError: If the model is not a `KAN`, `X` does not hold numbers, or `ax` is not what matplotlib draws in.
        ValueError: If a shape, a number of names, an edge or its LaTeX is wrong, or there are too many edges to see.
        ModuleNotFoundError: If there is no matplotlib.

    Example:
        >>> import matplotlib, torch
        >>> matplotlib.use("Agg")
        >>> from superpose import KAN, plot
        >>> ax = plot(KAN((2, 5, 1)), torch.rand(100, 2), names=["$r$", "height"])
        >>> [text.get_text() for text in ax.texts]
        ['$r$', 'height', '$y$']
    """
    if not isinstance(model, KAN):
        raise TypeError(f"only a KAN has edge functions to draw, got {type(model).__name__}.")
    rows = table(X, "X", model.widths[0])
    plain = names is None and not hasattr(X, "columns")
    known = default_names("x", model.widths[0]) if plain else input_names(X, names, model.widths[0])
    ends = default_names("y", model.widths[-1]) if outputs is None else [str(name) for name in outputs]
    if len(ends) != model.widths[-1]:
        raise ValueError(f"the model has {model.widths[-1]} outputs, but there are {len(ends)} names for them.")
    for name in filter(is_math, [*known, *ends]):
        as_math(name)
    picture = graph(model, rows)
    labels = {checked_edge(model, edge): as_math(text) for edge, text in (symbols or {}).items()}
    return draw(picture, known, ends, labels, ax)


def draw(
    picture: Graph, names: Sequence[str], outputs: Sequence[str], labels: Mapping[Edge, str], ax: "Axes | None"
) -> "Axes":
    """Draw a graph with its names and symbols, as `plot` does."""
    if len(picture.edges) > MOST_EDGES:
        raise ValueError(
            f"the network has {len(picture.edges)} edges, too many to see; superpose.prune it, or draw one of them "
            "with plot_edge."
        )
    labels = {edge: text for edge, text in labels.items() if picture.layers[edge[0]].alive[edge[1:]]}
    given, ax = ax, axes_for(ax, PAGE, bare=True)
    room = _size(ax)
    shown = np.flatnonzero(picture.layers[0].alive.any(0)).tolist()
    left = {(0, i): write(ax, 0, 0, names[i], ha="right", va="center_baseline") for i in shown}
    right = {
        (len(picture.layers), o): write(ax, 0, 0, name, ha="left", va="center_baseline")
        for o, name in enumerate(outputs)
    }
    for text in [*left.values(), *right.values()]:
        shorten_(text, MOST_NAME * room[0])
    margins = [max(map(inches, side.values()), default=0) + PAD + GAP for side in (left, right)]
    most = FRAME if given is None else LARGE
    free = max(room[0] - sum(margins), PAD), max(room[1] - 2 * PAD, PAD)
    found = layout(picture, free, most, labelled=bool(labels))
    side = min(most, free[0] / found.width, free[1] / found.height)
    _fit_(ax, found, side, margins, new=given is None)
    pen = _Pen(ax, picture, found, colours(ax), side, labels)
    pen.draw_lines()
    pen.draw_frames()
    pen.draw_nodes()
    pen.draw_symbols()
    for texts, step in ((left, -GAP / side), (right, GAP / side)):
        _place_(texts, found, step, side)
    return ax


def _fit_(ax: "Axes", found: Layout, side: float, margins: Sequence[float], *, new: bool) -> None:
    """Give the axes the limits, and a new figure the size, at which a frame's side is so many inches."""
    used = side * found.width + sum(margins), max(side * found.height + 2 * PAD, LEAST)
    if new:
        figure_of(ax).set_size_inches(*used)
    room = _size(ax)
    left = -(margins[0] + (room[0] - used[0]) / 2) / side
    low = found.height / 2 - room[1] / side / 2
    ax.set(xlim=(left, left + room[0] / side), ylim=(low, low + room[1] / side), xticks=[], yticks=[])
    ax.set_aspect("equal")
    ax.spines[:].set_visible(False)


def _size(ax: "Axes") -> tuple[float, float]:
    """Width and height of axes, in inches."""
    box = ax.get_window_extent()
    return box.width / ax.figure.dpi, box.height / ax.figure.dpi


def _place_(texts: Mapping[tuple[int, int], "Text"], found: Layout, step: float, side: float) -> None:
    """Put names beside their nodes, no larger than there is room between them."""
    heights = sorted(found.nodes[node][1] for node in texts)
    shrink_(texts.values(), 0.85 * 72 * side * min(np.diff(heights), default=np.inf))
    for node, text in texts.items():
        x, y = found.nodes[node]
        text.set_position((x + step, y))


@dataclass(frozen=True)
class _Pen:
    """Draws the parts, each kind of them as one artist."""

    ax: "Axes"
    picture: Graph
    found: Layout
    paint: Colours
    side: float
    labels: Mapping[Edge, str]

    @property
    def order(self) -> list[Edge]:
        """Edges, the most important last, so that they lie on top."""
        return sorted(self.found.frames, key=self.strength)

    def strength(self, edge: Edge) -> float:
        n, o, i = edge
        return float(self.picture.layers[n].strengths[o, i])

    def points(self, share: float, most: float) -> float:
        """A width in points: a share of a frame's side, but neither invisible nor clumsy."""
        return max(0.35, min(most, share * 72 * self.side))

    def draw_lines(self) -> None:
        """The lines from node to node."""
        from matplotlib.collections import LineCollection

        edges, width = self.order, self.points(0.08, 1.8)
        strength = np.array([self.strength(edge) for edge in edges])
        tint = [self.paint.accent if edge in self.labels else self.paint.ink for edge in edges]
        rgba = np.array([(*c[:3], FAINT + (1 - FAINT) * s) for c, s in zip(tint, strength, strict=True)]).reshape(-1, 4)
        lines = [smooth(self.found.lines[edge]) for edge in edges]
        self.ax.add_collection(
            LineCollection(lines, linewidths=width * (0.3 + 0.7 * strength), colors=rgba, zorder=1, label="lines"),
            autolim=False,
        )
        joins = [self.join(n, o) for n, o in self.found.factors]
        self.ax.add_collection(
            LineCollection(joins, linewidths=width, colors=[self.paint.ink], zorder=1, label="products"), autolim=False
        )

    def join(self, n: int, o: int) -> Float[np.ndarray, "points 2"]:
        """The line from a factor to its product."""
        layer = self.picture.layers[n]
        node = int(np.searchsorted(layer.starts, o, side="right")) - 1
        return smooth(np.array([self.found.factors[n, o], self.found.nodes[n + 1, node]]))

    def draw_frames(self) -> None:
        """The frames, and the curves in them."""
        from matplotlib.collections import LineCollection, PolyCollection

        edges = self.order
        middles = np.array([self.found.frames[edge] for edge in edges]).reshape(-1, 1, 2)
        square = np.array([(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)])
        curves = [middle + curve(self.picture, edge) for middle, edge in zip(middles, edges, strict=True)]
        tint = [self.paint.accent if edge in self.labels else self.paint.curve for edge in edges]
        strength = [self.strength(edge) for edge in edges]
        shades = zip(strength, tint, strict=True)
        frames = PolyCollection(
            list(middles + square),
            facecolors=[self.paint.paper],
            edgecolors=[self.paint.faint(0.25 + 0.4 * s) for s in strength],
            linewidths=self.points(0.03, 0.8),
            zorder=2,
            label="frames",
        )
        drawn = LineCollection(
            curves,
            linewidths=self.points(0.07, 1.6),
            colors=[self.paint.faint(0.4 + 0.6 * s, c) for s, c in shades],
            capstyle="round",
            joinstyle="round",
            zorder=3,
            label="curves",
        )
        for artist in (frames, drawn):
            self.ax.add_collection(artist, autolim=False)

    def draw_nodes(self) -> None:
        """Dots for sums, inputs and factors, and crosses in circles for products."""
        places, size = self.found.nodes, self.points(0.26, 6) ** 2
        products = [p for node, p in places.items() if self.is_product(node)]
        dots = [p for node, p in places.items() if not self.is_product(node)] + list(self.found.factors.values())
        ink, paper = [self.paint.ink], [self.paint.paper]
        self.ax.scatter(*_columns(dots), s=size, c=ink, zorder=4, linewidths=0, label="sums")
        if products:
            ring = self.points(0.04, 1)
            self.ax.scatter(*_columns(products), s=5 * size, c=paper, edgecolors=ink, zorder=4, linewidths=ring)
            self.ax.scatter(
                *_columns(products), s=1.6 * size, c=ink, marker="x", zorder=5, linewidths=1.5 * ring, label="times"
            )

    def is_product(self, node: tuple[int, int]) -> bool:
        return node[0] > 0 and self.picture.layers[node[0] - 1].arities[node[1]] > 1

    def draw_symbols(self) -> None:
        """The symbols below their frames."""
        from matplotlib import rcParams

        size = min(rcParams["font.size"], 0.55 * 72 * self.side)
        for edge, text in self.labels.items():
            x, y = self.found.frames[edge]
            drawn = write(self.ax, x, y - 0.62, text, ha="center", va="top", color=self.paint.accent, size=size)
            shrink_([drawn], size * 1.4 * self.side / max(inches(drawn), 1.4 * self.side))


def curve(picture: Graph, edge: Edge) -> Float[np.ndarray, "points 2"]:
    """The function of an edge about the middle of its frame, which it fills up to a margin."""
    n, o, i = edge
    layer = picture.layers[n]
    return CURVE * np.stack([_to_unit(layer.x[:, i]), _to_unit(layer.y[o, i])], -1)


def _to_unit(values: Float[np.ndarray, " points"]) -> Float[np.ndarray, " points"]:
    """Values in [-1, 1]; zeros where they are all the same."""
    low, high = values.min(), values.max()
    flat = high - low <= 1e-6 * max(abs(low), abs(high))
    return np.zeros_like(values) if flat else 2 * (values - low) / (high - low) - 1


def _columns(places: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _ in places], [y for _, y in places]
