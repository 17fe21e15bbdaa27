"""The group-rational function: check the arguments, choose an implementation, call it."""

from jaxtyping import Float
from torch import Tensor

from superpose._select import Obstacle, choose
from superpose.ops.rational import native, reference, traced  # noqa: F401 - traced enters its operations
from superpose.ops.rational.function import Kernel, call
from superpose.ops.rational.reference import FORMS as FORMS
from superpose.ops.rational.reference import groups_of as groups_of

KERNELS: dict[str, Kernel] = {"native": native}
"""The implementations beside the reference, best first."""
CANDIDATES: dict[str, Obstacle] = {name: kernel.obstacle for name, kernel in KERNELS.items()}
CANDIDATES["reference"] = reference.obstacle


def rational(
    x: Float[Tensor, "..."],
    numerator: Float[Tensor, "numerators coefficients"],
    denominator: Float[Tensor, "denominators powers"],
    form: str = "sum_abs",
    axis: int = -1,
) -> Float[Tensor, "..."]:
    r"""A rational function of every element, with the coefficients of its channel's group.

    $F(x) = P(x) / Q(x)$ with $P = \sum_{i=0}^m a_i x^i$ and one of two denominators without poles:
    `"sum_abs"`, $Q = 1 + \sum_{j=1}^n |b_j| |x|^j$, which the published weights of the Kolmogorov-Arnold Transformer were
    trained with, or `"abs_sum"`, $Q = 1 + |\sum_{j=1}^n b_j x^j|$ (Yang and Wang 2024, arXiv 2409.10594, eq. 12). The two
    agree only where all terms have one sign. Absolute values have slope 1 at zero.

    Arithmetic is in float32, or float64 where x or a coefficient is; the result has the dtype of x. Where $|x|^m$ or
    $|x|^n$ overflow, the result is infinite or NaN.

    Args:
        x: Points, with the channels on `axis`.
        numerator: $a_0$ to $a_m$ in the rows, one row for each group of channels or one for all.
        denominator: $b_1$ to $b_n$ in the rows, one row for each group or one for all. Of C channels and G groups,
            channel c belongs to group `c * G // C`: contiguous blocks, as even as they can be.
        form: Which denominator.
        axis: Where the channels are.

    Raises:
        ValueError: If the coefficients disagree in their groups, x has no such axis, or there is no such denominator.

    Example:
        >>> import torch
        >>> rational(torch.tensor([[1.0, 2.0]]), torch.tensor([[0.0, 1.0]]), torch.tensor([[0.0], [1.0]]))
        tensor([[1.0000, 0.6667]])
    """
    _check(x, numerator, denominator, form, axis)
    args = x, numerator, denominator, form, axis % x.ndim
    chosen = choose("rational", CANDIDATES, *args)
    return reference.rational(*args) if chosen == "reference" else call(KERNELS[chosen], *args)


def _check(x: Tensor, numerator: Tensor, denominator: Tensor, form: str, axis: int) -> None:
    for name, tensor in (("x", x), ("numerator", numerator), ("denominator", denominator)):
        if not tensor.is_floating_point():
            raise TypeError(f"{name} must hold floating-point numbers, got {tensor.dtype}; convert it, as by .float().")
    if form not in FORMS:
        raise ValueError(f"form is {form!r}; choose one of {', '.join(FORMS)}.")
    if not -x.ndim <= axis < x.ndim:
        raise ValueError(f"axis is {axis}, but x has {x.ndim} axes: its shape is {tuple(x.shape)}.")
    if numerator.ndim != 2 or denominator.ndim != 2 or numerator.shape[1] < 1:
        raise ValueError(
            "numerator must have shape (groups or 1, m + 1) and denominator (groups or 1, n), "
            f"got {tuple(numerator.shape)} and {tuple(denominator.shape)}."
        )
    rows = {len(numerator), len(denominator)} - {1}
    if len(rows) > 1 or 0 in rows:
        raise ValueError(
            f"numerator has coefficients for {len(numerator)} groups and denominator for {len(denominator)}; "
            "they must agree, or one of them must have a single row for all groups."
        )
