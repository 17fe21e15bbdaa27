"""scikit-learn's gradient boosting with its defaults, which has no formula: what accuracy is there to be had."""

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor
from symbolic_run import Table, run


def fit(table: Table) -> tuple[None, np.ndarray]:
    model = HistGradientBoostingRegressor(random_state=table.seed).fit(table.X, table.y)
    return None, model.predict(table.X_test)


if __name__ == "__main__":
    run("scikit-learn", fit)
