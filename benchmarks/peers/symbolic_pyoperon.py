"""Operon's SymbolicRegressor; run by an interpreter that has pyoperon.

Settings: those of its entry in SRBench (two objectives, error and length, trees of up to 50 nodes, offspring by default)
with the functions that the equations are made of, Levenberg-Marquardt on every tree, generations and evaluations without
limit until the time is up, and a choice from its front by the Bayesian information criterion, a node counting as a parameter:
its own criteria want to know the noise. It computes in single precision.
"""

import numpy as np
from pyoperon.sklearn import SymbolicRegressor
from symbolic_run import Table, run

WITHOUT_END = 2**31 - 1


def fit(table: Table) -> tuple[str, np.ndarray]:
    model = SymbolicRegressor(
        allowed_symbols="add,sub,mul,div,square,sqrt,exp,log,sin,cos,tanh,constant,variable",
        objectives=["r2", "length"],
        optimizer="lm",
        optimizer_iterations=10,
        max_length=table.nodes or 50,
        population_size=1000,
        pool_size=1000,
        generations=WITHOUT_END,
        max_evaluations=WITHOUT_END,
        epsilon=1e-6,
        max_time=max(1, round(table.seconds)),
        n_threads=1,
        random_state=table.seed,
    ).fit(table.X, table.y)
    tree = _chosen(model, table)
    names = [f"v{i}_" for i in range(len(table.names))]  # its formatter is not asked to read our names
    formula = model.get_model_string(tree, precision=12, names=names).replace("^", "**")
    for name, own in sorted(zip(names, table.names, strict=True), key=lambda pair: -len(pair[0])):
        formula = formula.replace(name, own)
    return formula, model.evaluate_model(tree, table.X_test)


def _chosen(model: SymbolicRegressor, table: Table) -> object:
    """The tree of its front with the least n log(error) plus log(n) for every node."""
    rows, floor = len(table.y), 1e-12 * table.y.var()

    def cost(found: dict) -> float:
        return rows * np.log(max(found["mean_squared_error"], floor)) + np.log(rows) * found["length"]

    return min(model.pareto_front_, key=cost)["tree"]


if __name__ == "__main__":
    run("pyoperon", fit)
