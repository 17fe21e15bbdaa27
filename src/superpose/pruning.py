"""Takes the inputs, nodes and edges away that held-out rows do not miss.

Scores only say what to try first. What goes is decided by the error of the network that is left, after its nodes have
got their means back: the constant that an edge leaves behind goes to another edge of its node, and that of an output to
the change of units there. A node that loses its last edge is a constant, which the nodes behind it take over. So is
a factor of a product, but its mean goes to another factor of the node, which then has one factor less.
"""

import copy
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from numbers import Real
from operator import itemgetter
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from superpose.bases import Basis, Bernstein, BSpline
from superpose.layers import KANLinear, Products
from superpose.models import KAN
from superpose.models.part import Filled, shrunk
from superpose.scores import attribution, input_names, table

PATIENCE = 8
"""Candidates in a row that cannot go after which those with higher scores are not tried."""
ROUNDS = 4
"""Rounds over all nodes and edges, each with the scores of what is left."""

Masks = list[Bool[Tensor, "_ _"]]
"""Which edges of every layer there are."""

Cut = tuple[int, int | slice, int | slice]
"""Edges to take away: the layer, their output, their input; all of them where there is a slice."""


@dataclass(frozen=True, repr=False)
class Pruned:
    """What `prune` gives back; prints as a report.

    Attributes:
        model: The network that is left.
        inputs: Inputs that have lost their last edge, here or in a sparse fit. The model still takes their columns, and any finite numbers in
            them will do.
        nodes: Hidden nodes that are gone, as pairs of the layer that fed them and their number there, both from 0.
        edges: Edges that are gone, with those of these nodes: layer, output and input of each. The outputs of a layer
            are the factors of its nodes.
        edges_before: Number of edges there were.
        before: Error of the given model: mean square as a share of the targets' variance, or the mean of `error`.
        after: Error of the model that is left.
        uncertainty: Standard error of the difference of the two.
        rows: Number of rows that the errors are from.
        names: Names of the inputs.
        given: What the given model was.
    """

    model: KAN
    inputs: tuple[int, ...]
    nodes: tuple[tuple[int, int], ...]
    edges: tuple[tuple[int, int, int], ...]
    edges_before: int
    before: float
    after: float
    uncertainty: float
    rows: int
    names: tuple[str, ...]
    given: tuple[int, ...]

    def __repr__(self) -> str:
        old, new = ("-".join(map(str, widths)) for widths in (self.given, self.model.widths))
        lines = [
            f"pruned from {old} with {self.edges_before} edges to {new} with {self.edges_before - len(self.edges)}",
            f"error {self.before:.3e} before, {self.after:.3e} after, on {self.rows} rows "
            f"(a change of {self.after - self.before:.1e} +- {self.uncertainty:.1e})",
        ]
        if self.inputs:
            lines.append(f"inputs that no longer matter: {', '.join(self.names[i] for i in self.inputs)}")
        return "\n".join(lines)


