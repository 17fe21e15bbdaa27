"""Checks a user's table once and turns it into what the solvers take."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from superpose.fitting.bundle import Data
from superpose.fitting.losses import CallableLoss, CrossEntropy, Huber, Loss, MeanSquaredError
from superpose.models import KAN, Network

LOST = 1e-3
"""Share of a column's spread that rounding to the model's numbers may take."""
LOSSES = {"mse": MeanSquaredError, "huber": Huber, "cross_entropy": CrossEntropy}


def chosen_loss(loss: str | Loss | Callable[[Tensor, Tensor], Tensor], model: Network) -> Loss:
    """The loss object behind a name, a `Loss` or a function of predictions and targets."""
    if isinstance(loss, Loss):
        return loss
    if callable(loss):
        return CallableLoss(loss, model.output_scaling)
    if loss not in LOSSES:
        raise ValueError(f"loss is {loss!r}; choose one of {', '.join(LOSSES)}, or give a function.")
    return LOSSES[loss]()


def as_rows(values: Any, name: str, width: int | None) -> Tensor:
    """A finite float64 matrix, one row per sample."""
    try:
        rows = torch.as_tensor(values if isinstance(values, Tensor) else np.array(values, order="C")).detach().cpu()
    except (TypeError, ValueError) as problem:
        raise TypeError(
            f"{name} must be numbers in rows and columns, got {type(values).__name__}: {problem}."
        ) from None
    if rows.is_complex():
        raise TypeError(f"{name} must hold real numbers, got complex ones.")
    rows = rows.double()
    if rows.ndim == 1 and (width == 1 or width is None):
        rows = rows.unsqueeze(1)
    if rows.ndim != 2 or (width is not None and rows.shape[1] != width):
        wanted = f"(samples, {width})" if width is not None else "(samples, columns)"
        raise ValueError(f"{name} must have shape {wanted}, got {tuple(rows.shape)}.")
    if len(rows) == 0:
        raise ValueError(f"{name} has no rows.")
    if not bool(torch.isfinite(rows).all()):
        bad = int((~torch.isfinite(rows)).any(1).sum())
        raise ValueError(f"{name} holds NaN or infinity in {bad} of {len(rows)} rows; drop or fill them first.")
    return rows


def as_data(model: Network, loss: Loss, x: Any, y: Any, weight: Any = None) -> Data:
    """A checked table in the units of the data."""
    rows = as_rows(x, "x", model.widths[0])
    if isinstance(loss, CrossEntropy):
        targets = _class_numbers(y, model.widths[-1])
    else:
        targets = as_rows(y, "y", model.widths[-1])
    if len(rows) != len(targets):
        raise ValueError(f"x has {len(rows)} rows but y has {len(targets)}.")
    weights = (
        torch.ones(len(rows), dtype=torch.float64) if weight is None else as_rows(weight, "sample_weight", 1)[:, 0]
    )
    if len(weights) != len(rows):
        raise ValueError(f"sample_weight has {len(weights)} values for {len(rows)} rows.")
    if bool((weights < 0).any()) or not float(weights.sum()) > 0:
        raise ValueError("sample_weight must not be negative, and not zero everywhere.")
    counts = weights > 0  # rows without weight would still take part in shares, ranges and starts
    rows, targets, weights = rows[counts], targets[counts], weights[counts]
    return Data(rows, targets, weights / weights.sum(), float(weights.sum()))


def _class_numbers(y: Any, classes: int) -> Tensor:
    numbers = as_rows(y, "y", 1)[:, 0]
    if bool((numbers != numbers.round()).any()) or float(numbers.min()) < 0 or float(numbers.max()) >= classes:
        raise ValueError(f"for cross-entropy y must hold class numbers from 0 to {classes - 1}.")
    return numbers.long()


@torch.no_grad()
def set_scaling_(model: Network, data: Data, loss: Loss) -> None:
    """Scale inputs into [-1, 1] and targets to mean 0 and variance 1, once; a model that has its units keeps them.

    Where an output is a product the mean of its targets stays: a product and a constant make no product.
    """
    if is_fresh(model):
        low, high = data.x.min(0).values, data.x.max(0).values
        half = torch.where(high > low, (high - low) / 2, torch.ones_like(low)) * (1 + 2 * reach(data.total))
        model.input_scaling.scale.copy_(1 / half)
        model.input_scaling.shift.copy_(-(low + high) / 2 / half)
        _carry_placement_(model)
        if not isinstance(loss, CrossEntropy):
            mean = (data.weight.unsqueeze(1) * data.y).sum(0)
            spread = (data.weight.unsqueeze(1) * (data.y - mean).square()).sum(0).sqrt()
            model.output_scaling.scale.copy_(torch.where(spread > 1e-12 * mean.abs(), spread, torch.ones_like(spread)))
            products = [n for n, arity in enumerate(model.arities[-1]) if arity > 1] if isinstance(model, KAN) else []
            model.output_scaling.shift.copy_(mean.index_fill(0, torch.tensor(products, dtype=torch.long), 0))
        for scaling in (model.input_scaling, model.output_scaling):
            if not bool((torch.isfinite(scaling.shift) & torch.isfinite(scaling.scale) & (scaling.scale > 0)).all()):
                raise ValueError(
                    f"the spread of the data is beyond {scaling.scale.dtype}; change the units, or call model.double()."
                )
        _check_offset("x", (low + high) / 2, (high - low) / 2, model)
        if not isinstance(loss, CrossEntropy):
            _check_offset("y", mean, spread, model)


def _check_offset(what: str, middle: Tensor, spread: Tensor, model: Network) -> None:
    """Refuse numbers so far from zero, in units of their spread, that the model's own numbers cannot tell them apart."""
    dtype, varies = model.input_scaling.scale.dtype, spread > 1e-12 * middle.abs()
    lost = torch.finfo(dtype).eps * middle.abs() / spread > LOST
    for column in (varies & lost).nonzero().flatten().tolist():
        raise ValueError(
            f"column {column} of {what} varies by {float(spread[column]):.1e} about {float(middle[column]):.6g}, which {dtype} "
            "hardly resolves; subtract that number, or call model.double() before the fit."
        )


def _carry_placement_(model: Network) -> None:
    """Take input grids that were placed in the units of the data along into the new units."""
    if isinstance(model, KAN):
        basis, scaling = model.layers[0].basis, model.input_scaling
        points = basis.breakpoints
        if not bool(((points[:, 0] == -1) & (points[:, -1] == 1)).all()):
            moved = points * scaling.scale.unsqueeze(1) + scaling.shift.unsqueeze(1)
            model.layers[0].basis = basis.at(moved.to(points.dtype))


def reach(samples: float) -> float:
    """How far grids go beyond the data on either side, as a share of its range.

    Sums of inputs reach their extremes seldom, so hidden nodes need more room than the gaps between samples. New points
    fall there, and a spline whose grid covers them goes on smoothly where a straight line would not.
    """
    return min(0.12, 2.6 / samples ** (2 / 3))


def is_fresh(model: Network) -> bool:
    """Whether a model has never been given units."""
    return all(
        bool((scaling.scale == 1).all()) and bool((scaling.shift == 0).all())
        for scaling in (model.input_scaling, model.output_scaling)
    )


def scaled(model: Network, data: Data, loss: Loss) -> Data:
    """The table in the units the network's layers work in."""
    before, after = copy.deepcopy(model.input_scaling).double(), copy.deepcopy(model.output_scaling).double()
    return Data(
        before(data.x), data.y if isinstance(loss, CrossEntropy) else after.inverse(data.y), data.weight, data.total
    )
