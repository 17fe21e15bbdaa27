"""Names and symbols in pictures."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from superpose.models import KAN
from superpose.plotting.canvas import need_matplotlib
from superpose.plotting.graph import Edge

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.text import Text


def default_names(letter: str, width: int) -> list[str]:
    """A letter with a number where there are several, as LaTeX."""
    return [f"${letter}$"] if letter == "y" and width == 1 else [f"${letter}_{{{n + 1}}}$" for n in range(width)]


def as_math(text: str) -> str:
    """LaTeX between dollar signs, checked: matplotlib would stumble over it only when it draws.

    Raises:
        ValueError: If matplotlib cannot set it.
    """
    need_matplotlib()
    from matplotlib.mathtext import MathTextParser

    text = f"${str(text).strip().strip('$')}$"
    try:
        MathTextParser("path").parse(text)
    except ValueError as error:
        reason = str(error).strip().splitlines()[-1]
        raise ValueError(f"matplotlib cannot set the LaTeX {text}: {reason} Write it more simply.") from None
    return text


def is_math(text: str) -> bool:
    """Whether a name is LaTeX: other dollar signs are part of it."""
    return len(text) > 2 and text.startswith("$") and text.endswith("$")


def plain(text: str) -> str:
    """A text for places that take all dollar signs for LaTeX, such as ticks and legends."""
    return as_math(text) if is_math(text) else text.replace("$", r"\$")


def write(ax: "Axes", x: float, y: float, text: str, **style: Any) -> "Text":
    """Text in axes, as it is or as LaTeX."""
    math = is_math(text)
    return ax.text(x, y, as_math(text) if math else text, parse_math=math, usetex=False, **style)


def inches(text: "Text") -> float:
    """Width of a text."""
    return text.get_window_extent().width / text.figure.dpi


def shorten_(text: "Text", most: float) -> None:
    """Take the middle out of a text that is wider than `most` inches."""
    words = text.get_text()
    while not is_math(words) and inches(text) > most and len(words) > 3:
        keep = max(3, min(len(words) - 1, int(len(words) * most / inches(text))))
        words = words[: keep // 2] + "…" + words[len(words) - (keep - 1 - keep // 2) :]
        text.set_text(words)


def shrink_(texts: Iterable["Text"], most: float) -> None:
    """Make texts no larger than `most` points, and never so small that nobody can read them."""
    for text in texts:
        text.set_fontsize(max(4.0, min(text.get_fontsize(), most)))


def checked_edge(model: KAN, edge: Any) -> Edge:
    """An edge as (layer, output, input).

    Raises:
        ValueError: If the network has no such edge.
    """
    try:
        n, o, i = map(int, edge)
    except (TypeError, ValueError):
        raise ValueError(f"an edge is (layer, output, input), such as (0, 2, 1); got {edge!r}.") from None
    if not 0 <= n < len(model.layers):
        raise ValueError(f"edge {edge!r} is in layer {n}; the network has layers 0 to {len(model.layers) - 1}.")
    layer = model.layers[n]
    if not (0 <= o < layer.out_features and 0 <= i < layer.in_features):
        raise ValueError(
            f"edge {edge!r} is not there: layer {n} has outputs 0 to {layer.out_features - 1} and inputs 0 to "
            f"{layer.in_features - 1}, and an edge is (layer, output, input)."
        )
    return n, o, i


def without_common_parts(names: Sequence[str]) -> list[str]:
    """Names without the parts that are the same in all: `0 act1` for `blocks.0.mlp.act1`."""
    parts = [name.split(".") for name in names]
    if len({len(each) for each in parts}) > 1 or len(names) == 1:
        return list(names)
    differ = [len(set(column)) > 1 for column in zip(*parts, strict=True)]
    return [" ".join(part for part, own in zip(each, differ, strict=True) if own) for each in parts]
