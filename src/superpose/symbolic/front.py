"""What a search for formulas gives back: the simplest formula for every accuracy, with errors on rows that none has seen."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
import sympy

from superpose.scores import table
from superpose.symbolic.expression import Expression, complexity, free_constants, to_sympy
from superpose.symbolic.program import FormulaModule, Program
from superpose.symbolic.source import c_source

Array = np.ndarray
Selection = Literal["best", "accuracy", "score"]

FLOOR = 1e-20
"""Share of the targets' variance below which a squared error is rounding."""
ROUNDING = 1e-12
"""Share of an error that is rounding: the same formula, written in another way, may have so much less."""
DIGITS = 5
"""Significant digits that are shown; a formula keeps all of them."""
SHOWN = 80
"""Characters of a formula that is not the chosen one in a printed table."""
PRICE = 3.0
"""Rows' share of the error that a node has to be worth: minus twice the logarithm of its chance among some five."""
WORST = 1.5
"""How much more than the lowest error that of a chosen formula may be, whatever chance explains; PySR's number."""


@dataclass(frozen=True, eq=False, repr=False)
class Formula:
    """A formula with its errors.

    Attributes:
        root: The formula as a graph.
        names: Names of its inputs.
        loss: Mean square of its errors on the rows it was fitted to.
        held_out: The same on rows it was not fitted to.

    Example:
        >>> from superpose.symbolic.expression import Constant, Variable, affine, apply
        >>> formula = Formula(affine(2.0, apply("sin", Variable(1)), 0.123456789), ("a", "b"), 0.0, 0.0)
        >>> formula
        2.0*sin(b) + 0.12346
        >>> formula([[0.0, 0.0]])
        array([0.12345679])
        >>> formula.complexity
        10
    """

    root: Expression
    names: tuple[str, ...]
    loss: float
    held_out: float

    @cached_property
    def complexity(self) -> int:
        """Nodes of the written formula, a constant with many digits as three."""
        return complexity(self.root)

    @cached_property
    def free(self) -> int:
        """Number of constants that were fitted."""
        return len(free_constants(self.root))

    @cached_property
    def sympy(self) -> Any:
        """The formula in SymPy, with all digits, of real symbols with the names of the inputs."""
        return to_sympy(self.root, [sympy.Symbol(name, real=True) for name in self.names])

    def latex(self, digits: int | None = DIGITS) -> str:
        """The formula in LaTeX.

        Args:
            digits: Significant digits of its constants; all of them if None.
        """
        return str(sympy.latex(self.sympy if digits is None else rounded(self.sympy, digits)))

    def torch(self) -> FormulaModule:
        """The formula as a PyTorch module in float64, whose parameters are its constants."""
        return FormulaModule(self.root, len(self.names))

    def c(self, name: str = "formula") -> str:
        """The formula as C99 source: `double name(const double *x)` takes the inputs of one row in their order."""
        return c_source(self.root, name)

    def __call__(self, X: Any) -> Array:
        """Values at the rows of a table; NaN or infinity where the formula is not defined."""
        return Program(self.root)(table(X, "X", len(self.names)).cpu().numpy())

    def __repr__(self) -> str:
        return str(sympy.sstr(rounded(self.sympy, DIGITS), full_prec=False))


