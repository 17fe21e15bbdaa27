"""How much edges, nodes and inputs of a network matter for given data, exactly and differentiably.

An edge is linear in its features, phi = c' psi. Its mean over the data is mu' c and its variance c' C c, with the mean
mu and the covariance C of the features of its input alone: all edges from an input share them, and nothing of the size
samples x outputs x inputs is ever built.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from superpose.bases import Bernstein, BSpline
from superpose.layers import KANLinear
from superpose.models import KAN

CHUNK = 1 << 20
"""Values of features held at a time."""
MANY = 48
"""Splines of an input from which it is faster to look at those alone that live at a sample, measured."""
SHOWN = 20
"""Inputs that a printed table shows."""


class Moments(NamedTuple):
    """Mean of every edge function over the data, and its root mean square about the mean: constants do not count."""

    mean: Float[Tensor, "outputs inputs"]
    spread: Float[Tensor, "outputs inputs"]


@dataclass(frozen=True, repr=False)
class Attribution:
    """What `attribute` gives back; prints as a table of the inputs, the most important first.

    Attributes:
        edges: Scores of the edges of each layer, (outputs, inputs); the outputs of a layer are the factors of its nodes.
        nodes: Scores of the nodes that each layer feeds; the last are those of the outputs, one divided by their number.
        inputs: Scores of the inputs.
        moments: Mean and spread of the edges of each layer, in the units of the sums they belong to.
        names: Names of the inputs.
        rows: Number of samples they come from.
    """

    edges: tuple[Float[Tensor, "_ _"], ...]
    nodes: tuple[Float[Tensor, " _"], ...]
    inputs: Float[Tensor, " inputs"]
    moments: tuple[Moments, ...]
    names: tuple[str, ...]
    rows: int

    def __repr__(self) -> str:
        order = self.inputs.detach().argsort(descending=True, stable=True).tolist()
        width = max(len("input"), *(len(self.names[i]) for i in order[:SHOWN]))
        best = max(float(self.inputs.detach().max()), torch.finfo(torch.float64).tiny)
        lines = [f"attribution from {self.rows} rows", f"{'input':<{width}}  score"]
        for i in order[:SHOWN]:
            score = float(self.inputs[i])
            lines.append(f"{self.names[i]:<{width}}  {score:5.3f}  {'#' * round(30 * score / best)}".rstrip())
        if len(order) > SHOWN:
            lines.append(f"and {len(order) - SHOWN} more")
        return "\n".join(lines)


@torch.no_grad()
def attribute(model: KAN, X: Any, *, names: Sequence[str] | None = None) -> Attribution:
    r"""How much of the spread of the outputs comes from every input, node and edge.

    Scores go from the outputs to the inputs as in KAN 2.0 (Liu et al. 2024, arXiv 2408.10205, section on attribution):
    the K outputs have the score 1/K; the edge from i to o has $B_{oi} = A_o\, E_{oi} / S_o$, with the spread $E_{oi}$ of
    the edge function, the spread $S_o$ of the node and the node's score $A_o$; a node has the sum of the scores of the
    edges that leave it. A spread is the root mean square about the mean. Spreads of terms do not add up to the spread
    of their sum, so scores need not add up to one. A node without spread hands nothing on. The score of a product goes
    in full to each of its factors, of which each has its own spread $S_o$: without any one there is no product.

    Args:
        model: The network.
        X: Rows of inputs in the units of the model: a tensor, array, data frame or lists.
        names: Names of the inputs; those of the columns of a data frame, or x1, x2 and so on, if None.

    Raises:
        TypeError: If the model is not a `KAN`, or `X` does not hold numbers.
        ValueError: If the shape is wrong, a value is NaN or infinite, or there is not one name for each input.

    Example:
        >>> import torch
        >>> from superpose import KAN, attribute, fit
        >>> x = torch.rand(200, 3, generator=torch.Generator().manual_seed(0))
        >>> result = fit(KAN((3, 1), generator=torch.Generator().manual_seed(0)), x, x[:, :1].exp() - x[:, 1:2] / 2)
        >>> attribute(result.model, x, names=["a", "b", "c"])
        attribution from 200 rows
        input  score
        a      0.9...  ##############################
        b      0.2...  #########
        c      0.000
    """
    rows = table(X, "X", _checked(model).widths[0])
    return attribution(model, rows, names=input_names(X, names, rows.shape[1]))


def attribution(
    model: KAN, x: Float[Tensor, "samples inputs"], *, names: Sequence[str] = (), detach: bool = False
) -> Attribution:
    """As `attribute`, with gradients for the parameters of the model, in float64.

    Args:
        model: The network.
        x: Finite rows in the units of the model's inputs.
        names: Names of the inputs.
        detach: Whether the values of the nodes count as given, so that a score knows the parameters of its own edge and
            of those behind it, but not that the data of a hidden layer depend on the layers before.
    """
    found = scored(model, model.input_scaling(x.to(model.input_scaling.scale)), detach=detach)
    return Attribution(*found, names=tuple(names), rows=len(x))


class Scores(NamedTuple):
    """What `scored` gives back, in the terms of `Attribution`."""

    edges: tuple[Float[Tensor, "_ _"], ...]
    nodes: tuple[Float[Tensor, " _"], ...]
    inputs: Float[Tensor, " inputs"]
    moments: tuple[Moments, ...]


def scored(model: KAN, values: Float[Tensor, "samples inputs"], *, detach: bool = False) -> Scores:
    """The scores of `attribution` for inputs in the units that the layers work in."""
    moments: list[Moments] = []
    spreads: list[Tensor] = []
    for layer, products in zip(model.layers, model.products, strict=True):
        moments.append(edge_moments(layer, values, detach=detach))
        sums = layer(values)
        sums = sums.detach() if detach else sums
        spreads.append(_spread(sums.double().var(0, correction=0)))
        values = products(sums)
    outputs = model.widths[-1]
    score = spreads[-1].new_full((outputs,), 1 / outputs)
    edges: list[Tensor] = []
    nodes: list[Tensor] = []
    for moment, spread, products in reversed(list(zip(moments, spreads, model.products, strict=True))):
        nodes.insert(0, score)
        some = spread > 0
        share = torch.where(some, products.by_factor(score) / torch.where(some, spread, 1), 0)
        edges.insert(0, moment.spread * share.unsqueeze(1))
        score = edges[0].sum(0)
    return Scores(tuple(edges), tuple(nodes), score, tuple(moments))


def edge_moments(layer: KANLinear, x: Float[Tensor, "samples inputs"], *, detach: bool = False) -> Moments:
    """Mean and spread of every edge function of a layer at its inputs `x`, in float64 and with gradients.

    Args:
        layer: The layer.
        x: Values of its inputs, in the layer's dtype.
        detach: Whether `x` counts as given; gradients then reach the parameters of this layer alone.

    A spread is the root of a difference: one below some 1e-8 of the edge's coefficients is rounding.
    """
    parameters = layer.matrix().double().view(layer.out_features, layer.in_features, -1)
    local = isinstance(layer.basis, BSpline) and layer.basis.num >= MANY
    measured = _of_splines if local else _of_features
    with torch.set_grad_enabled(torch.is_grad_enabled() and not detach):
        statistics = measured(layer, x)
    mean, variance = statistics.applied(parameters)
    return Moments(mean, _spread(variance))


@dataclass(frozen=True)
class _Dense:
    """Mean and covariance of the features of every input."""

    mean: Float[Tensor, "inputs features"]
    covariance: Float[Tensor, "inputs features features"]
    unity: bool

    def applied(self, parameters: Float[Tensor, "outputs inputs features"]) -> tuple[Tensor, Tensor]:
        """Mean and variance of the edges."""
        mean = parameters * self.mean
        by_input = _less(parameters, mean[..., 1:].sum(-1), self.unity).transpose(0, 1)
        return mean.sum(-1), (by_input @ self.covariance * by_input).sum(-1).T


def _of_features(layer: KANLinear, x: Float[Tensor, "samples inputs"]) -> _Dense:
    """The statistics of any basis, taken about the mean of the first rows so that large means do not cancel."""
    size = 1 + layer.basis.num
    about, total = x.new_zeros(x.shape[1], size, dtype=torch.float64), None
    for part in x.split(max(1, CHUNK // (x.shape[1] * size))):
        features = layer.features(part).double().view(len(part), x.shape[1], size).transpose(0, 1)
        if total is None:
            about = features.detach().mean(1, keepdim=True)
            total, squares = torch.zeros_like(about), about.mT * torch.zeros_like(about)
        features = features - about
        total, squares = total + features.sum(1, keepdim=True), squares + features.mT @ features
    assert total is not None
    beside = total / len(x)
    unity = _adds_to_one(layer, x)
    return _Dense((about + beside).squeeze(1), squares / len(x) - beside.mT * beside, unity)


@dataclass(frozen=True)
class _Banded:
    """Means and products of the base (about its mean) and the B-splines, of which only neighbours live together."""

    base: Float[Tensor, " inputs"]
    base_square: Float[Tensor, " inputs"]
    mean: Float[Tensor, "inputs num"]
    cross: Float[Tensor, "inputs num"]
    band: Float[Tensor, "inputs num local"]
    unity: bool

    def applied(self, parameters: Float[Tensor, "outputs inputs features"]) -> tuple[Tensor, Tensor]:
        """Mean and variance of the edges."""
        mean = (parameters[..., 1:] * self.mean).sum(-1)
        parameters = _less(parameters, mean, self.unity)
        weight, coef = parameters[..., 0], parameters[..., 1:]
        square = weight.square() * self.base_square + 2 * weight * (coef * self.cross).sum(-1)
        for apart in range(self.band.shape[-1]):
            left, right = coef[..., : coef.shape[-1] - apart], coef[..., apart:]
            products = (left * right * self.band[:, : left.shape[-1], apart]).sum(-1)
            square = square + (products if apart == 0 else 2 * products)
        return weight * self.base + mean, square - (coef * self.mean).sum(-1).square()


def _of_splines(layer: KANLinear, x: Float[Tensor, "samples inputs"]) -> _Banded:
    """The statistics of B-splines from the `degree + 1` that live at each sample."""
    basis = layer.basis
    assert isinstance(basis, BSpline)
    inputs, num, local = x.shape[1], basis.num, basis.degree + 1
    base = layer.base(x).double().mean(0)
    row, column = torch.triu_indices(local, local, device=x.device)
    origin = num * torch.arange(inputs, device=x.device)
    base_square = base.new_zeros(inputs)
    mean, cross, band = (base.new_zeros(size) for size in (inputs * num, inputs * num, inputs * num * local))
    inner = basis.breakpoints[:, 1:-1].contiguous()
    for part in x.split(max(1, CHUNK // (inputs * max(num, local**2)))):
        first = torch.searchsorted(inner, part.detach().T.contiguous(), right=True).T.unsqueeze(-1)
        live = first + torch.arange(local, device=x.device)
        values = basis(part).gather(-1, live).double()
        place = live + origin.unsqueeze(-1)
        above = layer.base(part).double() - base
        base_square = base_square + above.square().sum(0)
        mean = mean.index_add(0, place.flatten(), values.flatten())
        cross = cross.index_add(0, place.flatten(), (values * above.unsqueeze(-1)).flatten())
        pairs = values[..., row] * values[..., column]
        band = band.index_add(0, (place[..., row] * local + (column - row)).flatten(), pairs.flatten())
    return _Banded(
        base, base_square / len(x), mean.view(inputs, num) / len(x), cross.view(inputs, num) / len(x),
        band.view(inputs, num, local) / len(x), _adds_to_one(layer, x),
    )  # fmt: skip


def _adds_to_one(layer: KANLinear, x: Float[Tensor, "samples inputs"]) -> bool:
    """Whether the functions of the basis add up to one wherever the data are."""
    low, high = layer.basis.domain.unbind(-1)
    beyond = layer.basis.extrapolation == "zero" and not bool(((x >= low) & (x <= high)).all())
    return isinstance(layer.basis, BSpline | Bernstein) and not beyond


def _less(parameters: Float[Tensor, "outputs inputs features"], constant: Tensor, unity: bool) -> Tensor:
    """The edges without a constant that all coefficients share, which would otherwise cancel only to rounding."""
    if not unity:
        return parameters
    return torch.cat([parameters[..., :1], parameters[..., 1:] - constant.unsqueeze(-1)], -1)


def _spread(variance: Tensor) -> Tensor:
    """The root, with gradient zero where there is no spread."""
    some = variance > 0
    return torch.where(some, torch.where(some, variance, 1).sqrt(), 0)


def table(values: Any, name: str, width: int | None) -> Tensor:
    """Finite numbers as a float64 matrix with one row per sample, or a clear error."""
    try:
        rows = (values if isinstance(values, Tensor) else torch.as_tensor(np.array(values))).detach()
    except (TypeError, ValueError) as problem:
        raise TypeError(
            f"{name} must be numbers in rows and columns, got {type(values).__name__}: {problem}."
        ) from None
    if rows.is_complex():
        raise TypeError(f"{name} must hold real numbers, got complex ones.")
    rows = rows.unsqueeze(1) if rows.ndim == 1 and width == 1 else rows
    if rows.ndim != 2 or len(rows) == 0 or (width is not None and rows.shape[1] != width):
        wanted = "columns" if width is None else width
        raise ValueError(f"{name} must have shape (samples, {wanted}) with samples, got {tuple(rows.shape)}.")
    bad = int((~torch.isfinite(rows)).any(1).sum())
    if bad:
        raise ValueError(f"{name} holds NaN or infinity in {bad} of {len(rows)} rows; drop or fill them first.")
    return rows.double()


def input_names(values: Any, names: Sequence[str] | None, width: int) -> list[str]:
    """The names given, or those of the columns of a data frame, or x1, x2 and so on."""
    columns = getattr(values, "columns", None) if names is None else names
    names = [f"x{n + 1}" for n in range(width)] if columns is None else [str(name) for name in columns]
    if len(names) != width:
        raise ValueError(f"the model has {width} inputs, but there are {len(names)} names.")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"{names.count(twice)} inputs are called {twice!r}; give names= that differ.")
    return names


def _checked(model: KAN) -> KAN:
    if not isinstance(model, KAN):
        raise TypeError(f"only a KAN has edge functions, got {type(model).__name__}.")
    return model
