"""The group-rational function: check the arguments, choose an implementation, call it."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from superpose._select import Obstacle, choose, transformed
from superpose.ops.rational import gpu, native, reference, traced  # noqa: F401 - traced enters its operations
from superpose.ops.rational.function import Kernel, call
from superpose.ops.rational.linear import call_linear
from superpose.ops.rational.reference import FORMS as FORMS
from superpose.ops.rational.reference import groups_of as groups_of

KERNELS: dict[str, Kernel] = {"triton": gpu, "native": native}
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


def rational_linear(
    x: Float[Tensor, "*batch inputs"],
    numerator: Float[Tensor, "numerators coefficients"],
    denominator: Float[Tensor, "denominators powers"],
    weight: Float[Tensor, "outputs inputs"],
    bias: Float[Tensor, " outputs"] | None = None,
    form: str = "sum_abs",
) -> Float[Tensor, "*batch outputs"]:
    """A linear map of the rational function of x: one layer of a group-rational KAN (Yang and Wang 2024, eq. 13).

    Where a kernel computes the function, its values are not kept for the backward pass but computed again, which costs
    little beside the linear map; x and the parameters are all that is saved. Where PyTorch alone computes it, this is
    `linear(rational(x, ...), weight, bias)`, and keeps what that keeps. Autocast changes the linear map as it changes
    `torch.nn.functional.linear`.

    Args:
        x: Points, with the channels last.
        numerator: Coefficients, as for `rational`.
        denominator: Coefficients, as for `rational`.
        weight: Matrix of the linear map.
        bias: What is added; None for nothing.
        form: Which denominator, as for `rational`.

    Raises:
        TypeError: If x, weight and bias are of different dtypes, and not under autocast.
        ValueError: If the shapes disagree, or for the reasons of `rational`.

    Example:
        >>> import torch
        >>> x, a, b = torch.tensor([[1.0, 2.0]]), torch.tensor([[0.0, 1.0]]), torch.tensor([[0.0], [1.0]])
        >>> rational_linear(x, a, b, torch.ones(1, 2))
        tensor([[1.6667]])
    """
    _check(x, numerator, denominator, form, -1)
    _check_linear(x, weight, bias)
    args = x, numerator, denominator, form, x.ndim - 1
    chosen = choose("rational", CANDIDATES, *args)
    if chosen == "reference":
        return functional.linear(reference.rational(*args), weight, bias)
    if transformed(weight, bias) is not None:
        return functional.linear(call(KERNELS[chosen], *args), weight, bias)
    return call_linear(KERNELS[chosen], x, numerator, denominator, weight, bias, form)


def _check_linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    if weight.ndim != 2 or weight.shape[1] != x.shape[-1]:
        raise ValueError(f"weight must have shape (outputs, {x.shape[-1]}) for this x, got {tuple(weight.shape)}.")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"bias must have shape ({weight.shape[0]},) for this weight, got {tuple(bias.shape)}.")
    dtypes = {x.dtype, weight.dtype} | (set() if bias is None else {bias.dtype})
    if len(dtypes) > 1 and not torch.is_autocast_enabled(x.device.type):
        names = ", ".join(sorted(map(str, dtypes)))
        raise TypeError(f"x, weight and bias have dtypes {names}; convert them to one, or use torch.autocast.")


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
