"""Symbols take the places of a network's edges, one after the other, judged by the error of the whole formula.

What fits an edge best alone need not be what the formula needs: a network makes up in one edge for what it misses in
another. So several symbols stay in the race for every edge, and after every replacement all constants that there are
are fitted to the data together.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import sympy

from superpose.symbolic.expression import (
    Apply,
    Constant,
    Expression,
    Variable,
    ordered,
    rebuilt,
)
from superpose.symbolic.functions import Array, Function
from superpose.symbolic.match import Match, matches
from superpose.symbolic.network import Edge, Place, edges
from superpose.symbolic.normal import freed, normal
from superpose.symbolic.program import Program
from superpose.symbolic.refit import mean_square, refit

FEW = 400
"""Rows that judge what is tried; all rows fit what stays."""
WIDTH, CHOICES = 6, 5
"""Formulas in the race, and symbols that are tried on an edge of each."""
MANY = 12
"""Edges from which there are half as many of both."""
QUICK = 4
"""Evaluations for each constant in a trial."""
PARSIMONY = 0.1
"""Growth of the logarithm of the error that a node less is worth in the race."""


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows that constants are fitted to, and rows that judge."""

    X: Array
    y: Array
    X_held: Array
    y_held: Array

    def few(self, most: int, seed: int) -> "Rows":
        """Some of either."""
        draw = np.random.default_rng(seed)
        some = draw.permutation(len(self.X))[:most]
        held = draw.permutation(len(self.X_held))[:most]
        return Rows(self.X[some], self.y[some], self.X_held[held], self.y_held[held])


@dataclass(frozen=True)
class Clock:
    """When to stop."""

    most: float | None = None
    start: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Time that has passed."""
        return time.monotonic() - self.start

    @property
    def over(self) -> bool:
        """Whether it is time to come back with what there is."""
        return self.most is not None and self.seconds > self.most


@dataclass(frozen=True, eq=False)
class State:
    """A formula in the race.

    Attributes:
        root: The formula, perhaps with edges of the network in it.
        held_out: Mean square of its errors on held-out rows.
        symbols: LaTeX of what stands on the edges that are gone.
    """

    root: Expression
    held_out: float
    symbols: Mapping[Place, str] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Nodes, each once; an edge that waits for its symbol counts as one."""
        nodes = [node for node in ordered(self.root) if isinstance(node, Apply)]
        symbols = sum(node.function.complexity for node in nodes if not isinstance(node.function, Edge))
        return len(ordered(self.root)) - len(nodes) + symbols

    def rank(self, floor: float) -> float:
        """Small for what is accurate and simple; errors below the floor are alike."""
        return math.log(max(self.held_out, floor, 1e-300)) + PARSIMONY * self.size


def fitted(root: Expression, rows: Rows, steps: int, symbols: Mapping[Place, str] | None = None) -> State:
    """The formula in its normal form with its free constants fitted together, whatever edges it still has."""
    root = normal(root)
    if not edges(root):
        root = normal(freed(root))
    short, X, places = _condensed(root, rows.X)
    found = rebuilt(refit(short, X, rows.y, steps=steps).root, places)
    return State(found, mean_square(found, rows.X_held, rows.y_held), symbols or {})


def _condensed(root: Expression, X: Array) -> tuple[Expression, Array, dict[int, Expression]]:
    """The formula with what no free constant moves as further columns: edges at the inputs are evaluated once."""
    program = Program(root)
    still = {id(n) for n, moves in zip(program.nodes, program.moves, strict=True) if not moves and _is_work(n)}
    inside = {id(child) for node in program.nodes if id(node) in still for child in node.children}
    moved = {id(c) for n, moves in zip(program.nodes, program.moves, strict=True) if moves for c in n.children}
    tops = [node for node in program.nodes if id(node) in still and (id(node) in moved or id(node) not in inside)]
    columns = [Variable(X.shape[1] + n) for n in range(len(tops))]
    if not tops:
        return root, X, {}
    wide = np.column_stack([X, *(Program(node)(X) for node in tops)])
    short = rebuilt(root, {id(node): column for node, column in zip(tops, columns, strict=True)})
    return short, wide, {id(column): node for node, column in zip(tops, columns, strict=True)}