@torch.no_grad()
def prune(
    model: KAN,
    X: Any,
    y: Any,
    *,
    tolerance: float = 1e-3,
    validation: tuple[Any, Any] | None = None,
    error: Callable[[Tensor, Tensor], Tensor] | None = None,
    names: Sequence[str] | None = None,
) -> Pruned:
    """Take inputs, hidden nodes and edges away for as long as the error hardly grows; `model` stays as it is.

    Candidates go in groups that grow while all goes well, the least important first, and shrink where the error says no.
    What is left is not fitted again but for the means of its nodes: `superpose.fit` does that, and pruned edges stay
    away, as they do in files, on other grids and in training loops of your own.

    Args:
        model: The network.
        X: Rows of inputs in the units of the model, best those that it was not fitted to: on rows that it was fitted to,
            what it knows by heart counts as needed.
        y: Their targets.
        tolerance: How much the error may grow, as a share of the variance of the targets: by so much R2 may fall. It
            counts from the lowest error on the way, so that what is gained by pruning is not spent on more of it.
        validation: `(X, y)` that the error is taken from; the rows above then give scores and means alone. Whatever the
            rows, they have chosen the network, so the error of fresh ones may be a little higher.
        error: Gives the error of each row from outputs and targets, such as a cross entropy; `tolerance` has its unit.
            The squared error of standardised outputs if None.
        names: Names of the inputs for the report; those of a data frame's columns, or x1, x2 and so on, if None.

    Raises:
        TypeError: If the model is not a `KAN`, or the data are not numbers.
        ValueError: If shapes do not match, a value is NaN or infinite, or the tolerance is negative.

    Example:
        >>> import torch
        >>> from superpose import KAN, fit, prune
        >>> x = torch.rand(300, 3, generator=torch.Generator().manual_seed(0))
        >>> y = x[:, 0].exp() - x[:, 1]
        >>> model = fit(KAN((3, 1), generator=torch.Generator().manual_seed(0)), x[:200], y[:200]).model
        >>> pruned = prune(model, x[200:], y[200:])
        >>> pruned.inputs, pruned.edges
        ((2,), ((0, 0, 2),))
    """
    if not isinstance(model, KAN):
        raise TypeError(f"only a KAN has edges to prune, got {type(model).__name__}.")
    if isinstance(tolerance, bool) or not isinstance(tolerance, Real) or not 0 <= tolerance < math.inf:
        raise ValueError(f"tolerance is {tolerance!r}; it must be a number of at least 0.")
    known = input_names(X, names, model.widths[0])
    x, targets = _rows(model, X, y, error)
    judged = (x, targets) if validation is None else _rows(model, *validation, error)
    judge = _Judge.of(*judged, error)
    old = judge(model)
    if not bool(torch.isfinite(old).all()):
        raise ValueError("the model's error is not finite on these rows; look into its outputs.")
    search = _Search.of(model, x, judge, float(tolerance))
    before, after = _edges(model), search.pruned()
    pruned = shrunk(model, *search.left(after))
    new = judge(pruned)
    gone = tuple((n, *edge) for n, (a, b) in enumerate(zip(before, after, strict=True)) for edge in _where(a & ~b))
    return Pruned(
        pruned,
        inputs=tuple(torch.where(_with_edges(model.layers[0]) & ~after[0].any(0))[0].tolist()),
        nodes=tuple(
            (n, node)
            for n, (mask, products) in enumerate(zip(after[:-1], model.products, strict=False))
            for node in torch.where(~products.any(mask.any(1)))[0].tolist()
        ),
        edges=gone,
        edges_before=sum(int(mask.sum()) for mask in before),
        before=float(old.mean()),
        after=float(new.mean()),
        uncertainty=float((new - old).std(correction=0)) / math.sqrt(len(new)),
        rows=len(new),
        names=tuple(known),
        given=model.widths,
    )


@dataclass(frozen=True)
class _Judge:
    """Gives the error of each row."""

    x: Float[Tensor, "rows inputs"]
    y: Tensor
    error: Callable[[Tensor, Tensor], Tensor]

    @classmethod
    def of(cls, x: Tensor, y: Tensor, error: Callable[[Tensor, Tensor], Tensor] | None) -> "_Judge":
        if error is not None:
            return cls(x, y, error)
        variance = y.var(0, correction=0)
        variance = torch.where(variance > 0, variance, 1)
        return cls(x, y, lambda outputs, targets: ((outputs - targets).square() / variance).mean(1))

    def __call__(self, model: KAN) -> Float[Tensor, " rows"]:
        errors = self.error(model(self.x.to(model.input_scaling.scale)).double(), self.y)
        if errors.shape != (len(self.x),):
            raise ValueError(f"error must give a value for each of {len(self.x)} rows, got {tuple(errors.shape)}.")
        return errors.double()


