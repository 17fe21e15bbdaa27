"""Estimators in the manner of scikit-learn: Kolmogorov-Arnold networks for tables with noise."""

import sys
from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, check_random_state, validate_data

from superpose.estimators.targets import as_numbers
from superpose.fitting.tables.options import TableOptions
from superpose.fitting.tables.run import TableFit, fit_table
from superpose.models import KAN

ROWS = 4096
"""Rows predicted at once."""


class _KANEstimator(BaseEstimator):
    """What regressor and classifier share."""

    model_: KAN
    fit_: TableFit

    def __init__(  # noqa: PLR0913 - the parameters of an estimator
        self,
        hidden: tuple[int, ...] | str = "auto",
        *,
        intervals: int = 6,
        degree: int = 3,
        solver: str = "auto",
        alpha: float = 1.0,
        max_iter: int = 200,
        batch_size: int | str = "auto",
        early_stopping: bool | str = "auto",
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        tol: float = 1e-4,
        max_time: float | None = None,
        random_state: Any = None,
        warm_start: bool = False,
        verbose: int = 0,
    ) -> None:
        self.hidden = hidden
        self.intervals = intervals
        self.degree = degree
        self.solver = solver
        self.alpha = alpha
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.max_time = max_time
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose

    def _fit(self, X: np.ndarray, y: torch.Tensor, sample_weight: Any, classes: int) -> None:
        options = self._options()
        weight = torch.tensor(_check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True))
        if int((weight > 0).sum()) < 2:
            raise ValueError("at least two rows with a positive weight are needed, and sample_weight leaves fewer.")
        earlier = getattr(self, "fit_", None) if self.warm_start else None
        if earlier is not None:
            self._check_same_shape(earlier, X, y, classes)
        self.fit_ = fit_table(torch.tensor(X), y, weight, classes, options, earlier=earlier, show=self._show)
        self.model_ = self.fit_.model
        self.n_iter_ = len(self.fit_.losses)
        self.loss_curve_ = list(self.fit_.losses)
        self.validation_loss_curve_ = list(self.fit_.validation_losses) or None

    def _outputs(self, X: Any) -> np.ndarray:
        """What the network gives, in the units of the data."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=np.float64, order="C")
        with torch.inference_mode():
            return torch.cat([self.model_(rows) for rows in torch.tensor(X).split(ROWS)]).numpy()

    def _show(self, line: str) -> None:
        if self.verbose:
            sys.stderr.write(line + "\n")

    def _options(self) -> TableOptions:
        """The checked parameters."""
        _check_choice("solver", self.solver, ("auto", "lm", "adam"))
        _check_choice("early_stopping", self.early_stopping, ("auto", True, False))
        if isinstance(self.batch_size, str):
            _check_choice("batch_size", self.batch_size, ("auto",))
        _check_number("validation_fraction", self.validation_fraction, Real, 0, 1, open_ends=True)
        _check_number("alpha", self.alpha, Real, 0)
        _check_number("tol", self.tol, Real, 0)
        _check_number("max_iter", self.max_iter, Integral, 1)
        _check_number("n_iter_no_change", self.n_iter_no_change, Integral, 1)
        _check_number("intervals", self.intervals, Integral, 1)
        _check_number("degree", self.degree, Integral, 1, 5)
        if self.max_time is not None:
            _check_number("max_time", self.max_time, Real, 0, open_ends=True)
        if self.batch_size != "auto":
            _check_number("batch_size", self.batch_size, Integral, 1)
        return TableOptions(
            hidden=self._hidden(),
            intervals=int(self.intervals),
            degree=int(self.degree),
            solver=self.solver,
            alpha=float(self.alpha),
            max_iter=int(self.max_iter),
            batch_size=256 if self.batch_size == "auto" else int(self.batch_size),
            early_stopping=None if self.early_stopping == "auto" else bool(self.early_stopping),
            validation_fraction=float(self.validation_fraction),
            patience=int(self.n_iter_no_change),
            tol=float(self.tol),
            max_time=self.max_time,
            seed=int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max)),
        )

    def _hidden(self) -> tuple[int, ...] | None:
        """The checked widths, None to choose by the table."""
        if isinstance(self.hidden, str) and self.hidden == "auto":
            return None
        hidden = (self.hidden,) if isinstance(self.hidden, Integral) else self.hidden
        rows = isinstance(hidden, Iterable) and not isinstance(hidden, str)
        if not rows or any(not isinstance(width, Integral) or width < 1 for width in hidden):
            raise ValueError(f"hidden is {self.hidden!r}; give the width of each hidden layer, such as (8,) or ().")
        return tuple(int(width) for width in hidden)

    def _check_same_shape(self, earlier: TableFit, X: np.ndarray, y: torch.Tensor, classes: int) -> None:
        old = earlier.model.widths
        new = (X.shape[1], classes or y.shape[1])
        if (old[0], old[-1]) != new:
            raise ValueError(
                f"warm_start goes on with a network of {old[0]} inputs and {old[-1]} outputs, but the data have "
                f"{new[0]} and {new[1]}; set warm_start=False to begin anew."
            )


class KANRegressor(RegressorMixin, _KANEstimator):
    """Regression with a Kolmogorov-Arnold network, for tables with noise.

    An additive model is fitted first, then a network that starts from it. For exact data from science take
    `superpose.fit`, which goes after the last digits. Sample weights count as repetitions of rows.

    Args:
        hidden: Widths of the hidden layers, such as `(8,)`; `()` for an additive model. "auto" takes eight nodes or
            fewer for small tables and 32 for large ones. Every hidden layer gets one node more per output, which
            starts as a straight wire for the additive model. With "lm" the additive model itself comes back where the
            evidence prefers it.
        intervals: Intervals of the splines between the outer quantiles of an input; one more on either side holds
            the tails. What lies beyond counts as its end.
        degree: Degree of the splines, 1 to 5.
        solver: "lm" is Gauss-Newton with penalties chosen by the evidence, "adam" minibatches with a held-out part;
            "auto" takes "lm" as long as its matrices are cheap.
        alpha: Strength of the roughness penalty: 1 is what the data choose ("lm") or what suits the number of rows
            ("adam"), 0 is none.
        max_iter: Most steps ("lm") or passes over the rows ("adam"); the solvers have smaller bounds of their own.
        batch_size: Rows of a minibatch.
        early_stopping: Whether to judge by held-out rows; "auto" does so for "adam".
        validation_fraction: Share of the rows held out.
        n_iter_no_change: Passes without a better validation loss before a fit ends; a third of it for "lm".
        tol: What counts as better.
        max_time: Seconds after which a fit ends with the best network so far; None for no limit.
        random_state: Seed, RandomState or None. The same seed gives the same bits.
        warm_start: Whether `fit` goes on from the last fit, with its units, grids and shape; other widths, intervals
            or degrees given since then have no effect. Where the spread of a column or of the targets is ten times
            that of the last fit or more, or a tenth or less, it begins anew.
        verbose: 1 writes a line for each step to standard error.

    Attributes:
        model_: The fitted `KAN`, in float64 and the units of the data; `superpose.save` stores it.
        fit_: The record of the fit.
        n_iter_: Number of steps, those of the additive start among them.
        loss_curve_: Loss after each step.
        validation_loss_curve_: Loss of the held-out rows after each step, or None.

    Example:
        >>> import numpy as np
        >>> X = np.linspace(-1, 1, 100)[:, None]
        >>> fitted = KANRegressor(random_state=0).fit(X, np.sin(3 * X[:, 0]))
        >>> bool(fitted.score(X, np.sin(3 * X[:, 0])) > 0.99)
        True
    """

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "KANRegressor":
        """Fit the network to a table.

        Args:
            X: Numbers, one row per sample.
            y: Targets, one column for each output.
            sample_weight: How often each row counts.
        """
        X, y = validate_data(
            self, X, y, dtype=np.float64, order="C", multi_output=True, y_numeric=True, ensure_min_samples=2,
            reset=not (self.warm_start and hasattr(self, "fit_")),
        )  # fmt: skip
        y = as_numbers(y)
        self._one_dimensional = y.ndim == 1
        self._fit(X, torch.tensor(y).reshape(len(y), -1), sample_weight, 0)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Predicted targets, in the shape they had in `fit`."""
        outputs = self._outputs(X)
        return outputs[:, 0] if self._one_dimensional else outputs

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.single_output = True
        tags.target_tags.multi_output = True
        return tags