def _is_work(node: Expression) -> bool:
    return not isinstance(node, Variable | Constant)


@dataclass(frozen=True, eq=False)
class Choice:
    """An edge of the network, and the symbols that may take its place, the most promising first."""

    place: Place
    found: Sequence[Match]

    @property
    def error(self) -> float:
        """What the best of them misses, as a share of the edge's spread."""
        return min(match.error for match in self.found)


def choices(root: Expression, X: Array, functions: Sequence[Function], share: float, clock: Clock) -> list[Choice]:
    """Symbols for every edge, the edges with the nearest ones first.

    Args:
        root: The network.
        X: Rows that its edges are looked at on.
        functions: What may be tried.
        share: The error of the network as a share of the spread of the targets; nearer matches are alike.
        clock: When to stop looking: edges that are left get straight lines.
    """
    found = []
    for edge in edges(root):
        t = Program(edge.argument)(X)
        near = matches(t, edge.function.value(t), () if clock.over else functions)
        found.append(Choice(edge.function.place, _promising(near, t, edge.function, share)))  # type: ignore[attr-defined]
    return sorted(found, key=lambda choice: choice.error)


def _promising(found: Sequence[Match], t: Array, edge: Function, share: float) -> list[Match]:
    """The nearest symbols, those that are no nearer than the network is to the data by their simplicity."""
    f = edge.value(t)
    spread = float(np.std(f)) or 1.0
    flat = Match(None, (1.0, 0.0), (0.0, float(np.mean(f))), float(np.std(f)) / spread)
    nearest = max(share / 3, 1e-9)

    def rank(match: Match) -> float:
        size = match.complexity + (0 if match is flat else 1 + bool(match.function) * 2)
        return 2 * math.log(max(match.error, nearest)) + PARSIMONY * size

    return sorted([flat, *(match for match in found if math.isfinite(match.error))], key=rank)[: CHOICES + 1]


def replaced(root: Expression, place: Place, match: Match) -> Expression:
    """The formula with a symbol in the place of an edge."""
    for edge in edges(root):
        if edge.function.place == place:  # type: ignore[attr-defined]
            constant = Constant(match.outer[1])
            symbol = constant if match.outer[0] == 0 else match.of(edge.argument)
            return rebuilt(root, {id(edge): symbol})
    return root  # a constant has taken its argument, and so its place


def at_once(root: Expression, found: Sequence[Choice], rows: Rows) -> State:
    """Every edge by its most promising symbol, and then one fit."""
    symbols = {}
    for choice in found:
        root = replaced(root, choice.place, choice.found[0])
        symbols[choice.place] = written(choice.found[0])
    return fitted(root, rows, 4 * QUICK, symbols)


def race(root: Expression, found: Sequence[Choice], rows: Rows, floor: float, clock: Clock) -> list[State]:
    """Formulas whose edges are all symbols, the best first.

    Args:
        root: The network.
        found: Its edges in the order in which they go.
        rows: What decides.
        floor: Error of the network: while it holds edges, no formula need be better.
        clock: When to stop; then there may be none.
    """
    width, most = (WIDTH, CHOICES) if len(found) < MANY else (WIDTH // 2, CHOICES // 2 + 1)
    states = [State(root, floor)]
    for number, choice in enumerate(found):
        tried = []
        for state in states:
            for match in choice.found[:most]:
                if clock.over:
                    return []
                symbols = {**state.symbols, choice.place: written(match)}
                tried.append(fitted(replaced(state.root, choice.place, match), rows, QUICK, symbols))
        last = 0.0 if number == len(found) - 1 else floor
        states = sorted(tried, key=lambda state: state.rank(last))[:width]
    return [state for state in states if math.isfinite(state.held_out)]


def written(match: Match) -> str:
    """LaTeX of a symbol, without its constants."""
    if match.function is None:
        return "x" if match.outer[0] != 0 else "0"
    return str(sympy.latex(match.function.sympy(sympy.Symbol("x", real=True))))
