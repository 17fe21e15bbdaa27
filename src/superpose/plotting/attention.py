"""Pictures of attention: where every head looks, on one scale, and how alike the heads are."""

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from superpose.plotting.canvas import as_picture, axes_for, colours, figure_of
from superpose.plotting.names import without_common_parts

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LEFT, RIGHT, TOP, BOTTOM = 1.5, 0.85, 0.3, 0.1
"""Room around the maps, in inches: for the image and the names of layers, the scale, the names of heads."""
WORDS = 0.14
"""Room above each map for its entropy."""
LEAST, MOST = 2, 5
"""Powers of two that the scale reaches on both sides of even attention; it does not shrink to what is there."""
BEYOND = 0.995
"""Share of the maps' values that the scale covers."""


def plot_attention(
    maps: Any, image: Any = None, *, index: int = 0, query: Any = "class", ax: "Axes | None" = None
) -> "Axes":
    """Draw where every head of every layer looks: a row for each layer, a column for each head, one scale for all.

    The colour says how much more or less a patch counts than if all tokens counted the same. The scale is logarithmic,
    from at least a quarter to four times that, so that maps which are nearly even look even; the control at the left,
    which is even, has the colour of the background. Above each map is its normalised entropy: 1 is even, 0 is one token.

    Args:
        maps: What `superpose.vision.attention_maps.attention_maps` gives.
        image: The image, to be shown beside them, with the channels first; its values may be normalised.
        index: Number of the image in the maps.
        query: Whose attention: `"class"`, `"mean"` over all tokens, or the number of a token.
        ax: Where to draw; a new figure if None.

    Raises:
        TypeError: If `ax` is not what matplotlib draws in.
        ValueError: If there is no such image or token.

    Example:
        >>> import matplotlib, timm, torch
        >>> matplotlib.use("Agg")
        >>> from superpose.plotting import plot_attention
        >>> from superpose.vision.attention_maps import attention_maps
        >>> vit = timm.create_model("kernel_vit_nano_patch4_32")
        >>> images = torch.randn(1, 3, 32, 32)
        >>> ax = plot_attention(attention_maps(vit, images), images[0])
        >>> len(ax.images)  # 4 layers of 4 heads, the image, the control and the scale
        19
    """
    rows = _rows(maps, index, query)
    most = max(len(row.entropies) for row in rows)
    side = min(1.0, max(0.55, 7.5 / most))
    high, wide = maps.grid[0] / max(maps.grid), maps.grid[1] / max(maps.grid)
    size = LEFT + most * side * wide + RIGHT, TOP + len(rows) * (side * high + WORDS) + BOTTOM
    ax = axes_for(ax, size, bare=True)
    box, dpi = ax.get_window_extent(), figure_of(ax).dpi
    width, height = box.width / dpi, box.height / dpi
    side = min((width - LEFT - RIGHT) / (most * wide), ((height - TOP - BOTTOM) / len(rows) - WORDS) / high)
    if side <= 0:
        raise ValueError(f"{len(rows)} layers of {most} heads do not fit into {width:.1f} x {height:.1f} inches.")
    page = _Page(ax, side * wide, side * high, _scale(ax, rows), min(7.0, max(4.0, 9 * side)))
    ax.set(xlim=(0, width), ylim=(height, 0), aspect="equal", anchor="NW")
    ax.set_axis_off()
    for n, (row, name) in enumerate(zip(rows, without_common_parts([row.name for row in rows]), strict=True)):
        page.draw_row_(row, name, n)
    for head in range(most):
        page.write_(
            LEFT + (head + 0.45) * page.wide, TOP - 0.14, f"head {head}" if head == 0 or side > 0.5 else str(head)
        )
    page.draw_margin_(None if image is None else as_picture(image), maps.grid)
    page.draw_scale_(width, height)
    if query not in ("class", "mean") and query >= maps.prefix:
        page.mark_(query - maps.prefix, maps.grid, rows)
    return ax


