"""superpose's symbolic regressor with its defaults; run by an interpreter that has superpose."""

import numpy as np
import pandas as pd
import torch
from symbolic_run import Table, run

import superpose


def fit(table: Table) -> tuple[str, np.ndarray]:
    torch.set_num_threads(1)
    model = superpose.KANSymbolicRegressor(
        max_time=table.seconds, random_state=table.seed, n_jobs=1, max_complexity=table.nodes
    )
    model.fit(pd.DataFrame(table.X, columns=table.names), table.y)
    return str(model.sympy()), model.predict(pd.DataFrame(table.X_test, columns=table.names))


if __name__ == "__main__":
    run("superpose", fit)
