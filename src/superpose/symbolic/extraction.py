"""From a network to a formula."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

import numpy as np
import torch

from superpose.models import KAN
from superpose.scores import input_names, table
from superpose.symbolic.expression import Constant, Expression
from superpose.symbolic.front import FLOOR, Front
from superpose.symbolic.functions import Array, Function, chosen
from superpose.symbolic.network import edges, network_expression, tabulated
from superpose.symbolic.reduction import improved, reduced
from superpose.symbolic.refit import mean_square, refit
from superpose.symbolic.replacement import FEW, Choice, Clock, Rows, State, at_once, choices, drawn, fitted, race
from superpose.symbolic.snap import snapped
from superpose.symbolic.tidy import tidied

HELD_OUT = 0.2
"""Share of the rows that judges where nobody says which rows should."""
MOST = 10_000
"""Rows that the last fit of constants takes."""
LEAST = 10
"""Rows without which there is nothing to judge."""
SHARES = (0.2, 0.1, 0.03, 1e-2, 1e-3, 0.0)
"""Errors, as shares of the targets' spread, that a symbol may make at first; no less than the network's own."""
REDUCED = 2
"""Formulas of the race that are made simpler step by step."""
WELL = 200
"""Evaluations for a formula that has won the race."""
LARGE = 25
"""Nodes of a formula from which its functions go or stay, but are not exchanged."""
PER_SIZE = 2
"""Formulas of one size that get a last fit."""


def formula(  # noqa: PLR0913 - one verb for users, who name what they change
    model: KAN,
    X: Any,
    y: Any,
    *,
    validation: float | Sequence[Any] | None = None,
    functions: Sequence[str | Function] | None = None,
    names: Sequence[str] | None = None,
    output: int | None = None,
    max_time: float | None = None,
    seed: int = 0,
) -> Front:
    """Read a fitted network as formulas: the simplest for every accuracy, with their errors on held-out rows.

    Symbols take the places of the edges one after the other. Each time several are tried, all constants are fitted to
    the data together, and the error of the whole formula on held-out rows decides. Then terms, factors and functions
    go for as long as there are any, which gives the simpler formulas of the front. Prune the network first: the fewer
    its edges, the shorter the formula.

    Args:
        model: A fitted `KAN`.
        X: Rows of inputs in the units of the model.
        y: Their targets, which the constants are fitted to.
        validation: Rows that judge and are never fitted to: a share of the rows, or `(X, y)`; a fifth if None. Give
            rows that the network was not fitted to either, or its own error looks better than it is.
        functions: Names of functions or `superpose.symbolic.Function` objects that may be used; the standard ones if
            None.
        names: Names of the inputs; those of the columns of a data frame, or x1, x2 and so on, if None.
        output: Number of the output, of a network with several.
        max_time: Seconds after which the best so far is returned; the step under way is finished first.
        seed: Of the split of the rows.

    Returns:
        The front; `front.best` is the formula to take. Ctrl-C ends the search too, with what there is.

    Raises:
        TypeError: If the model is not a `KAN`, or the data are not numbers.
        ValueError: If shapes do not match, a value is NaN or infinite, or an option cannot be.

    Example:
        >>> import torch
        >>> from superpose import KAN, fit, formula
        >>> x = torch.rand(300, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        >>> y = torch.exp(x[:, :1]) + 2 * x[:, 1:] ** 2
        >>> result = fit(KAN((2, 1), generator=torch.Generator().manual_seed(0)).double(), x, y, starts=1)
        >>> front = formula(result.model, x, y, functions=["exp", "x^2", "sin"], names=["a", "b"])
        >>> bool(front.best.held_out < 1e-20)
        True
    """
    library = chosen(functions)
    output = _checked(model, output, max_time)
    known = tuple(input_names(X, names, model.widths[0]))
    rows = _rows(model, X, y, output, validation, seed)
    root = network_expression(model, output)
    search = _Search(root, rows, library, Clock(max_time), seed)
    stopped = "finished"
    try:
        search.run()
    except KeyboardInterrupt:
        stopped = "interrupted"
    stopped = "time" if search.clock.over and stopped == "finished" else stopped
    loss = mean_square(root, rows.X_held, rows.y_held)
    return Front.of(
        [Constant(float(rows.y.mean())), *search.made, *(state.root for state in search.found if not search.made)],
        rows.X, rows.y, rows.X_held, rows.y_held, known,
        network_loss=loss, symbols=search.symbols, stopped=stopped, seconds=search.clock.seconds,
    )  # fmt: skip


@dataclass
class _Search:
    """What a search has found so far: formulas with a quick fit in `found`, with a last one in `made`."""

    root: Expression
    rows: Rows
    functions: Sequence[Function]
    clock: Clock
    seed: int
    found: list[State] = field(default_factory=list)
    made: list[Expression] = field(default_factory=list)
    symbols: dict[tuple[int, int, int], str] = field(default_factory=dict)

    def run(self) -> None:
        """Replace, exchange and reduce, and fit what is left once more."""
        few, variance = self.rows.few(FEW, self.seed), float(np.var(self.rows.y_held)) or 1.0
        exact = FLOOR * variance
        complete = self._complete(few, exact) if edges(self.root) else []
        solved = any(state.held_out <= exact for state in complete)
        for state in complete[: 1 if solved else REDUCED]:
            if not solved:
                state = improved(state, few, self.functions, exact, self.clock)
                self.found.append(state)
            # Once the exact formula is there, simpler functions in its place are not worth the time.
            others = () if solved or state.size > LARGE else self.functions
            self.found.extend(reduced(state, few, others, exact, self.clock))
        self._finish()

    def _complete(self, few: Rows, exact: float) -> list[State]:
        """Networks whose edges are all symbols, the best first."""
        root = tabulated(self.root, np.concatenate([few.X, few.X_held]))
        loss, variance = mean_square(root, few.X_held, few.y_held), float(np.var(few.y_held)) or 1.0
        shares = sorted({max(share, math.sqrt(loss / variance)) for share in SHARES}, reverse=True)
        found = choices(root, self.rows.X, self.functions, self.clock)
        for states in self._attempts(root, found, few, shares):
            self.found.extend(fitted(state.root, few, WELL, state.symbols) for state in states if not self.clock.over)
            if any(state.held_out <= exact for state in self.found):
                break
        states = sorted(self.found, key=lambda state: state.rank(exact))
        states = [state for state in states if math.isfinite(state.held_out)]
        self.symbols = dict(states[0].symbols) if states else {}
        return states

    def _attempts(self, root: Expression, found: list[Choice], few: Rows, shares: list[float]) -> Iterator[list[State]]:
        """Ways to replace all edges, the quick ones first."""
        for share in shares:
            yield [at_once(root, [(choice.place, choice.promising(share)[0]) for choice in found], few)]
        yield drawn(root, found, few, shares, self.clock, self.seed)
        for share in shares[-2:]:
            yield race(root, found, few, share, self.clock)

    def _finish(self) -> None:
        """The last fit of the best formulas of every size, with all rows and with constants that people write."""
        sizes: dict[int, list[State]] = {}
        for state in sorted(self.found, key=lambda state: state.held_out):
            same = sizes.setdefault(state.size, [])
            if len(same) < PER_SIZE:
                same.append(state)
        lowest, X, y = math.inf, self.rows.X[:MOST], self.rows.y[:MOST]
        for size in sorted(sizes):
            for state in sizes[size]:
                if state.held_out > 2 * lowest:  # a simpler one is better by far
                    continue
                lowest = min(lowest, state.held_out)
                root = state.root if self.clock.over else refit(state.root, X, y).root
                self.made.append(root)
                if not self.clock.over:
                    nice = snapped(root, X, y).root
                    self.made.extend([nice, tidied(nice, X)])


def _checked(model: KAN, output: int | None, max_time: float | None) -> int:
    if not isinstance(model, KAN):
        raise TypeError(f"only a KAN can be read as a formula, got {type(model).__name__}.")
    outputs = model.widths[-1]
    if output is None and outputs > 1:
        raise ValueError(f"the model has {outputs} outputs; say which one by output=0 to {outputs - 1}.")
    if output is not None and (isinstance(output, bool) or output not in range(outputs)):
        raise ValueError(f"output is {output!r}; it must be an integer from 0 to {outputs - 1}.")
    if max_time is not None and not (isinstance(max_time, Real) and max_time > 0):
        raise ValueError(f"max_time is {max_time!r}; it must be a positive number of seconds.")
    return output or 0


def _rows(model: KAN, X: Any, y: Any, output: int, validation: float | Sequence[Any] | None, seed: int) -> Rows:
    x, target = _pair(model, X, y, output)
    if validation is None or isinstance(validation, Real):
        share = HELD_OUT if validation is None else float(validation)  # type: ignore[arg-type]
        if not 0 < share < 1:
            raise ValueError(f"validation is {validation!r}; a share must lie between 0 and 1.")
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed)).numpy()
        held = round(share * len(x))
        rows = Rows(x[order[held:]], target[order[held:]], x[order[:held]], target[order[:held]])
    else:
        if len(validation) != 2:  # type: ignore[arg-type]
            raise ValueError("validation must be a share such as 0.2, or (X, y).")
        rows = Rows(x, target, *_pair(model, validation[0], validation[1], output))  # type: ignore[index]
    if len(rows.X) < LEAST or len(rows.X_held) < 2:
        raise ValueError(
            f"there are {len(rows.X)} rows to fit and {len(rows.X_held)} to judge by; at least {LEAST} and 2 are needed."
        )
    return rows


def _pair(model: KAN, X: Any, y: Any, output: int) -> tuple[Array, Array]:
    x, targets = table(X, "X", model.widths[0]), table(y, "y", model.widths[-1])
    if len(x) != len(targets):
        raise ValueError(f"X has {len(x)} rows but y has {len(targets)}.")
    return x.cpu().numpy(), targets[:, output].cpu().numpy()