def plot_head_distances(maps: Any, *, ax: "Axes | None" = None) -> "Axes":
    """Draw how differently every two heads of a network attend, from 0 (alike) to 1 (no token counts for both).

    Args:
        maps: What `superpose.vision.attention_maps.attention_maps` gives, of one image or several.
        ax: Where to draw; a new figure if None.

    Raises:
        TypeError: If `ax` is not what matplotlib draws in.
        ValueError: If layers attend to different numbers of tokens.
    """
    from superpose.vision.attention_maps import head_distances

    distances = head_distances(maps.weights).cpu().numpy()
    ax = axes_for(ax, (4.6, 3.8))
    paint = colours(ax)
    dark = sum(paint.paper[:3]) < 1.5
    shown = ax.imshow(distances, cmap="magma" if dark else "magma_r", vmin=0, vmax=1, interpolation="nearest")
    counts = [weights.shape[1] for weights in maps.weights.values()]
    ends = np.cumsum([0, *counts]) - 0.5
    for end in ends[1:-1]:
        ax.axhline(end, color=paint.faint(0.5), linewidth=0.5)
        ax.axvline(end, color=paint.faint(0.5), linewidth=0.5)
    middles = (ends[1:] + ends[:-1]) / 2
    names = without_common_parts(list(maps.weights))
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_ticks(middles, names)
        axis.set_tick_params(length=0, labelsize="x-small")
    ax.set_xlabel("block, and its heads in order", fontsize="small")
    ax.set_ylabel("block, and its heads in order", fontsize="small")
    ax.spines[:].set_linewidth(0.5)
    bar = figure_of(ax).colorbar(shown, ax=ax, shrink=0.9)
    bar.set_label("distance of Jensen and Shannon", fontsize="small")
    bar.ax.tick_params(labelsize="x-small")
    bar.set_ticks([0, 0.25, 0.5, 0.75, 1], labels=["0 alike", "0.25", "0.5", "0.75", "1 apart"])
    return ax


@dataclass(frozen=True)
class _Row:
    """One layer: its maps, as powers of two of even attention, and their entropies."""

    name: str
    maps: Float[np.ndarray, "heads rows columns"]
    entropies: Float[np.ndarray, " heads"]


def _rows(maps: Any, index: int, query: Any) -> list[_Row]:
    count = len(next(iter(maps.weights.values())))
    if not 0 <= index < count:
        raise ValueError(f"index is {index}, but the maps are of {count} images, from 0 on.")
    rows = []
    for name in maps.weights:
        values = maps.of(name, query)[index].double().cpu().numpy()
        rows.append(
            _Row(name, np.log2(np.maximum(values, 2.0**-60)), maps.entropies(name, query)[index].double().cpu().numpy())
        )
    return rows


@dataclass(frozen=True)
class _Scale:
    """Colours of powers of two of even attention, from -reach to reach."""

    cmap: Any
    reach: int

    @property
    def options(self) -> dict[str, Any]:
        """For `imshow`."""
        return {"cmap": self.cmap, "vmin": -self.reach, "vmax": self.reach, "interpolation": "nearest"}


def _scale(ax: "Axes", rows: list[_Row]) -> _Scale:
    """Even attention has the colour of the background; more is orange and less is blue."""
    from matplotlib.colors import LinearSegmentedColormap

    paper = colours(ax).paper
    ends = ("#c6dbef", "#fee6ce") if sum(paper[:3]) < 1.5 else ("#08306b", "#7f2704")
    colors: list[Any] = [ends[0], "#4292c6", paper, "#f16913", ends[1]]
    cmap = LinearSegmentedColormap.from_list("attention", colors)
    most = np.quantile(np.abs(np.concatenate([row.maps.ravel() for row in rows])), BEYOND)
    return _Scale(cmap, min(MOST, max(LEAST, ceil(most))))


