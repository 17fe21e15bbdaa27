"""The network as a picture in a page, and what the page knows about every edge."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
from jaxtyping import Float

from superpose.models import KAN
from superpose.plotting.graph import Edge, Graph
from superpose.plotting.layout import Layout, layout

ROOM, SIDE = (940.0, 900.0), 34.0
"""Largest size of the picture, and of an edge's frame, in pixels."""
LETTER = 7.6
"""Width of a letter of a name, about; names are cut rather than measured, since fonts differ."""
LONGEST = 26
"""Letters of a name from which its middle is left out; the whole stands in a tooltip."""
MARGIN, GAP = 8.0, 12.0
"""Space around the picture, and between a node and its name."""
BINS = 32
"""Bars of the histogram of an edge's data."""


@dataclass(frozen=True)
class Names:
    """What nodes are called.

    Attributes:
        inputs: Names of the inputs.
        outputs: Names of the outputs.
        added: What an edge of the last layer adds to, by output.
    """

    inputs: Sequence[str]
    outputs: Sequence[str]
    added: Sequence[str]

    def node(self, picture: Graph, n: int, number: int) -> str:
        """A node, by the number of the layer of edges that leaves it."""
        if n == 0:
            return self.inputs[number]
        if n == len(picture.layers):
            return self.outputs[number]
        return f"hidden node {number + 1}" + (f" of layer {n}" if len(picture.layers) > 2 else "")


def short(name: str) -> str:
    """A name without its middle, if it is long."""
    return name if len(name) <= LONGEST else f"{name[: LONGEST // 2]}…{name[1 - LONGEST // 2 :]}"


def draw(picture: Graph, names: Names) -> str:
    """The network as SVG: a line for every edge, and a frame that leads to it."""
    left = max((len(short(names.inputs[i])) for i in _inputs(picture)), default=0) * LETTER + GAP + MARGIN
    right = max(map(len, map(short, names.outputs))) * LETTER + GAP + MARGIN
    found = layout(picture, (ROOM[0] - left - right, ROOM[1]), SIDE)
    side = min(SIDE, (ROOM[0] - left - right) / found.width, ROOM[1] / found.height)
    pen = _Pen(picture, found, names, left, side)
    width, height = left + right + side * found.width, 2 * MARGIN + side * found.height
    order = sorted(found.frames, key=pen.strength)
    parts = [
        *(pen.line(edge) for edge in order),
        *(pen.join(*factor) for factor in found.factors),
        *(pen.frame(edge) for edge in sorted(found.frames)),
        *(pen.node(*node) for node in found.nodes),
    ]
    size = f'width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}"'
    size += f' style="min-width:{min(width, 640):.0f}px"'  # on a phone it is better moved than unreadable
    return f'<svg {size} role="group" aria-label="The network">\n' + "\n".join(parts) + "\n</svg>"


def _inputs(picture: Graph) -> list[int]:
    return np.flatnonzero(picture.layers[0].alive.any(0)).tolist()


@dataclass(frozen=True)
class _Pen:
    """Writes the parts of the picture; y goes down here."""

    picture: Graph
    found: Layout
    names: Names
    left: float
    side: float

    def at(self, place: Any) -> tuple[float, float]:
        return self.left + self.side * float(place[0]), MARGIN + self.side * (self.found.height - float(place[1]))

    def strength(self, edge: Edge) -> float:
        n, o, i = edge
        return float(self.picture.layers[n].strengths[o, i])

    def bends(self, corners: Any) -> str:
        """A path through corners that is level at each: the curve of `plotting.layout.smooth`, as Bezier curves."""
        (x, y), *rest = [self.at(corner) for corner in corners]
        words = [f"M{x:.1f} {y:.1f}"]
        for a, b in rest:
            third = (a - x) / 3
            bend = f"C{x + third:.1f} {y:.1f} {a - third:.1f} {b:.1f} {a:.1f} {b:.1f}"
            words.append(f"L{a:.1f} {b:.1f}" if abs(b - y) < 0.05 else bend)
            x, y = a, b
        return "".join(words)

    def line(self, edge: Edge) -> str:
        d, s = self.bends(self.found.lines[edge]), self.strength(edge)
        return f'<path class="line" id="line-{key(edge)}" style="--s:{s:.3f}" d="{d}"/>'

    def join(self, n: int, o: int) -> str:
        layer = self.picture.layers[n]
        node = int(np.searchsorted(layer.starts, o, side="right")) - 1
        ends = [self.found.factors[n, o], self.found.nodes[n + 1, node]]
        x, y = self.at(ends[0])
        return f'<path class="join" d="{self.bends(ends)}"/><circle class="node" cx="{x:.1f}" cy="{y:.1f}" r="3"/>'

    def frame(self, edge: Edge) -> str:
        """A link to the edge, that looks like its curve."""
        n, o, i = edge
        layer, half = self.picture.layers[n], self.side / 2
        x, y = self.at(self.found.frames[edge])
        across = np.linspace(-0.36, 0.36, len(layer.x))[::2] * self.side + x
        values = layer.y[o, i][::2]
        spread = float(np.ptp(layer.y[o, i]))
        level = (values - layer.y[o, i].min()) / spread - 0.5 if spread > 0 else values * 0
        points = " ".join(f"{a:.1f},{y - 0.72 * self.side * b:.1f}" for a, b in zip(across, level, strict=True))
        title = escape(f"{self.names.node(self.picture, n, i)} → {target(self.picture, self.names, edge)}")
        box = f'x="{x - half:.1f}" y="{y - half:.1f}" width="{self.side:.1f}" height="{self.side:.1f}"'
        score = f"score {float(layer.scores[o, i]):.3f}"
        return (
            f'<a href="#edge-{key(edge)}" id="frame-{key(edge)}" style="--s:{self.strength(edge):.3f}" '
            f'aria-label="{title}, {score}"><title>{title}, {score}</title><rect {box}/>'
            f'<polyline class="curve" points="{points}"/></a>'
        )

    def node(self, n: int, number: int) -> str:
        """A dot for a sum, a cross for a product, and the names at both ends."""
        x, y = self.at(self.found.nodes[n, number])
        name = escape(self.names.node(self.picture, n, number))
        mark = f'<circle class="node" cx="{x:.1f}" cy="{y:.1f}" r="4.5"><title>{name}</title></circle>'
        if n > 0 and self.picture.layers[n - 1].arities[number] > 1:
            cross = f"M{x - 4:.1f} {y - 4:.1f}l8 8m0 -8l-8 8"
            mark = f'<circle class="ring" cx="{x:.1f}" cy="{y:.1f}" r="9"/><path class="times" d="{cross}"/>'
        if 0 < n < len(self.picture.layers):
            return mark
        step, anchor = (-GAP, "end") if n == 0 else (GAP, "start")
        words = escape(short(self.names.node(self.picture, n, number)))
        text = f'<text x="{x + step:.1f}" y="{y + 5:.1f}" text-anchor="{anchor}">{words}<title>{name}</title></text>'
        return mark + text