@dataclass
class _Search:
    """Tries what can go, in float64; `best` is the lowest error on the way, so that what pruning gains is not spent."""

    model: KAN
    x: Float[Tensor, "rows inputs"]
    means: list[Float[Tensor, " _"]]
    outputs: Float[Tensor, " outputs"]
    units: list[Float[Tensor, "_ _"]]
    judge: _Judge
    tolerance: float
    best: float

    @classmethod
    def of(cls, model: KAN, x: Tensor, judge: _Judge, tolerance: float) -> "_Search":
        model = copy.deepcopy(model).double()
        values, means = model.input_scaling(x), []
        for layer, products in zip(model.layers, model.products, strict=True):
            sums = layer(values)
            means.append(sums.mean(0))
            values = products(sums)
        return cls(
            model,
            x,
            means,
            values.mean(0),
            [_unit(layer.basis) for layer in model.layers],
            judge,
            tolerance,
            float(judge(model).mean()),
        )

    def pruned(self) -> Masks:
        """The edges that are needed."""
        masks = _consistent(_edges(self.model), self.model.products)
        for _ in range(ROUNDS):
            start = masks
            for kind in (_nodes, _single_edges):
                masks = self._sweep(masks, kind(self.left(masks)[0], self.x, masks))
            if all(torch.equal(a, b) for a, b in zip(start, masks, strict=True)):
                break
        return masks

    def _sweep(self, masks: Masks, candidates: list[Cut]) -> Masks:
        """Take candidates away, in order and in groups, and leave those that are needed."""
        place, size, refused = 0, 1, 0
        while place < len(candidates) and refused < PATIENCE:
            group = candidates[place : place + size]
            trial = _consistent(_cut(masks, group), self.model.products)
            if self._affordable(trial):
                masks, place, size, refused = trial, place + len(group), 2 * size, 0
            elif len(group) > 1:
                size = len(group) // 2
            else:
                place, size, refused = place + 1, 1, refused + 1
        return masks

    def _affordable(self, masks: Masks) -> bool:
        error = float(self.judge(self.left(masks)[0]).mean())
        self.best = min(self.best, error)
        return error <= self.best + self.tolerance

    def left(self, masks: Masks) -> tuple[KAN, Masks]:
        """The network with these edges alone, all its sums with the means they had, and so the outputs."""
        model, same = copy.deepcopy(self.model), True
        values = model.input_scaling(self.x)
        for n, (layer, mask, old) in enumerate(zip(model.layers, masks, _edges(model), strict=True)):
            same, products = same and torch.equal(mask, old), model.products[n]
            if not same:
                layer.keep_(mask)
            sums = layer(values)
            if not same and (n < len(masks) - 1 or not products.plain):
                sums = sums + _add_constants_(layer, mask, self.means[n] - sums.mean(0), self.units[n], values)
                model.products[n] = products = Filled.of(products, mask, self.means[n])
            values = products(sums)
        if not same:
            model.output_scaling.shift += model.output_scaling.scale * (self.outputs - values.mean(0))
        return model, masks


def _add_constants_(
    layer: KANLinear,
    mask: Bool[Tensor, "outputs inputs"],
    lacking: Float[Tensor, " outputs"],
    unit: Float[Tensor, "inputs num"],
    x: Float[Tensor, "rows inputs"],
) -> Float[Tensor, "rows outputs"]:
    """Add a constant to every node that has an edge, on the edge whose basis writes it best; gives what was added."""
    values = (layer.basis(x) * unit).sum(-1)
    mean, spread = values.mean(0), values.std(0, correction=0)
    poor = torch.where(mean > 0.1, torch.where(spread > 1e-9, spread, 0), math.inf).expand(mask.shape)
    poor, carrier = torch.where(mask, poor, math.inf).min(1)
    amount = torch.where(poor < math.inf, lacking / mean[carrier], 0)
    layer.coef[carrier, :, torch.arange(len(carrier), device=x.device)] += amount.unsqueeze(1) * unit[carrier]
    return values[:, carrier] * amount


