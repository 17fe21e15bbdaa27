"""Networks side by side in compiled kernels: what `evaluation` defines, in one call each and without a Jacobian in memory.

At every sample only `degree + 1` splines of an edge live, which the kernels make use of. Some fifty small tensor
operations take as long as the arithmetic of a network of the size 2-5-1 on a thousand rows; here they are none.
"""

from collections.abc import Sequence
from struct import pack

import torch
from jaxtyping import Float
from torch import Tensor, nn

from superpose._select import NO_KERNELS, kernels
from superpose.bases import BSpline
from superpose.fitting.evaluation import Pull
from superpose.fitting.stages import KANStage, Stage

EXTRAPOLATIONS = ("linear", "clamp", "zero")
BASES = (nn.Identity, nn.SiLU)
DEGREES = (1, 2, 3)


def obstacle(x: Tensor, stages: list[Stage]) -> str | None:
    """Why this implementation cannot take these networks, or None if it can."""
    if not hasattr(kernels, "network"):
        return NO_KERNELS
    if any(not isinstance(stage, KANStage) or not isinstance(stage.basis, BSpline) for stage in stages):
        return "it is for B-splines"
    if any(not stage.products.plain for stage in stages):
        return "it is for nodes that are sums, not products"
    splines = [_splines(stage) for stage in stages]
    kinds = {(basis.degree, basis.extrapolation, base) for basis, base in splines}
    if len(kinds) > 1:
        return "it is for layers of one degree, extrapolation and base function"
    basis, base = splines[0]
    if basis.degree not in DEGREES:
        return f"it is for degrees from {DEGREES[0]} to {DEGREES[-1]}, not {basis.degree}"
    if base not in BASES:
        return f"it is for the base functions {' and '.join(known.__name__ for known in BASES)}, not {base.__name__}"
    return None


def hidden(
    stages: list[Stage], matrices: list[Float[Tensor, "S _ _"]], x: Float[Tensor, "*S N inputs"]
) -> list[Float[Tensor, "S N _"]]:
    """Outputs of every layer."""
    values = [x.new_empty(len(matrix), x.shape[-2], matrix.shape[1]) for matrix in matrices]
    _run(stages, matrices, x, values)
    return values


def normal_equations(
    stages: list[Stage],
    matrices: list[Float[Tensor, "S _ _"]],
    x: Float[Tensor, "N inputs"],
    pull: Pull,
    known: Float[Tensor, "S N K"] | None = None,
) -> tuple[Float[Tensor, "S P"], Float[Tensor, "S P P"]]:
    """Gradient and Gauss-Newton matrix of a loss; `known` are the outputs if somebody has them."""
    count, outputs = matrices[-1].shape[:2]
    size = sum(matrix[0].numel() for matrix in matrices)
    if known is None:
        known = x.new_empty(count, len(x), outputs)
        _run(stages, matrices, x, [*[None] * (len(stages) - 1), known])
    root, slopes = (part.contiguous() for part in pull(known, slice(None)))
    gradient, hessian = x.new_empty(count, size), x.new_empty(count, size, size)
    _run(stages, matrices, x, [None] * len(stages), root, slopes, gradient, hessian)
    return gradient, hessian


def _run(
    stages: list[Stage], matrices: list[Tensor], x: Tensor, values: Sequence[Tensor | None], *sums: Tensor
) -> None:
    """One pass over the samples, as a `NetworkCall` of native/jacobian.h; `sums` are the root and the slopes to pull back, and where the results go."""
    x, matrices = x.contiguous(), [matrix.contiguous() for matrix in matrices]
    splines = [_splines(stage) for stage in stages]
    knots = [basis.knots.contiguous() for basis, _ in splines]
    (basis, base), rows = splines[0], sums[0].shape[2] if sums else 0
    packed = [
        len(matrices[0]), x.shape[-2], len(stages), basis.degree, EXTRAPOLATIONS.index(basis.extrapolation),
        BASES.index(base), rows, torch.get_num_threads(), x.ndim == 3,
        x.data_ptr(), *((part.data_ptr() for part in sums) if sums else (0, 0, 0, 0)),
    ]  # fmt: skip
    for stage, (basis, _), knot, matrix, value in zip(stages, splines, knots, matrices, values, strict=True):
        place = 0 if value is None else value.data_ptr()
        packed += stage.inputs, matrix.shape[1], basis.intervals, knot.data_ptr(), matrix.data_ptr(), place
    kernels.network(pack(f"{len(packed)}q", *packed))


def _splines(stage: Stage) -> tuple[BSpline, type[nn.Module]]:
    """The splines of a layer that has some, and the kind of its base function."""
    assert isinstance(stage, KANStage) and isinstance(stage.basis, BSpline)
    return stage.basis, type(stage.base)