def key(edge: Edge) -> str:
    """The name of an edge in links."""
    return "-".join(map(str, edge))


def target(picture: Graph, names: Names, edge: Edge) -> str:
    """The node that an edge leads to."""
    n, o, _ = edge
    layer = picture.layers[n]
    node = int(np.searchsorted(layer.starts, o, side="right")) - 1
    name = names.node(picture, n + 1, node)
    return name if layer.arities[node] == 1 else f"factor {o - layer.starts[node] + 1} of {name}"


def describe(model: KAN, picture: Graph, names: Names) -> dict[str, dict[str, Any]]:
    """What the page shows of every edge, by its name in links, the most important of each layer first."""
    ranked = sorted(picture.edges, key=lambda edge: (edge[0], -picture.layers[edge[0]].scores[edge[1:]]))
    places = {edge: 1 + ranked.index(edge) - ranked.index(_first(ranked, edge[0])) for edge in ranked}
    return {key(edge): _describe(model, picture, names, edge, places[edge]) for edge in ranked}


def _range(y: Float[np.ndarray, " points"]) -> str:
    low, high = (f"{value:.3g}".replace("-", "−") for value in (y.min(), y.max()))
    return f"It adds {low}" if low == high else f"It adds between {low} and {high}"


def _first(ranked: Sequence[Edge], n: int) -> Edge:
    return next(edge for edge in ranked if edge[0] == n)


def _describe(model: KAN, picture: Graph, names: Names, edge: Edge, place: int) -> dict[str, Any]:
    """One edge: inputs of the network in their own units, and so what is added to its outputs where nodes are sums."""
    n, o, i = edge
    layer = picture.layers[n]
    data, x, y = layer.values[:, i], layer.x[[0, -1], i], layer.y[o, i]
    source, to = names.node(picture, n, i), target(picture, names, edge)
    if n == 0:
        scale, shift = float(model.input_scaling.scale[i]), float(model.input_scaling.shift[i])
        data, x = (data - shift) / scale, (x - shift) / scale
    if n == len(picture.layers) - 1 and max(layer.arities) == 1:
        y, to_add = y * float(model.output_scaling.scale[o]), names.added[o]
    else:
        to_add = to
    ends = (float(x.min()), float(x.max()))
    bins, _ = np.histogram(data, BINS, ends if ends[0] < ends[1] else (ends[0] - 0.5, ends[0] + 0.5))
    count = int(layer.alive.sum())
    what = f"number {place} of the {count} edges of its layer" if count > 1 else "the only edge of its layer"
    return {
        "from": source,
        "to": to,
        "takes": source if n == 0 else f"value of {source}",
        "adds": f"what is added to {to_add}",
        "facts": f"Score {layer.scores[o, i]:.3f}, {what}. {_range(y)} to {to_add}.",
        "x": [float(f"{value:.6g}") for value in ends],
        "y": [float(f"{value:.5g}") for value in (y if x[0] <= x[-1] else y[::-1])],
        "bins": bins.tolist(),
    }
