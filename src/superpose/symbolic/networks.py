"""Networks for what no known kind of formula explains: fitted from several shapes and starts, then read as symbols."""

import time
from collections.abc import Iterator, Sequence
from itertools import cycle

import numpy as np
import torch

from superpose.bases import BSpline
from superpose.fitting import fit
from superpose.models import KAN
from superpose.pruning import prune
from superpose.symbolic.expression import Expression, substituted
from superpose.symbolic.extraction import formula
from superpose.symbolic.functions import Function
from superpose.symbolic.view import View

Array = np.ndarray
Widths = tuple[int | tuple[int, ...], ...]

ROWS = 1500
"""Rows a network is fitted to."""
INTERVALS = 8
SHARE = 0.35
"""Share of the time left that one network may take to be fitted, and then to be read."""
LEAST = 3.0
"""Seconds without which no network is begun."""


def network_formulas(
    view: View, deadline: float, *, functions: tuple[Function, ...], jobs: int, seed: int
) -> Iterator[Expression]:
    """Formulas read from networks of the view's target, as they come, until the time is up."""
    rows = np.random.default_rng(seed).permutation(len(view.t))[:ROWS]
    part = view.rows(rows)
    for number, widths in enumerate(cycle(shapes(view.inputs))):
        left = deadline - time.perf_counter()
        if left < LEAST or number >= 3 * len(shapes(view.inputs)):
            return
        for root in _read(part.X, part.t, widths, functions, seed + number, SHARE * left):
            yield view.whole(substituted(root, view.roots))


def shapes(inputs: int) -> list[Widths]:
    """Shapes of networks, from narrow to wide and deep; entries in brackets hold products."""
    hidden: Sequence[Widths] = (
        (1,), (2,), ((2,),), ((1, 2),), (3,), (2, 1), ((2, 2),), (3, 1), (inputs + 1, 2),
    )  # fmt: skip
    return [(inputs, *layers, 1) for layers in hidden]


def _read(
    X: Array, t: Array, widths: Widths, functions: tuple[Function, ...], seed: int, seconds: float
) -> list[Expression]:
    """Fit one network and read it."""
    x, y = torch.from_numpy(X), torch.from_numpy(t).unsqueeze(1)
    held = len(x) // 5
    generator = torch.Generator().manual_seed(seed)
    model = KAN(widths, BSpline(INTERVALS), generator=generator).double()
    result = fit(model, x[held:], y[held:], seed=seed, max_time=seconds)
    if result.stopped == "interrupted":  # Ctrl-C means the whole search
        raise KeyboardInterrupt
    fitted = result.model
    assert isinstance(fitted, KAN)
    pruned = prune(fitted, x[:held], y[:held]).model
    front = formula(pruned, x[held:], y[held:], validation=(x[:held], y[:held]), functions=functions, max_time=seconds)
    if front.stopped == "interrupted":
        raise KeyboardInterrupt
    return [found.root for found in front]