class KANClassifier(ClassifierMixin, _KANEstimator):
    """Classification with a Kolmogorov-Arnold network, for tables with noise.

    Outputs of `model_` are logits, one for each class. Everything else is as in `KANRegressor`.

    Args:
        hidden: Widths of the hidden layers, such as `(8,)`; `()` for an additive model. "auto" takes eight nodes or
            fewer for small tables and 32 for large ones. Every hidden layer gets one node more per output, which
            starts as a straight wire for the additive model. With "lm" the additive model itself comes back where the
            evidence prefers it.
        intervals: Intervals of the splines between the outer quantiles of an input; one more on either side holds
            the tails. What lies beyond counts as its end.
        degree: Degree of the splines, 1 to 5.
        solver: "lm" is Gauss-Newton with penalties chosen by the evidence, "adam" minibatches with a held-out part;
            "auto" takes "lm" as long as its matrices are cheap.
        alpha: Strength of the roughness penalty: 1 is what the data choose ("lm") or what suits the number of rows
            ("adam"), 0 is none.
        max_iter: Most steps ("lm") or passes over the rows ("adam"); the solvers have smaller bounds of their own.
        batch_size: Rows of a minibatch.
        early_stopping: Whether to judge by held-out rows; "auto" does so for "adam".
        validation_fraction: Share of the rows held out.
        n_iter_no_change: Passes without a better validation loss before a fit ends; a third of it for "lm".
        tol: What counts as better.
        max_time: Seconds after which a fit ends with the best network so far; None for no limit.
        random_state: Seed, RandomState or None. The same seed gives the same bits.
        warm_start: Whether `fit` goes on from the last fit, with its units, grids and shape; other widths, intervals
            or degrees given since then have no effect.
        verbose: 1 writes a line for each step to standard error.

    Attributes:
        model_: The fitted `KAN`, in float64 and the units of the data; `superpose.save` stores it.
        fit_: The record of the fit.
        n_iter_: Number of steps, those of the additive start among them.
        loss_curve_: Loss after each step.
        validation_loss_curve_: Loss of the held-out rows after each step, or None.
        classes_: The classes, in the order of the outputs.

    Example:
        >>> import numpy as np
        >>> X = np.linspace(-1, 1, 100)[:, None]
        >>> fitted = KANClassifier(random_state=0).fit(X, np.where(np.abs(X[:, 0]) < 0.5, "in", "out"))
        >>> fitted.predict([[0.1], [0.9]])
        array(['in', 'out'], dtype='<U3')
    """

    classes_: np.ndarray

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "KANClassifier":
        """Fit the network to a table.

        Args:
            X: Numbers, one row per sample.
            y: Class of each row.
            sample_weight: How often each row counts.
        """
        X, y = validate_data(
            self, X, y, dtype=np.float64, order="C", ensure_min_samples=2,
            reset=not (self.warm_start and hasattr(self, "fit_")),
        )  # fmt: skip
        check_classification_targets(y)
        classes, numbers = np.unique(y, return_inverse=True)
        if len(classes) < 2:
            raise ValueError(f"y holds one class only, {classes[0]!r}; a classifier needs two or more classes.")
        if self.warm_start and hasattr(self, "fit_") and not np.array_equal(classes, self.classes_):
            raise ValueError("warm_start needs the classes of the first fit; set warm_start=False to begin anew.")
        self.classes_ = classes
        self._fit(X, torch.tensor(numbers.astype(np.int64)), sample_weight, len(classes))
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probability of each class, in the order of `classes_`."""
        return torch.from_numpy(self._outputs(X)).softmax(1).numpy()

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Logarithms of the probabilities."""
        return torch.from_numpy(self._outputs(X)).log_softmax(1).numpy()

    def predict(self, X: Any) -> np.ndarray:
        """The most likely class of each row."""
        best = self._outputs(X).argmax(1)
        return self.classes_[best]


def _check_choice(name: str, value: Any, allowed: tuple[Any, ...]) -> None:
    if not any(value is choice or (isinstance(choice, str) and value == choice) for choice in allowed):
        raise ValueError(f"{name} is {value!r}; choose one of {', '.join(map(repr, allowed))}.")


def _check_number(
    name: str, value: Any, kind: type, low: float, high: float = float("inf"), *, open_ends: bool = False
) -> None:
    good = isinstance(value, kind) and not isinstance(value, bool | np.bool_)
    if not good or not (low < value < high if open_ends else low <= value <= high):
        what = "an integer" if kind is Integral else "a number"
        between = "strictly between" if open_ends else "from"
        raise ValueError(
            f"{name} is {value!r}; it must be {what} {between} {low} {'and' if open_ends else 'to'} {high}."
        )
