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
DRAWS = 60
"""Draws of symbols for all edges."""
QUICK = 25
"""Evaluations in a trial."""
VARIES = 0.1
"""Share of its size that a function varies by without further digits."""
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
        digits: Logarithm of how much larger functions are than what they vary by, for their sum: what a long sine
            needs in further digits of its constants to pass for a parabola.
    """

    root: Expression
    held_out: float
    symbols: Mapping[Place, str] = field(default_factory=dict)
    digits: float = 0.0

    @property
    def size(self) -> int:
        """Nodes, each once; an edge that waits for its symbol counts as one."""
        nodes = [node for node in ordered(self.root) if isinstance(node, Apply)]
        symbols = sum(node.function.complexity for node in nodes if not isinstance(node.function, Edge))
        return len(ordered(self.root)) - len(nodes) + symbols

    def rank(self, floor: float) -> float:
        """Small for what is accurate and simple; errors below the floor are alike."""
        return math.log(max(self.held_out, floor, 1e-300)) + PARSIMONY * self.size + self.digits


def fitted(root: Expression, rows: Rows, steps: int, symbols: Mapping[Place, str] | None = None) -> State:
    """The formula in its normal form with its free constants fitted together, whatever edges it still has."""
    root = normal(root)
    if not edges(root):
        root = normal(freed(root))
    short, X, places = _condensed(root, rows.X)
    found = rebuilt(refit(short, X, rows.y, steps=steps).root, places)
    return State(found, mean_square(found, rows.X_held, rows.y_held), symbols or {}, _digits(found, rows.X))


def _digits(root: Expression, X: Array) -> float:
    """Logarithm of how much larger functions are than what they vary by, beyond a tenth."""
    lost = 0.0
    for low, high in Program(root).outputs(X):
        share = (high - low) / max(abs(low), abs(high), 1e-300)
        lost -= math.log(max(share, 1e-12) / VARIES) if share < VARIES else 0.0
    return lost


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
    """An edge of the network, and the symbols that may take its place.

    Attributes:
        place: Where the edge is.
        t: Where it is looked at.
        spread: What it varies by.
        found: The symbols.
    """

    place: Place
    t: Array
    spread: float
    found: Sequence[Match]

    @property
    def error(self) -> float:
        """What the nearest symbol misses, as a share of the spread."""
        return min(match.error for match in self.found)

    def promising(self, share: float) -> list[Match]:
        """The symbols, the nearest first; those that miss less than a share of the spread by their simplicity."""

        def rank(match: Match) -> float:
            size = match.complexity + 2 * (match.function is not None) + (match.outer[0] != 0)
            large = abs(match.outer[0]) * _size(match, self.t) / self.spread
            return 2 * math.log(max(match.error, share, 1e-9)) + PARSIMONY * size + math.log(max(1.0, large * VARIES))

        return sorted((match for match in self.found if math.isfinite(match.error)), key=rank)


def choices(root: Expression, X: Array, functions: Sequence[Function], clock: Clock) -> list[Choice]:
    """Symbols for every edge, the edges with the nearest ones first.

    Args:
        root: The network.
        X: Rows that its edges are looked at on.
        functions: What may be tried.
        clock: When to stop looking: edges that are left get straight lines.
    """
    found = []
    for edge in edges(root):
        t = Program(edge.argument)(X)
        f = edge.function.value(t)
        spread = float(np.std(f)) or 1.0
        flat = Match(None, (1.0, 0.0), (0.0, float(np.mean(f))), float(np.std(f)) / spread)
        near = matches(t, f, () if clock.over else functions)
        found.append(Choice(edge.function.place, t, spread, [flat, *near]))  # type: ignore[attr-defined]
    return sorted(found, key=lambda choice: choice.error)


def _size(match: Match, t: Array) -> float:
    """How large the function of a symbol gets."""
    if match.function is None:
        return 0.0
    with np.errstate(all="ignore"):
        return float(np.abs(match.function.value(match.inner[0] * t + match.inner[1])).max())


def replaced(root: Expression, place: Place, match: Match) -> Expression:
    """The formula with a symbol in the place of an edge."""
    for edge in edges(root):
        if edge.function.place == place:  # type: ignore[attr-defined]
            constant = Constant(match.outer[1])
            symbol = constant if match.outer[0] == 0 else match.of(edge.argument)
            return rebuilt(root, {id(edge): symbol})
    return root  # a constant has taken its argument, and so its place


def at_once(root: Expression, taken: Sequence[tuple[Place, Match]], rows: Rows, steps: int = 4 * QUICK) -> State:
    """Every edge by a symbol, and then one fit: what the edges had agreed upon between them is free to change."""
    for place, match in taken:
        root = replaced(root, place, match)
    return fitted(root, rows, steps, {place: written(match) for place, match in taken})


def drawn(
    root: Expression, found: Sequence[Choice], rows: Rows, shares: Sequence[float], clock: Clock, seed: int
) -> list[State]:
    """Formulas with symbols drawn for all edges at once, the promising ones more often, the best first."""
    draw, seen, states = np.random.default_rng(seed), set(), []
    lists = [[(choice.place, choice.promising(share)) for choice in found] for share in shares]
    for _ in range(DRAWS):
        near = lists[draw.integers(len(lists))]
        taken = [(place, row[min(draw.geometric(0.6) - 1, len(row) - 1)]) for place, row in near]
        key = tuple(id(match) for _, match in taken)
        if key not in seen and not clock.over:
            seen.add(key)
            states.append(at_once(root, taken, rows, QUICK))
    return sorted(states, key=lambda state: state.rank(0.0))[:WIDTH]


def race(root: Expression, found: Sequence[Choice], rows: Rows, share: float, clock: Clock) -> list[State]:
    """Formulas whose edges are all symbols, the best first.

    Args:
        root: The network.
        found: Its edges in the order in which they go.
        rows: What decides.
        share: Root mean square error, as a share of the targets' spread, below which formulas are alike while they
            hold edges: what an edge of the network makes up for, a symbol must miss at first.
        clock: When to stop; then there may be none.
    """
    width, most = (WIDTH, CHOICES) if len(found) < MANY else (WIDTH // 2, CHOICES // 2 + 1)
    floor = share**2 * float(np.var(rows.y_held))
    states = [State(root, floor)]
    for number, choice in enumerate(found):
        tried = []
        for state in states:
            for match in choice.promising(share)[:most]:
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
