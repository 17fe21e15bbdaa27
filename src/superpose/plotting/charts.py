"""Charts: the course of a fit, and the scores of the inputs."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from superpose.plotting.canvas import axes_for, colours
from superpose.plotting.names import plain
from superpose.scores import Attribution

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHOWN = 25
"""Inputs that a picture of scores shows."""


def plot_history(history: Any, *, ax: "Axes | None" = None) -> "Axes":
    """Draw the course of a fit: the loss of every step, the step that was kept, and where the grids became finer.

    Args:
        history: What `superpose.fit` gives back, or its `history`.
        ax: Where to draw; a new figure if None.

    Raises:
        TypeError: If it is neither, or `ax` is not what matplotlib draws in.
        ValueError: If there are no steps.

    Example:
        >>> import matplotlib, torch
        >>> matplotlib.use("Agg")
        >>> from superpose import KAN, fit
        >>> from superpose.plotting import plot_history
        >>> x = torch.linspace(0, 6, 100).unsqueeze(1)
        >>> plot_history(fit(KAN((1, 1)), x, x.sin(), starts=1)).get_yscale()
        'log'
    """
    records = list(getattr(history, "history", history))
    if not records:
        raise ValueError("the history has no steps to draw.")
    try:
        rows = [(r.step, r.train_loss, r.validation_loss, r.intervals) for r in records]
    except AttributeError:
        raise TypeError(
            f"history must be what superpose.fit gives back, or its history; got rows of {type(records[0]).__name__}."
        ) from None
    ax = axes_for(ax, (4.5, 3.2))
    from matplotlib.ticker import MaxNLocator

    paint = colours(ax)
    steps = np.array([step for step, *_ in rows])
    train, held = (np.array([np.nan if row[n] is None else row[n] for row in rows], dtype=float) for n in (1, 2))
    _draw_grids_(ax, steps, [size for *_, size in rows], paint.faint(0.45))
    judged = np.isfinite(held).any()
    for values, label, colour, order in ((train, "fitted rows", "C0", 2), (held, "held-out rows", "C1", 3)):
        if np.isfinite(values).any():
            ax.plot(steps, np.where(values > 0, values, np.nan), color=colour, label=label, zorder=order, linewidth=1.8)
    if judged:
        best = int(np.nanargmin(held))
        ax.plot(steps[best], held[best], "o", color="C1", markeredgecolor=paint.paper, label="kept", zorder=4)
        ax.legend(frameon=False, fontsize="small")
    ax.set(yscale="log", xlabel="step", ylabel="loss" if judged else "loss on fitted rows")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    return ax


def _draw_grids_(ax: "Axes", steps: np.ndarray, sizes: Sequence[int], colour: Any) -> None:
    """A line before every step that has another grid than the one before, with the size of the grid."""
    starts = [0, *(n for n in range(1, len(sizes)) if sizes[n] != sizes[n - 1])]
    if len(starts) == 1:
        return
    for n in starts:
        if n:
            ax.axvline(steps[n] - 0.5, color=colour, linewidth=0.8, linestyle=":", zorder=1)
        words = f"{sizes[n]} intervals" if n == 0 else f"{sizes[n]}"
        ax.annotate(
            words,
            (steps[n] - (0.5 if n else 0), 1),
            (2, 2),
            xycoords=ax.get_xaxis_transform(),
            textcoords="offset points",
            color=colour,
            fontsize="x-small",
        )


def plot_scores(attribution: Attribution, *, ax: "Axes | None" = None) -> "Axes":
    """Draw how much the inputs matter as bars, the most important on top.

    Args:
        attribution: What `superpose.attribute` gives back.
        ax: Where to draw; a new figure if None.

    Raises:
        TypeError: If it is something else, or `ax` is not what matplotlib draws in.

    Example:
        >>> import matplotlib, torch
        >>> matplotlib.use("Agg")
        >>> from superpose import KAN, attribute
        >>> from superpose.plotting import plot_scores
        >>> ax = plot_scores(attribute(KAN((3, 1)), torch.rand(100, 3), names=["a", "b", "c"]))
        >>> sorted(tick.get_text() for tick in ax.get_yticklabels())
        ['a', 'b', 'c']
    """
    if not isinstance(attribution, Attribution):
        raise TypeError(f"attribution must be what superpose.attribute gives back, got {type(attribution).__name__}.")
    scores = attribution.inputs.detach().double().cpu().numpy()
    order = np.argsort(-scores, kind="stable")[:SHOWN]
    names = [attribution.names[i] if attribution.names else f"x{i + 1}" for i in order]
    ax = axes_for(ax, (4.5, 0.7 + 0.24 * len(order)))
    bars = ax.barh(np.arange(len(order)), scores[order], height=0.7, color="C0")
    ax.bar_label(bars, [f"{score:.3f}" if score >= 0.0005 else "0" for score in scores[order]], padding=3, size="small")
    ax.set_yticks(np.arange(len(order)), [plain(name) for name in names])
    left_out = len(scores) - len(order)
    ax.set_xlabel(f"score ({left_out} more inputs score less)" if left_out else "score")
    ax.invert_yaxis()
    ax.tick_params(axis="y", length=0)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.margins(x=0.12, y=0.02)
    ax.set_xlim(left=0)
    return ax
