"""Networks for what no known kind of formula explains: fitted from several shapes and starts, then read as symbols."""

import time
import warnings
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from joblib import Parallel, cpu_count, delayed

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
STARTS = 16
SPARSITY = 0.01
"""Penalty that leaves few edges; see `superpose.fit`."""
LEAST = 3.0
"""Seconds without which no network is begun."""
MOST = 8.0
"""Seconds that a network may take to be fitted, and then to be read."""


def network_formulas(
    view: View, deadline: float, *, functions: tuple[Function, ...], jobs: int, seed: int
) -> Iterator[list[Expression]]:
    """Formulas read from networks of the view's target, as they come, until the time is up.

    With several processes the networks are fitted side by side, one thread each.
    """
    part = view.rows(np.random.default_rng(seed).permutation(len(view.t))[:ROWS])
    processes = min(cpu_count(), jobs if jobs > 0 else cpu_count() + 1 + jobs)
    tasks = (
        delayed(read_network)(part.X, part.t, widths, functions, seed + number, min(MOST, 0.4 * left))
        for number, widths in enumerate(shapes(view.inputs) * 2)
        if (left := deadline - time.perf_counter()) > LEAST
    )
    parallel = Parallel(n_jobs=max(1, processes), return_as="generator_unordered", pre_dispatch="n_jobs")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # whoever has found the formula leaves, and the rest is cancelled
        for roots in parallel(tasks):
            yield [view.whole(substituted(root, view.roots)) for root in roots]


def shapes(inputs: int) -> list[Widths]:
    """Shapes of networks, from narrow to wide and deep; rows in brackets hold products of so many sums."""
    hidden: Sequence[Widths] = ((1,), (2,), ((1, 2),), (3,), ((2,),), (2, 1), ((2, 2),), (3, 1), (inputs + 1, 2))
    return [(inputs, *layers, 1) for layers in hidden]


def read_network(
    X: Array, t: Array, widths: Widths, functions: tuple[Function, ...], seed: int, seconds: float
) -> list[Expression]:
    """Fit one network, prune it, and read it as formulas."""
    x, y = torch.from_numpy(X), torch.from_numpy(t).unsqueeze(1)
    held = len(x) // 5
    generator = torch.Generator().manual_seed(seed)
    model = KAN(widths, BSpline(INTERVALS), generator=generator).double()
    fitted = fit(model, x[held:], y[held:], seed=seed, max_time=seconds, sparsity=SPARSITY, starts=STARTS)
    _go_on(fitted.stopped)
    assert isinstance(fitted.model, KAN)
    pruned = prune(fitted.model, x[:held], y[:held]).model
    front = formula(pruned, x[held:], y[held:], validation=(x[:held], y[:held]), functions=functions, max_time=seconds)
    _go_on(front.stopped)
    return [found.root for found in front]


def _go_on(stopped: str) -> None:
    """Fits and fronts keep what they have when they are interrupted; the search that asked for them ends."""
    if stopped == "interrupted":
        raise KeyboardInterrupt
