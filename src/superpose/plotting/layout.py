"""Where the parts of a picture of a network go: from left to right, in units of the side of an edge's frame.

Every edge has a frame for its curve. The frames of a node's edges stand to the right of the node, one below the other
where there is room and else in rows of some columns. Lines never cross a frame: they pass by in lanes between the rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil

import numpy as np
from jaxtyping import Float

from superpose.plotting.graph import Edge, Edges, Graph

ROW, LANE, COLUMN, GROUP = 1.3, 0.07, 1.5, 0.45
"""Heights of a row of frames and of a lane beside it, width of a column, space between the edges of two nodes."""
LABEL = 0.7
"""Height that the symbol below a frame takes."""
FACTOR, FACTORS = 0.8, 1.3
"""Height of each factor of a product, and width from the factors to the product."""
STEPS = 24
"""Points of each bend of a line."""

_AHEAD = np.linspace(0, 1, STEPS)
_EASE = _AHEAD**2 * (3 - 2 * _AHEAD)  # level at both ends, so that bends join smoothly


@dataclass
class Layout:
    """Places of all parts, y upwards.

    Attributes:
        width: Of the whole, without names.
        height: Of the whole.
        nodes: Place of every node that is drawn, by layer and number; layer 0 holds the inputs.
        factors: Place of every factor of a product, by layer of edges and output.
        frames: Centre of every edge's frame.
        lines: Corners of the line of every edge, from node to node; `smooth` makes bends of them.
    """

    width: float
    height: float
    nodes: dict[tuple[int, int], tuple[float, float]] = field(default_factory=dict)
    factors: dict[tuple[int, int], tuple[float, float]] = field(default_factory=dict)
    frames: dict[Edge, tuple[float, float]] = field(default_factory=dict)
    lines: dict[Edge, Float[np.ndarray, "corners 2"]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Block:
    """The frames of one layer: which edges leave each node, in how many columns, and how much room they take."""

    outs: dict[int, list[int]]
    columns: int
    row: float
    factors: bool

    @property
    def rows(self) -> list[int]:
        return [ceil(len(group) / self.columns) for group in self.outs.values()]

    @property
    def heights(self) -> list[float]:
        return [rows * self.row + GROUP for rows in self.rows]

    def fans(self, height: float) -> tuple[float, float]:
        """Width for the lines to spread from the nodes to the frames, and to gather at the next nodes."""
        return min(0.7 + 0.12 * max(self.heights, default=0), 2.5), min(1.0 + 0.15 * height, 4.0)


def layout(graph: Graph, room: tuple[float, float], most: float, labelled: bool = False) -> Layout:
    """The layout with the largest frames.

    Args:
        graph: What there is to draw.
        room: Width and height there are, in any unit.
        most: Side of a frame from which it need not be larger, in the same unit.
        labelled: Whether there are symbols below frames.
    """
    outs = [_outs(layer) for layer in graph.layers]
    best: tuple[float, list[_Block]] | None = None
    for budget in sorted({_rows(each, c) for each in outs for c in range(1, _most(each) + 1)}, reverse=True):
        blocks = [
            _block(each, budget, labelled, max(layer.arities) > 1)
            for each, layer in zip(outs, graph.layers, strict=True)
        ]
        height = _height(graph, blocks)
        size = min(most, room[0] / _width(blocks, height), room[1] / height)
        if best is None or size > best[0] * 1.001:  # the fewest columns come first: of equals they read best
            best = size, blocks
    assert best is not None
    return _placed(graph, best[1])


def _outs(layer: Edges) -> dict[int, list[int]]:
    """The outputs that each input has edges to; inputs without edges are not there."""
    return {i: np.flatnonzero(layer.alive[:, i]).tolist() for i in np.flatnonzero(layer.alive.any(0)).tolist()}


def _most(outs: dict[int, list[int]]) -> int:
    return max(map(len, outs.values()), default=1)


def _rows(outs: dict[int, list[int]], columns: int) -> int:
    return sum(ceil(len(group) / columns) for group in outs.values())


def _block(outs: dict[int, list[int]], budget: int, labelled: bool, factors: bool) -> _Block:
    """The frames of a layer in as many columns as make its rows fit a budget, if any number does."""
    most = _most(outs)
    columns = next((c for c in range(1, most) if _rows(outs, c) <= budget), most)
    row = ROW + LABEL * labelled + (LANE * columns if columns > 1 else 0)
    return _Block(outs, columns, row, factors)


def _height(graph: Graph, blocks: Sequence[_Block]) -> float:
    return max([*(sum(block.heights) for block in blocks), *(sum(_slots(layer)) for layer in graph.layers)])


def _slots(layer: Edges) -> list[float]:
    """The least height of every node behind a layer."""
    return [max(1.2, FACTOR * arity + 0.4) for arity in layer.arities]


def _width(blocks: Sequence[_Block], height: float) -> float:
    return sum(sum(block.fans(height)) + block.columns * COLUMN + FACTORS * block.factors for block in blocks)


def _placed(graph: Graph, blocks: Sequence[_Block]) -> Layout:
    height = _height(graph, blocks)
    found = Layout(_width(blocks, height), height)
    start = 0.0
    for n, block in enumerate(blocks):
        for i, y in zip(block.outs, _spread(block.heights, height), strict=True):
            found.nodes[n, i] = start, y
        start += sum(block.fans(height)) + block.columns * COLUMN + FACTORS * block.factors
    last = graph.layers[-1]
    for o, y in enumerate(_spread(_slots(last), height)):
        found.nodes[len(blocks), o] = start, y
    for n, (layer, block) in enumerate(zip(graph.layers, blocks, strict=True)):
        ends = _ends(found, n, layer)
        for i, outs in block.outs.items():
            _add_group_(found, block, (n, i), outs, ends)
    return found


def _spread(heights: Sequence[float], total: float) -> list[float]:
    """Middles of parts of these heights that share a total from the top down, with the rest between them."""
    if not heights:
        return []
    heights = [height + (total - sum(heights)) / len(heights) for height in heights]
    return [total - above - height / 2 for above, height in zip(np.cumsum([0, *heights]), heights, strict=False)]


def _ends(found: Layout, n: int, layer: Edges) -> dict[int, tuple[float, float]]:
    """Where the edges to every output of a layer end: at a sum, or at a factor of a product."""
    ends = {}
    for node, (first, arity) in enumerate(zip(layer.starts, layer.arities, strict=True)):
        if (n + 1, node) not in found.nodes:
            continue
        x, y = found.nodes[n + 1, node]
        for k in range(arity):
            if arity == 1:
                ends[first] = x, y
            else:
                ends[first + k] = x - FACTORS, y + FACTOR * ((arity - 1) / 2 - k)
                found.factors[n, first + k] = ends[first + k]
    return ends


def _add_group_(
    found: Layout, block: _Block, node: tuple[int, int], outs: list[int], ends: dict[int, tuple[float, float]]
) -> None:
    """Place the frames and lines of the edges that leave a node."""
    (n, i), (x, y) = node, found.nodes[node]
    left = x + block.fans(found.height)[0]
    middles = left + COLUMN * (np.arange(block.columns) + 0.5)
    rows = ceil(len(outs) / block.columns)
    lanes = LANE * block.columns if block.columns > 1 else 0
    shift = (block.row - ROW - 2 * lanes) / 2  # lanes run above the frames of a row, symbols stand below them
    for k, o in enumerate(outs):
        row, column = divmod(k, block.columns)
        level = y + block.row * ((rows - 1) / 2 - row) + shift
        found.frames[n, o, i] = float(middles[column]), level
        lane = level + 0.5 + (ROW - 1) / 2 + LANE * (block.columns - column - 0.5)
        levels = [level if c == column else lane for c in range(block.columns)]
        points = [(x, y), *((m + d, h) for m, h in zip(middles, levels, strict=True) for d in (-0.5, 0.5)), ends[o]]
        found.lines[n, o, i] = np.array(points)


def smooth(points: Float[np.ndarray, "corners 2"]) -> Float[np.ndarray, "points 2"]:
    """A line through points that is level at each of them."""
    bends = [points[:1]]
    for start, end in zip(points[:-1], points[1:], strict=True):
        step = end - start
        bends.append(np.stack([start[0] + step[0] * _AHEAD, start[1] + step[1] * _EASE], -1) if step[1] else end[None])
    return np.concatenate(bends)
