"""A picture of a kernel of attention as the function of two numbers that it is."""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float

from superpose.layers import KernelAttention
from superpose.layers.kernels import Gated, Kernel, PerHead, SeriesKernel, StationaryKernel
from superpose.plotting.canvas import axes_for

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FINE = 201
"""Points of a curve."""
ANYWHERE = -3.0, 3.0
"""What is drawn of a kernel that is the same function everywhere."""
STYLES = "-", "--", ":"


def plot_kernels(layer: KernelAttention, *, ax: "Axes | None" = None) -> "Axes":
    """Draw the kernels of a layer's heads as functions, in a colour for each head.

    A kernel of the difference a - b is one curve. Any other is three, of the key's number b for three numbers a of the
    query, at quarters of the interval that the kernel is made for. A kernel that compares whole vectors is defined up to
    a number of the query's own; it is drawn with its maximum at zero.

    Args:
        layer: Attention by kernels.
        ax: Where to draw; a new figure if None.

    Raises:
        TypeError: If `ax` is not what matplotlib draws in, or the layer has no kernel.

    Example:
        >>> import matplotlib
        >>> matplotlib.use("Agg")
        >>> from superpose.plotting import plot_kernels
        >>> len(plot_kernels(KernelAttention.gaussian_mhsa(32, 4)).lines)
        4
    """
    kernel = getattr(layer, "kernel", None)
    if not isinstance(kernel, Kernel):
        raise TypeError(f"layer must be KernelAttention, got {type(layer).__name__} with {type(kernel).__name__}.")
    ax = axes_for(ax, (3.6, 2.6))
    from matplotlib import colormaps

    low, high = _interval(kernel)
    keys, stationary = np.linspace(low, high, FINE), isinstance(kernel, StationaryKernel)
    # Beyond the radius all numbers count as its ends, so that a = 0 shows what differences up to it do.
    queries = np.zeros(1) if stationary else np.linspace(low, high, 5)[1:4]
    heads = _values(kernel, layer.num_heads, queries, keys)
    for head, curves in enumerate(heads):
        shade = colormaps["plasma"](0.1 + 0.8 * head / max(1, len(heads) - 1))
        some = len(heads) <= 4 or head in (0, len(heads) // 2, len(heads) - 1)
        for number, (curve, style) in enumerate(zip(curves, STYLES, strict=False)):
            name = f"head {head}" if some and number == 0 else None
            ax.plot(keys, curve, style, color=shade, linewidth=1.2, label=name)
    if not stationary:
        for a, style in zip(queries, STYLES, strict=True):
            ax.plot([], [], style, color="0.5", linewidth=1.2, label=f"a = {a:.3g}")
    ax.set(xlabel="a − b" if stationary else "b", ylabel="kernel", xlim=(low, high))
    beside: dict[str, Any] = {} if stationary else {"loc": "center left", "bbox_to_anchor": (1.01, 0.5)}
    ax.legend(frameon=False, fontsize="x-small", **beside)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def _interval(kernel: Kernel) -> tuple[float, float]:
    """Where a kernel is the function that it says; of several, where all are."""
    if isinstance(kernel, PerHead | Gated):
        parts = kernel.kernels if isinstance(kernel, PerHead) else (kernel.first, kernel.second)
        lows, highs = zip(*map(_interval, parts), strict=True)
        return max(lows), min(highs)
    if isinstance(kernel, StationaryKernel):
        return -kernel.radius, kernel.radius
    if isinstance(kernel, SeriesKernel):
        low, high = kernel.basis.domain[0].tolist()
        return low, high
    return ANYWHERE


@torch.no_grad()
def _values(
    kernel: Kernel, heads: int, queries: Float[np.ndarray, " queries"], keys: Float[np.ndarray, " keys"]
) -> Float[np.ndarray, "heads queries keys"]:
    """The kernel of every head between each two points, by the features that attention takes."""
    device = next((each.device for each in (*kernel.parameters(), *kernel.buffers())), None)
    q, k = (torch.as_tensor(x, dtype=torch.float32, device=device) for x in (queries, keys))
    left, right = kernel(
        *(x[None, :, None, None].expand(-1, -1, heads, -1) for x in (q, k)), None, None, relative=False
    )
    values = torch.einsum("qhf,khf->hqk", left[0], right[0])
    if kernel.vectors:
        values = values - values.amax(-1, keepdim=True)
    return values.double().cpu().numpy()