@dataclass(frozen=True, eq=False, repr=False)
class Front:
    """The formulas that no simpler one beats, from the simplest to the most accurate; prints as a table.

    Attributes:
        formulas: The formulas. Each has a lower error on the held-out rows than all that are simpler.
        variance: Variance of the held-out targets.
        squares: Squared errors on the held-out rows, (formulas, rows).
        fitted_squares: The same on the rows the formulas were fitted to.
        network_loss: Mean square on the held-out rows of the network they come from, None if there is none.
        noise: Differences of mean squares below this do not count.
        symbols: What stands on the edges of a network whose edges are all symbols: LaTeX by layer, output and input.
        stopped: Why the search ended: "finished", "time" or "interrupted".
        seconds: How long it took.

    Example:
        >>> from superpose.symbolic.expression import Variable, apply, ZERO
        >>> x = np.linspace(0, 1, 11).reshape(-1, 1)
        >>> roots = [Variable(0), ZERO, apply("sin", Variable(0)), apply("exp", Variable(0))]
        >>> front = Front.of(roots, x, np.sin(x[:, 0]), x, np.sin(x[:, 0]), ["t"])
        >>> front.formulas
        (t, sin(t))
        >>> front.best
        sin(t)
    """

    formulas: tuple[Formula, ...]
    variance: float
    squares: Array
    fitted_squares: Array
    network_loss: float | None = None
    noise: float = 0.0
    symbols: Mapping[tuple[int, int, int], str] = field(default_factory=dict)
    stopped: str = "finished"
    seconds: float = 0.0

    @classmethod
    def of(
        cls,
        roots: Sequence[Expression],
        X: Array,
        y: Array,
        X_held: Array,
        y_held: Array,
        names: Sequence[str],
        **more: Any,
    ) -> "Front":
        """The front of some formulas; those that are not defined on every row are left out.

        Args:
            roots: The formulas.
            X: Rows they were fitted to.
            y: Their targets.
            X_held: Rows they were not fitted to.
            y_held: Their targets.
            names: Names of the inputs.
            more: Other attributes of the front, such as `network_loss`.

        Raises:
            ValueError: If no formula is defined on all rows.
        """
        variance = float(np.var(y_held))
        # Targets that are all alike have no variance, but they have a size.
        noise = max(FLOOR * (variance + 1e-12 * float(np.mean(y_held**2))), more.pop("noise", 0.0))
        rated = []
        for root in roots:
            program = Program(root)
            with np.errstate(all="ignore"):
                fitted, squares = (program(X) - y) ** 2, (program(X_held) - y_held) ** 2
            if np.isfinite(fitted).all() and np.isfinite(squares).all():
                rated.append(
                    (Formula(root, tuple(names), float(fitted.mean()), float(squares.mean())), squares, fitted)
                )
        if not rated:
            raise ValueError("no formula is defined on all rows; give rows inside the domains of the functions.")
        kept: list[tuple[Formula, Array, Array]] = []
        for each in sorted(rated, key=lambda each: _order(each[0], noise)):
            if not kept or each[0].held_out < (1 - ROUNDING) * kept[-1][0].held_out - noise:
                kept.append(each)
        formulas, held, fitted = zip(*kept, strict=True)
        return cls(formulas, variance, np.array(held), np.array(fitted), noise=noise, **more)

    @property
    def rows(self) -> int:
        """Number of held-out rows."""
        return self.squares.shape[1]

    @property
    def best(self) -> Formula:
        """The formula that is picked."""
        return self.formulas[self.choice()]

    @property
    def scores(self) -> tuple[float, ...]:
        """By how much the logarithm of the held-out error falls for each node that a formula has more (PySR's score)."""
        found = [0.0]
        for before, after in zip(self.formulas[:-1], self.formulas[1:], strict=True):
            fall = math.log(self._floored(before) / self._floored(after))
            found.append(fall / max(1, after.complexity - before.complexity))
        return tuple(found)

    def choice(self, selection: Selection = "best") -> int:
        """Number of the formula to take.

        Args:
            selection: "best" is the simplest whose held-out error is above the lowest by no more than chance explains
                (two standard errors of the paired difference, on these rows and on all) nor by half of it. "accuracy" is the lowest held-out
                error. "score" is the steepest fall of the error among those up to 1.5 times the lowest, as in PySR.

        Raises:
            ValueError: If there is no such selection.
        """
        if selection not in get_args(Selection):
            raise ValueError(f"selection is {selection!r}; choose one of {', '.join(get_args(Selection))}.")
        lowest = int(np.argmin([formula.held_out for formula in self.formulas]))
        if selection == "accuracy":
            return lowest
        worst = WORST * self._floored(self.formulas[lowest])
        near = [n for n, formula in enumerate(self.formulas) if self._floored(formula) <= worst]
        if selection == "score":
            return max(near, key=lambda n: self.scores[n])
        equal = [n for n in near if n == lowest or self._by_chance(n, lowest)]
        return equal[0]

    def table(self) -> Any:
        """The front as a pandas data frame, a row for each formula."""
        import pandas as pd

        return pd.DataFrame(
            {
                "complexity": [formula.complexity for formula in self.formulas],
                "loss": [formula.loss for formula in self.formulas],
                "held_out_loss": [formula.held_out for formula in self.formulas],
                "r2_held_out": [self.r2(formula.held_out) for formula in self.formulas],
                "score": self.scores,
                "sympy": pd.Series([formula.sympy for formula in self.formulas], dtype=object),
                "latex": [formula.latex() for formula in self.formulas],
            }
        )

    def r2(self, loss: float) -> float:
        """Share of the variance of the held-out targets that such an error leaves explained."""
        return 1 - loss / self.variance if self.variance > 0 else math.nan

    def __len__(self) -> int:
        return len(self.formulas)

    def __iter__(self) -> Iterator[Formula]:
        return iter(self.formulas)

    def __getitem__(self, number: int) -> Formula:
        return self.formulas[number]

    def __repr__(self) -> str:
        return self.text()

    def text(self, selection: Selection = "best") -> str:
        """The front as a table, with `>>>>` at the formula that a selection takes."""
        picked = self.choice(selection)
        lines = ["      complexity  held-out error        R2  formula"]
        for n, formula in enumerate(self.formulas):
            mark, text = (">>>>" if n == picked else "    "), repr(formula)
            text = text if n == picked or len(text) <= SHOWN else f"{text[:SHOWN]} ..."
            lines.append(
                f"{mark}  {formula.complexity:>10}  {formula.held_out:>14.3e}  {self.r2(formula.held_out):8.6f}  {text}"
            )
        if self.network_loss is not None:
            lines.append(
                f"      {'network':>10}  {self.network_loss:>14.3e}  {self.r2(self.network_loss):8.6f}  it comes from"
            )
        lines.append(f"errors are mean squares on {self.rows} held-out rows")
        if self.stopped != "finished":
            lines.append(f"the search was not finished ({self.stopped})")
        return "\n".join(lines)

    def _by_chance(self, n: int, lowest: int) -> bool:
        """Whether chance explains that a formula is worse: on held-out rows, and on all, which tell finer differences.

        A search looks at many formulas, of which the long ones are many, so that some fit the noise. A longer formula has
        to pay `PRICE` rows' share of the error for every node, on the rows that it was fitted to and chosen by.
        """
        held, fitted = (squares[n] - squares[lowest] for squares in (self.squares, self.fitted_squares))
        level = self._floored(self.formulas[lowest])
        fairer = PRICE * level * (self.formulas[lowest].complexity - self.formulas[n].complexity)
        every = np.concatenate([held, fitted])
        return all(
            float(apart.sum()) - extra <= 2 * math.sqrt(len(apart)) * float(apart.std()) + len(apart) * self.noise
            for apart, extra in ((held, 0.0), (every, fairer))
        )

    def _floored(self, formula: Formula) -> float:
        return max(formula.held_out, self.noise, 1e-300)


def rounded(expression: Any, digits: int = DIGITS) -> Any:
    """A SymPy expression with its floats rounded to so many significant digits."""
    return expression.xreplace({number: sympy.Float(number, digits) for number in expression.atoms(sympy.Float)})


def _order(formula: Formula, noise: float) -> tuple[int, int, float, float]:
    """Simple before complex, with constants that are known before those that were fitted, accurate before not."""
    return formula.complexity, formula.free, max(formula.held_out, noise), formula.loss
