"""Formulas to choose from: how complex they are, and how wrong."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from superpose.plotting.canvas import Colours, axes_for, colours, figure_of
from superpose.plotting.names import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_front(
    complexities: Sequence[float],
    losses: Sequence[float],
    *,
    picked: int | None = None,
    labels: Sequence[str] | None = None,
    reference: float | None = None,
    ax: "Axes | None" = None,
) -> "Axes":
    """Draw formulas by how complex and how wrong they are: those that no simpler one beats are joined by steps.

    Args:
        complexities: How complex each is.
        losses: Error of each, best on rows that it was not chosen by; what is not above zero or not finite is left out.
        picked: Which one was chosen, counted from 0.
        labels: What stands at each, text or LaTeX between dollar signs; only those on the front are shown.
        reference: Error of the network itself, as a line.
        ax: Where to draw; a new figure if None.

    Raises:
        TypeError: If `ax` is not what matplotlib draws in.
        ValueError: If the numbers of things differ, nothing can be drawn, or `picked` is not one of them.

    Example:
        >>> import matplotlib
        >>> matplotlib.use("Agg")
        >>> from superpose.plotting import plot_front
        >>> ax = plot_front([1, 3, 7], [0.5, 0.01, 0.009], picked=1, labels=["$c$", "$x^2$", "$x^2+c$"], reference=0.008)
        >>> [text.get_text() for text in ax.texts]
        ['network', '$c$', '$x^2$', '$x^2+c$']
    """
    x, y, sound = _checked(complexities, losses, picked, labels)
    words = [plain(str(label)) for label in labels or []]
    ax = axes_for(ax, (4.5, 3.2))
    paint = colours(ax)
    front = best_of(x, y, sound)
    rest = [n for n in np.flatnonzero(sound).tolist() if n not in front]
    ax.set(yscale="log", xlabel="complexity", ylabel="held-out error")
    ax.step(x[front], y[front], where="post", color=paint.faint(0.4), linewidth=1, zorder=1)
    ax.scatter(x[rest], y[rest], s=16, color=[paint.faint(0.3)], zorder=2)
    ax.scatter(x[front], y[front], s=30, color=[paint.curve], zorder=3)
    if picked is not None and sound[picked]:
        ax.scatter(x[picked], y[picked], s=130, facecolors="none", edgecolors=[paint.accent], linewidths=1.8, zorder=4)
    ax.margins(x=0.08, y=0.22 if words else 0.12)
    if reference is not None and np.isfinite(reference) and reference > 0:
        _draw_reference_(ax, reference, paint)
    if words:
        texts = [_label(ax, x[n], y[n], words[n], paint, picked=n == picked) for n in front]
        _make_room_(ax, texts)
        _separate_(ax, texts, [(x[n], y[n]) for n in np.flatnonzero(sound)], paint)
    return ax


def best_of(x: Float[np.ndarray, " rows"], y: Float[np.ndarray, " rows"], sound: np.ndarray) -> list[int]:
    """Those that nothing as simple or simpler beats, from the simplest on."""
    front: list[int] = []
    for n in np.lexsort((y, x)).tolist():
        if sound[n] and (not front or (y[n] < y[front[-1]] and x[n] > x[front[-1]])):
            front.append(n)
    return front


def _checked(
    complexities: Sequence[float], losses: Sequence[float], picked: int | None, labels: Sequence[str] | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Complexities, losses, and which of them can be drawn, or a clear error."""
    x, y = (np.asarray(values, dtype=float).reshape(-1) for values in (complexities, losses))
    if len(x) != len(y) or (labels is not None and len(labels) != len(x)):
        counts = f"{len(x)} complexities and {len(y)} losses" + (
            f", {len(labels)} labels" if labels is not None else ""
        )
        raise ValueError(f"there must be as many of each, got {counts}.")
    if picked is not None and not 0 <= picked < len(x):
        raise ValueError(f"picked is {picked}, but there are {len(x)} to pick from, counted from 0.")
    sound = np.isfinite(x) & np.isfinite(y) & (y > 0)
    if not sound.any():
        raise ValueError("there is nothing to draw: no loss is finite and above zero.")
    return x, y, sound


def _draw_reference_(ax: "Axes", reference: float, paint: Colours) -> None:
    """The network's own error."""
    colour = paint.faint(0.6)
    ax.axhline(reference, color=colour, linewidth=1, linestyle="--", zorder=1)
    low, high = ax.get_ylim()
    ax.set_ylim(min(low, reference / 1.5), max(high, reference * 1.5))
    place = ax.get_yaxis_transform()
    ax.text(0.01, reference, "network", transform=place, va="bottom", ha="left", color=colour, fontsize="x-small")


def _label(ax: "Axes", x: float, y: float, words: str, paint: Colours, *, picked: bool) -> Any:
    """What stands at a point, above the step that goes on from it; it hides the lines behind it."""
    behind = {"facecolor": paint.paper, "edgecolor": "none", "pad": 0.5, "alpha": 0.85}
    colour = paint.accent if picked else paint.ink
    style: dict[str, Any] = {"fontsize": "small", "color": colour, "bbox": behind, "zorder": 2.5}
    return ax.annotate(words, (x, y), (5, 5), textcoords="offset points", **style)


def _make_room_(ax: "Axes", texts: Sequence[Any]) -> None:
    """Move the right end until all labels are inside."""
    for _ in range(3):  # labels keep their size, so each step leaves less to do
        box = ax.get_window_extent()
        over = max(text.get_window_extent().x1 for text in texts) - box.x1
        if over <= 0:
            return
        left, right = ax.get_xlim()
        ax.set_xlim(left, right + (right - left) * (over + 4) / max(box.width - over, 0.3 * box.width))


def _separate_(ax: "Axes", texts: Sequence[Any], points: Sequence[tuple[float, float]], paint: Colours) -> None:
    """Lift labels off points and labels below them; what was lifted is tied to its point by a line."""
    from matplotlib.transforms import Bbox

    figure_of(ax).draw_without_rendering()  # so that the layout is the last one
    radius = 4 * ax.figure.dpi / 72
    placed = [Bbox([middle - radius, middle + radius]) for middle in ax.transData.transform(points)]
    pixel = 72 / ax.figure.dpi
    for text in reversed(texts):  # the last is the lowest
        box, lifted = text.get_window_extent(), 0.0
        while any(box.overlaps(other) for other in placed):
            lifted += 2
            box = box.translated(0, 2)
        if lifted:
            text.set_position((5, 5 + lifted * pixel))
        if lifted > 0.6 * box.height:
            ax.annotate(
                "",
                text.xy,
                (4, 6 + lifted * pixel),
                textcoords="offset points",
                arrowprops={"arrowstyle": "-", "color": paint.faint(0.4), "linewidth": 0.6},
            )
        placed.append(box)
