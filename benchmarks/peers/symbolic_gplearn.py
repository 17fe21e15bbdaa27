"""gplearn's SymbolicRegressor; run by an interpreter that has gplearn.

Settings: all its arithmetic with square roots, logarithms, inverses, sines, cosines, and the exponential, which it lacks and
its documentation shows how to add; the error is that after the best factor and constant (Keijzer's linear scaling), far
better for formulas in units than the error itself; populations of 1000 with tournaments of 20 as by default, the rates of
mutation of the documentation's first example, generations until the time is up.
"""

import time
from collections.abc import Iterator

import numpy as np
import sympy
from gplearn.fitness import make_fitness
from gplearn.functions import make_function
from gplearn.genetic import SymbolicRegressor
from symbolic_run import Table, run

PERFECT = 1e-12


def _protected_exp(x: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return np.where(x < 50, np.exp(np.minimum(x, 50)), 0.0)


def _scaled_error(y: np.ndarray, found: np.ndarray, weight: np.ndarray) -> float:
    """One minus the squared correlation."""
    if not np.isfinite(found).all() or np.ptp(found) < 1e-12 * max(1.0, np.abs(found).max()):
        return 1.0
    correlation = np.corrcoef(y, found)[0, 1]
    return float(1 - correlation**2) if np.isfinite(correlation) else 1.0


EXP = make_function(function=_protected_exp, name="exp", arity=1)
ERROR = make_fitness(function=_scaled_error, greater_is_better=False, wrap=False)

AS_SYMPY = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "sqrt": lambda a: sympy.sqrt(sympy.Abs(a)),
    "log": lambda a: sympy.log(sympy.Abs(a)),
    "inv": lambda a: 1 / a,
    "neg": lambda a: -a,
    "exp": sympy.exp,
    "sin": sympy.sin,
    "cos": sympy.cos,
}


def fit(table: Table) -> tuple[str, np.ndarray]:
    began = time.perf_counter()
    model = SymbolicRegressor(
        population_size=1000,
        generations=1,
        stopping_criteria=PERFECT,
        init_depth=(2, 5),
        function_set=("add", "sub", "mul", "div", "sqrt", "log", "inv", "neg", "sin", "cos", EXP),
        metric=ERROR,
        const_range=(-5.0, 5.0),
        parsimony_coefficient=1e-4,
        p_crossover=0.7,
        p_subtree_mutation=0.1,
        p_hoist_mutation=0.05,
        p_point_mutation=0.1,
        warm_start=True,
        low_memory=True,
        feature_names=table.names,
        random_state=table.seed,
    )
    longest = 0.0
    while True:
        before = time.perf_counter()
        model.fit(table.X, table.y)
        now = time.perf_counter()
        longest = max(longest, now - before)
        if model._program.raw_fitness_ <= PERFECT or now - began + longest > table.seconds:
            break
        model.set_params(generations=model.generations + 1)
    program = model._program
    slope, offset = np.polyfit(program.execute(table.X), table.y, 1)
    formula = offset + slope * _read(iter(program.program), [sympy.Symbol(name) for name in table.names])
    return str(formula), offset + slope * program.execute(table.X_test)


def _read(rest: Iterator, symbols: list[sympy.Symbol]) -> sympy.Expr:
    """The formula that begins here; what gplearn prints has three decimals."""
    node = next(rest)
    if hasattr(node, "arity"):
        return AS_SYMPY[node.name](*[_read(rest, symbols) for _ in range(node.arity)])
    return symbols[node] if isinstance(node, int) else sympy.Float(float(node))


if __name__ == "__main__":
    run("gplearn", fit)