def _unit(basis: Basis) -> Float[Tensor, "inputs num"]:
    """Coefficients of the constant one on the domain, or of what is nearest to it."""
    low, high = basis.domain.unbind(-1)
    if isinstance(basis, BSpline | Bernstein):
        return low.new_ones(len(low), basis.num)
    points = low + (high - low) * torch.linspace(0, 1, 8 * basis.num, dtype=low.dtype, device=low.device).unsqueeze(1)
    return torch.linalg.pinv(basis.inside(points).transpose(0, 1)).sum(-1)


def _nodes(model: KAN, x: Tensor, masks: Masks) -> list[Cut]:
    """Inputs, hidden nodes and factors of products that still have edges, the least important first."""
    found, every = attribution(model, x, detach=True), slice(None)
    ranked: list[tuple[float, Cut]] = [
        (float(score), (n, every, i))
        for n, scores in enumerate([found.inputs, *found.nodes[:-1]])
        for i, score in enumerate(scores)
        if bool(masks[n][:, i].any())
    ]
    for n, (products, scores) in enumerate(zip(model.products, found.nodes, strict=True)):
        factors = [] if products.plain else [(o, node) for o, node in enumerate(products.nodes) if masks[n][o].any()]
        ranked += [(float(scores[node]), (n, o, every)) for o, node in factors]
    return [cut for _, cut in sorted(ranked, key=itemgetter(0))]


def _single_edges(model: KAN, x: Tensor, masks: Masks) -> list[Cut]:
    """Edges, the least important first."""
    scores = attribution(model, x, detach=True).edges
    return [
        edge
        for _, edge in sorted((float(scores[n][o, i]), (n, o, i)) for n, m in enumerate(masks) for o, i in _where(m))
    ]


def _cut(masks: Masks, cuts: Sequence[Cut]) -> Masks:
    masks = [mask.clone() for mask in masks]
    for layer, output, i in cuts:
        masks[layer][output, i] = False
    return masks


def _consistent(masks: Masks, products: Iterable[Products]) -> Masks:
    """Without the edges of hidden nodes that nothing enters or nothing leaves."""
    masks, products = [mask.clone() for mask in masks], list(products)
    for order in (range(len(masks) - 1), reversed(range(len(masks) - 1))):
        for n in order:
            alive = products[n].any(masks[n].any(1)) & masks[n + 1].any(0)
            masks[n] &= products[n].by_factor(alive).unsqueeze(1)
            masks[n + 1] &= alive
    return masks


def _edges(model: KAN) -> Masks:
    """The edges of a model: those it was left with, and of them those that are not zero everywhere."""
    return [layer.matrix().view(*layer.weight.shape, -1).ne(0).any(-1) for layer in model.layers]


def _with_edges(layer: KANLinear) -> Bool[Tensor, " inputs"]:
    """Inputs that no earlier pruning has taken; their edges may be zero."""
    return layer.weight.new_ones(layer.in_features, dtype=torch.bool) if layer.mask is None else layer.mask.any(0)


def _where(mask: Tensor) -> list[tuple[int, int]]:
    return [(o, i) for o, i in mask.nonzero().tolist()]


def _rows(model: KAN, X: Any, y: Any, error: Callable[[Tensor, Tensor], Tensor] | None) -> tuple[Tensor, Tensor]:
    """A checked table on the device of the model; targets stay as they are where a function of the user reads them."""
    device = model.input_scaling.scale.device
    x = table(X, "X", model.widths[0])
    if error is None:
        targets = table(y, "y", model.widths[-1])
    else:
        targets = y if isinstance(y, Tensor) else torch.as_tensor(np.array(y))
        if targets.ndim == 1 and model.widths[-1] == 1:  # as `fit` has them
            targets = targets.unsqueeze(1)
    if len(x) != len(targets):
        raise ValueError(f"X has {len(x)} rows but y has {len(targets)}.")
    return x.to(device), targets.to(device)
