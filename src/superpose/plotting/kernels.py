"""A picture of a kernel of attention as the function of two numbers that it is."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float

from superpose.layers import KernelAttention
from superpose.layers.kernels import StationaryKernel
from superpose.plotting.canvas import axes_for

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FINE = 201
"""Points of a curve."""


def plot_kernels(layer: KernelAttention, *, ax: "Axes | None" = None) -> "Axes":
    """Draw the kernels of a layer's heads as functions of the difference a - b, a curve for each head.

    Args:
        layer: Attention whose kernel depends on the difference alone, such as that of `KernelAttention.gaussian_mhsa`.
        ax: Where to draw; a new figure if None.

    Raises:
        TypeError: If `ax` is not what matplotlib draws in, or the layer has no such kernel.

    Example:
        >>> import matplotlib
        >>> matplotlib.use("Agg")
        >>> from superpose.plotting import plot_kernels
        >>> len(plot_kernels(KernelAttention.gaussian_mhsa(32, 4)).lines)
        4
    """
    kernel = getattr(layer, "kernel", None)
    if not isinstance(kernel, StationaryKernel):
        raise TypeError(
            f"layer must be KernelAttention with a kernel of the difference, got {type(layer).__name__} with "
            f"{type(kernel).__name__}."
        )
    ax = axes_for(ax, (3.6, 2.6))
    from matplotlib import colormaps

    # Beyond the radius all numbers count as its ends, so that b = 0 shows what differences up to it do.
    x = np.linspace(-kernel.radius, kernel.radius, FINE)
    curves = _values(kernel, layer.num_heads, x)
    for head, curve in enumerate(curves):
        shade = colormaps["plasma"](0.1 + 0.8 * head / max(1, len(curves) - 1))
        some = len(curves) <= 4 or head in (0, len(curves) // 2, len(curves) - 1)
        ax.plot(x, curve, color=shade, linewidth=1.2, label=f"head {head}" if some else None)
    ax.set(xlabel="a − b", ylabel="kernel", xlim=(x[0], x[-1]))
    ax.legend(frameon=False, fontsize="x-small")
    ax.spines[["top", "right"]].set_visible(False)
    return ax


@torch.no_grad()
def _values(kernel: StationaryKernel, heads: int, x: Float[np.ndarray, " points"]) -> Float[np.ndarray, "heads points"]:
    """The kernel of every head between each point and zero, by the features that attention takes."""
    points = torch.as_tensor(x, dtype=torch.float32, device=kernel.basis.breakpoints.device)
    q = points[None, :, None, None].expand(-1, -1, heads, -1)
    left, right = kernel(q, torch.zeros_like(q[:, :1]), None, None, relative=False)
    return torch.einsum("qhf,hf->hq", left[0], right[0, 0]).double().cpu().numpy()