@dataclass(frozen=True)
class _Page:
    """The picture, whose coordinates are inches from the top left, with maps of this width and height with their gap."""

    ax: "Axes"
    wide: float
    high: float
    scale: _Scale
    letters: float

    def draw_row_(self, row: _Row, name: str, number: int) -> None:
        """Maps of one layer."""
        top = TOP + number * (self.high + WORDS)
        label = f"block {name}" if number == 0 and name.isdigit() else name
        self.write_(LEFT - 0.08, top + self.high / 2, label, ha="right", va="center")
        for head, (values, share) in enumerate(zip(row.maps, row.entropies, strict=True)):
            self.draw_map_(values, LEFT + head * self.wide, top, share)

    def draw_map_(self, values: Float[np.ndarray, "rows columns"], left: float, top: float, share: float) -> None:
        """One map and its entropy."""
        wide, high = 0.92 * self.wide, 0.92 * self.high
        self.ax.imshow(values, extent=(left, left + wide, top + high, top), aspect="equal", **self.scale.options)
        self.frame_(left, top, wide, high)
        self.write_(left + wide, top - 0.015, f"{share:.2f}", ha="right", size=0.85 * self.letters)

    def draw_margin_(self, picture: np.ndarray | None, grid: tuple[int, int]) -> None:
        """The image, and below it the control."""
        side = LEFT - 0.62
        wide, high = (side * part / max(grid) for part in (grid[1], grid[0]))
        left, top = 0.08, TOP
        if picture is not None:
            self.ax.imshow(
                picture, extent=(left, left + wide, top + high, top), aspect="equal", interpolation="nearest"
            )
            self.frame_(left, top, wide, high)
            self.write_(left, top - 0.03, "image", ha="left")
            top += high + 0.3
        self.draw_map_(np.zeros(grid), left, top, 1.0)
        self.write_(left, top - 0.015, "even", ha="left")
        self.write_(left, top + self.high + 0.02, "numbers: entropy,\n1 is even", ha="left", va="top")

    def draw_scale_(self, width: float, height: float) -> None:
        """What the colours mean."""
        left, tall = width - RIGHT + 0.12, min(height - TOP - BOTTOM, 3.2)
        reach = self.scale.reach
        ramp = np.linspace(reach, -reach, 255)[:, None]
        self.ax.imshow(
            ramp, extent=(left, left + 0.12, TOP + tall, TOP), aspect="equal", gid="scale", **self.scale.options
        )
        self.frame_(left, TOP, 0.12, tall)
        self.write_(left, TOP - 0.06, "weight", ha="left")
        for power in range(-reach, reach + 1):
            word = "even" if power == 0 else f"{2**power}×" if power > 0 else f"1/{2**-power}"
            word = f"≥ {word}" if power == reach else f"≤ {word}" if power == -reach else word
            self.write_(left + 0.17, TOP + tall * (reach - power) / (2 * reach), word, ha="left", va="center")

    def mark_(self, patch: int, grid: tuple[int, int], rows: list[_Row]) -> None:
        """A frame around the patch that attends."""
        row, column = divmod(patch, grid[1])
        wide, high = 0.92 * self.wide / grid[1], 0.92 * self.high / grid[0]
        for number, each in enumerate(rows):
            for head in range(len(each.entropies)):
                left = LEFT + head * self.wide + column * wide
                top = TOP + number * (self.high + WORDS) + row * high
                self.frame_(left, top, wide, high, strength=1.0)

    def frame_(self, left: float, top: float, wide: float, high: float, strength: float = 0.35) -> None:
        """A thin line around something."""
        from matplotlib.patches import Rectangle

        colour = colours(self.ax).faint(strength)
        self.ax.add_patch(Rectangle((left, top), wide, high, fill=False, edgecolor=colour, linewidth=0.5, zorder=3))

    def write_(
        self, x: float, y: float, word: str, *, ha: str = "center", va: str = "bottom", size: float = 0.0
    ) -> None:
        """A word."""
        self.ax.text(x, y, word, ha=ha, va=va, fontsize=size or self.letters)
