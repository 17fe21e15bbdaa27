"""The axes that a picture is drawn in, and its colours, which are those of the caller's style."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from jaxtyping import Float
from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RGBA = tuple[float, float, float, float]


@dataclass(frozen=True)
class Colours:
    """Text and lines, what is behind them, curves, and what stands out."""

    ink: RGBA
    paper: RGBA
    curve: RGBA
    accent: RGBA

    def faint(self, strength: float, colour: RGBA | None = None) -> RGBA:
        """A colour, the ink if None, as it looks through paper: opaque, so that what is behind stays hidden."""
        colour = self.ink if colour is None else colour
        red, green, blue = (p + strength * (c - p) for p, c in zip(self.paper[:3], colour[:3], strict=True))
        return red, green, blue, 1.0


def need_matplotlib() -> None:
    """Raise a clear error where there is none."""
    try:
        import matplotlib  # noqa: F401
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("plots need matplotlib: pip install 'superpose[plot]'.", name=error.name) from None


def axes_for(ax: Any, size: tuple[float, float], *, bare: bool = False) -> "Axes":
    """The axes given, or those of a new figure of `size` inches; `bare` ones fill it.

    Raises:
        ModuleNotFoundError: If there is no matplotlib.
        TypeError: If `ax` is something else.
    """
    need_matplotlib()
    from matplotlib.axes import Axes

    if ax is not None:
        if not isinstance(ax, Axes):
            raise TypeError(f"ax must be matplotlib Axes, such as those of plt.subplots(), got {type(ax).__name__}.")
        return ax
    from matplotlib import pyplot

    figure = pyplot.figure(figsize=size, layout=None if bare else "constrained")
    return figure.add_axes((0, 0, 1, 1)) if bare else figure.add_subplot()


def figure_of(ax: "Axes") -> "Figure":
    """The figure itself, where axes lie in a part of one."""
    figure = ax.figure
    while not hasattr(figure, "set_size_inches"):
        figure = figure.figure
    return cast("Figure", figure)


def colours(ax: "Axes") -> Colours:
    """The colours of the style in force, over what is behind the axes."""
    from matplotlib import rcParams
    from matplotlib.colors import to_rgba

    behind = to_rgba(ax.get_facecolor())
    behind = behind if behind[3] == 1 else to_rgba(ax.figure.get_facecolor())
    return Colours(to_rgba(rcParams["text.color"]), behind, to_rgba("C0"), to_rgba("C1"))


def as_picture(
    image: Float[Tensor, "channels height width"], like: Float[Tensor, "channels height width"] | None = None
) -> Float[np.ndarray, "height width 3"]:
    """An image of one or three channels as matplotlib shows it, from 0 to 1.

    Networks take images that are normalised in one way or another; what is shown spans black to white between the least
    and the greatest value of `like`, the image itself if None.

    Raises:
        ValueError: If it has another number of channels.
    """
    if image.ndim != 3 or len(image) not in (1, 3):
        raise ValueError(f"an image must have shape (1 or 3 channels, height, width), got {tuple(image.shape)}.")
    low, high = (image if like is None else like).aminmax()
    shown = ((image - low) / (high - low).clamp_min(1e-12)).clamp(0, 1).detach().float().cpu()
    return shown.expand(3, -1, -1).permute(1, 2, 0).numpy()
