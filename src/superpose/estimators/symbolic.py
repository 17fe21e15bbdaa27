"""The symbolic regressor: formulas for a table, from the simplest to the most accurate."""

import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from math import inf
from numbers import Integral, Real
from typing import Any, get_args

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils.validation import check_is_fitted, check_random_state, validate_data

from superpose.estimators.targets import as_numbers
from superpose.symbolic.front import Formula, Front, Selection
from superpose.symbolic.functions import Function, chosen
from superpose.symbolic.records import latex_table, records
from superpose.symbolic.search import Job, search
from superpose.symbolic.surrogate import shortage
from superpose.symbolic.units import Dimension, agrees, dimension

Array = np.ndarray


class KANSymbolicRegressor(RegressorMixin, BaseEstimator):
    """Formulas for a table: the simplest for every accuracy, each with its error on rows that it was not fitted to.

    The search looks for variables in which the unknown function is simpler (Buckingham's theorem, read off the data),
    for sums and products of curves and of known terms in them, and for Kolmogorov-Arnold networks whose edges can be
    read as symbols. Constants are fitted together and become integers, fractions and multiples of pi where the data do
    not notice. It ends when a formula explains all that can be explained, or when the time is up; Ctrl-C ends it too,
    with the best so far.

    Args:
        max_time: Seconds for the search.
        functions: Names of functions or `superpose.symbolic.Function` objects that formulas may hold, beside sums,
            products and powers; sin and cos stand for each other. The standard ones if None.
        model_selection: Which formula predicts; may be changed after the fit. "best" is the simplest whose held-out
            error chance cannot tell from the lowest, "accuracy" the lowest held-out error, which flatters it where rows are few, "score" the steepest fall of
            the error, as in PySR.
        max_complexity: The largest complexity of a formula, 5 or more; no limit if None. Long formulas are better where
            the truth is none of ours, and say less.
        validation_fraction: Share of the rows that judge the formulas and are never fitted to.
        networks: Whether to fit networks where nothing else explains the data.
        n_jobs: Processes for the networks; -1 for all cores.
        random_state: Seed, RandomState or None.
        verbose: 1 writes what is going on to standard error; a function gets it line by line.

    Attributes:
        front_: The formulas, a `superpose.symbolic.front.Front`.
        equations_: The same as a data frame: complexity, loss, held_out_loss, r2_held_out, score, sympy, latex.
        stopped_: Why the search ended: "finished", "time" or "interrupted".
        n_features_in_: Number of inputs.
        feature_names_in_: Their names, if the table had any.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> X = rng.uniform(1, 5, (300, 2))
        >>> fitted = KANSymbolicRegressor(max_time=20, random_state=0).fit(X, X[:, 0] * np.exp(-X[:, 1] / 2))
        >>> fitted.sympy()
        x1*exp(-x2/2)
    """

    front_: Front

    def __init__(  # noqa: PLR0913 - scikit-learn wants every parameter here
        self,
        *,
        max_time: float = 60.0,
        functions: Sequence[str | Function] | None = None,
        model_selection: str = "best",
        max_complexity: int | None = None,
        validation_fraction: float = 0.25,
        networks: bool = True,
        n_jobs: int = -1,
        random_state: Any = None,
        verbose: int | Callable[[str], None] = 0,
    ) -> None:
        self.max_time = max_time
        self.functions = functions
        self.model_selection = model_selection
        self.max_complexity = max_complexity
        self.validation_fraction = validation_fraction
        self.networks = networks
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    def fit(
        self,
        X: Any,
        y: Any,
        *,
        variable_names: Iterable[str] | None = None,
        units: Sequence[str] | None = None,
        target_unit: str | None = None,
    ) -> "KANSymbolicRegressor":
        """Search formulas for a table.

        Args:
            X: Numbers, one row per sample.
            y: Targets.
            variable_names: Names of the inputs in the formulas; those of the columns, or x1, x2 and so on, if None.
            units: Unit of each input, such as "kg m^2/s^2", "1" for pure numbers. `equations_` then says which
                formulas agree with them; fitted constants may have any unit.
            target_unit: Unit of the target.

        Raises:
            ValueError: If shapes do not match, a value is NaN or infinite, a unit cannot be read, or a parameter cannot
                be.
        """
        X, y = validate_data(self, X, y, dtype=np.float64, order="C", y_numeric=True, ensure_min_samples=8)
        y = as_numbers(y)
        names = self._names(variable_names, X.shape[1])
        self._check()
        self.units_ = _dimensions(units, target_unit, X.shape[1])
        seed = int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))
        held = _held_out(len(y), float(self.validation_fraction), seed)
        if (why := shortage(int((~held).sum()), X.shape[1])) is not None:
            warnings.warn(
                f"{why}, so that little may be found. Give the columns that matter, or more rows.", stacklevel=2
            )
        self.front_ = search(
            X[~held], y[~held], X[held], y[held], names,
            Job(
                chosen(self.functions), bool(self.networks), int(self.n_jobs), seed, self._show,
                self.max_complexity or inf, self._only(),
            ),
            max_time=float(self.max_time),
        )  # fmt: skip
        self.stopped_ = self.front_.stopped
        return self

    @property
    def equations_(self) -> Any:
        """The formulas as a data frame."""
        check_is_fitted(self)
        frame = self.front_.table()
        if self.units_ is not None:
            frame["units_agree"] = [self._agrees(formula) for formula in self.front_]
        return frame

    def formula(self, index: int | None = None) -> Formula:
        """One of the formulas, the picked one if None."""
        check_is_fitted(self)
        number = self.front_.choice(self._selection()) if index is None else index
        if not -len(self.front_) <= number < len(self.front_):
            raise IndexError(f"there are formulas 0 to {len(self.front_) - 1}, not {number}.")
        return self.front_[number]

    def predict(self, X: Any, index: int | None = None) -> Array:
        """Values of a formula, the picked one if None; NaN where it is not defined."""
        formula = self.formula(index)
        X = validate_data(self, X, reset=False, dtype=np.float64, order="C")
        return formula(X)

    def sympy(self, index: int | None = None) -> Any:
        """A formula in SymPy, the picked one if None."""
        return self.formula(index).sympy

    def latex(self, index: int | None = None) -> str:
        """A formula in LaTeX, the picked one if None."""
        return self.formula(index).latex()

    def torch(self, index: int | None = None) -> Any:
        """A formula as a PyTorch module, the picked one if None."""
        return self.formula(index).torch()

    def c(self, index: int | None = None, name: str = "formula") -> str:
        """A formula as C source, the picked one if None."""
        return self.formula(index).c(name)

    def latex_table(self) -> str:
        """All formulas as a table in LaTeX (booktabs)."""
        check_is_fitted(self)
        return latex_table(records(self.front_, self.front_.choice(self._selection())))

    def score_equations(self, X: Any, y: Any) -> Any:
        """The data frame of formulas with their errors on other rows: `test_loss` and `test_r2`."""
        check_is_fitted(self)
        X, y = validate_data(self, X, y, reset=False, dtype=np.float64, y_numeric=True)
        frame = self.equations_
        losses = [float(np.mean((formula(X) - y) ** 2)) for formula in self.front_]
        variance = float(np.var(y))
        frame["test_loss"] = losses
        frame["test_r2"] = [1 - loss / variance if variance > 0 else np.nan for loss in losses]
        return frame

    def __str__(self) -> str:
        if not hasattr(self, "front_"):
            return repr(self)
        head, *lines = self.front_.text(self._selection()).splitlines()
        if self.units_ is not None:
            for n, formula in enumerate(self.front_):
                lines[n] += "" if self._agrees(formula) else "   (units do not agree)"
        return "\n".join([head, *lines])

    def _agrees(self, formula: Formula) -> bool:
        assert self.units_ is not None
        return agrees(formula.root, *self.units_)

    def _selection(self) -> Selection:
        if self.model_selection not in get_args(Selection):
            known = ", ".join(map(repr, get_args(Selection)))
            raise ValueError(f"model_selection is {self.model_selection!r}; choose one of {known}.")
        return self.model_selection  # type: ignore[return-value]

    def _names(self, given: Iterable[str] | None, width: int) -> tuple[str, ...]:
        if given is None:
            columns = getattr(self, "feature_names_in_", None)
            return tuple(f"x{n + 1}" for n in range(width)) if columns is None else tuple(map(str, columns))
        names = tuple(map(str, given))
        if len(names) != width or len(set(names)) != width:
            raise ValueError(f"variable_names must be {width} different names, got {list(names)}.")
        return names

    def _check(self) -> None:
        self._selection()
        chosen(self.functions)
        if isinstance(self.max_time, bool) or not isinstance(self.max_time, Real) or not self.max_time > 0:
            raise ValueError(f"max_time is {self.max_time!r}; it must be a positive number of seconds.")
        most = self.max_complexity
        if most is not None and (isinstance(most, bool) or not isinstance(most, Integral) or most < 5):
            raise ValueError(f"max_complexity is {most!r}; it must be an integer of at least 5, or None for no limit.")
        share = self.validation_fraction
        if isinstance(share, bool) or not isinstance(share, Real) or not 0 < share < 1:
            raise ValueError(f"validation_fraction is {share!r}; it must lie between 0 and 1.")
        if isinstance(self.n_jobs, bool) or not isinstance(self.n_jobs, Integral) or self.n_jobs == 0:
            raise ValueError(f"n_jobs is {self.n_jobs!r}; it must be a number of processes, or -1 for all cores.")

    def _only(self) -> frozenset[str] | None:
        """The names of all functions that formulas may hold, if the user has named some."""
        if self.functions is None:
            return None
        names = {function.name for function in chosen(self.functions)}
        return frozenset(names | {"sin", "cos"} if names & {"sin", "cos"} else names)

    def _show(self, line: str) -> None:
        if callable(self.verbose):
            self.verbose(line)
        elif self.verbose:
            sys.stderr.write(line + "\n")


def _dimensions(
    units: Sequence[str] | None, target: str | None, width: int
) -> tuple[list[Dimension], Dimension] | None:
    """Dimensions of inputs and target, None if nobody has named them."""
    if units is None and target is None:
        return None
    if units is None or target is None or isinstance(units, str) or len(units) != width:
        raise ValueError(f"units must name the unit of each of {width} inputs, and target_unit that of the target.")
    return [dimension(unit) for unit in units], dimension(target)


def _held_out(rows: int, share: float, seed: int) -> Array:
    """Which rows judge: a share of them, at least two, and never more than leave two to fit."""
    held = np.zeros(rows, dtype=bool)
    count = min(max(2, round(share * rows)), rows - 4)
    held[np.random.default_rng(seed).permutation(rows)[:count]] = True
    return held
