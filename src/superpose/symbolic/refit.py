"""Fits the free constants of a formula to a table, all of them together."""

import warnings
from dataclasses import dataclass

import numpy as np
from scipy.optimize import leastsq

from superpose.symbolic.expression import Expression, with_constants
from superpose.symbolic.program import Program

Array = np.ndarray

STEPS = 300
"""Steps that a fit of constants may take."""


@dataclass(frozen=True)
class Refit:
    """A formula whose constants fit a table.

    Attributes:
        root: The formula.
        loss: Mean square of its errors, infinite where it is not defined on all rows.
        deviations: Standard errors of the free constants, from the curvature; infinite for what the data do not fix.
    """

    root: Expression
    loss: float
    deviations: Array


def mean_square(root: Expression, X: Array, y: Array) -> float:
    """Mean square of the errors of a formula, infinite where it is not defined on all rows."""
    with np.errstate(all="ignore"):
        loss = float(np.mean(np.square(Program(root)(X) - y)))
    return loss if np.isfinite(loss) else float("inf")


def refit(root: Expression, X: Array, y: Array, *, steps: int = STEPS) -> Refit:
    """Levenberg-Marquardt (MINPACK) from the constants that the formula has; it never gets worse."""
    program = Program(root)
    start = program.constants
    before = mean_square(root, X, y)
    if len(start) == 0 or len(start) > len(y):
        return Refit(root, before, np.full(len(start), np.inf))
    huge = 1e8 * (np.abs(y).max() + 1e-300)

    def residuals(constants: Array) -> Array:
        missed = program(X, constants) - y
        return missed if np.abs(missed).max() < huge else np.nan_to_num(missed, nan=huge).clip(-huge, huge)

    def slopes(constants: Array) -> Array:
        jacobian = program.values_and_jacobian(X, constants)[1]
        return jacobian if np.isfinite(jacobian).all() else np.nan_to_num(jacobian, nan=0.0, posinf=0.0, neginf=0.0)

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        found = leastsq(
            residuals, start, Dfun=slopes, col_deriv=True, full_output=True, maxfev=steps,
            ftol=1e-15, xtol=1e-14, gtol=0.0,
        )  # fmt: skip
    constants, covariance = found[0], found[1]
    fitted = with_constants(root, constants.tolist()) if np.isfinite(constants).all() else root
    loss = mean_square(fitted, X, y)
    if not loss <= before:
        return Refit(root, before, np.full(len(start), np.inf))
    if covariance is None or not np.isfinite(covariance).all():
        return Refit(fitted, loss, np.full(len(start), np.inf))
    with np.errstate(all="ignore"):
        return Refit(fitted, loss, np.sqrt(np.abs(np.diag(covariance))) * np.sqrt(loss))
