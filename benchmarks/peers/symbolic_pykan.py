"""pykan's own workflow, fit, prune, refine, auto_symbolic and fit again; run by an interpreter that has pykan.

The steps, shape, penalty and library are those of its first page (hellokan) with five hidden nodes; inputs and targets are
scaled to what its grids expect, and put back into the formula. Steps are fewer where the time does not allow them, and the
last fit is cut short. Functions are looked for on 100 rows, for it tries 101 x 101 parameters on each; that cannot be cut
short, and whoever starts this script ends it when it takes far too long.
"""

import contextlib
import io
import os
import signal
import time

import kan
import numpy as np
import sympy
import torch
from symbolic_run import Table, run

LIBRARY = ["x", "x^2", "x^3", "x^4", "exp", "log", "sqrt", "tanh", "sin", "1/x"]
ROWS = 100


class Late(BaseException):
    """The time for training is up."""


def _late(*_: object) -> None:
    raise Late


def fit(table: Table) -> tuple[str, np.ndarray]:
    os.makedirs("model", exist_ok=True)  # pykan logs there
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    center, half = (table.X.max(0) + table.X.min(0)) / 2, np.ptp(table.X, axis=0) / 2
    mean, scale = table.y.mean(), table.y.std()

    def inputs(X: np.ndarray) -> torch.Tensor:
        return torch.from_numpy((X - center) / half)

    labels = torch.from_numpy((table.y - mean) / scale)[:, None]
    x = inputs(table.X)
    dataset = {"train_input": x, "train_label": labels, "test_input": x, "test_label": labels}
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        model = _trained(dataset, table)
        formula = model.symbolic_formula()[0][0]
        with torch.no_grad():
            predictions = model(inputs(table.X_test))[:, 0].numpy() * scale + mean
    own = [sympy.Symbol(name) for name in table.names]
    units = {
        sympy.Symbol(f"x_{i + 1}"): (symbol - c) / h
        for i, (symbol, c, h) in enumerate(zip(own, center, half, strict=True))
    }
    return str(mean + scale * sympy.sympify(formula).xreplace(units)), predictions


def _trained(dataset: dict, table: Table) -> object:
    """Its workflow; the last fit is cut short by the time, and every step before must be through by then."""
    deadline = time.monotonic() + table.seconds
    model = _fresh(table)
    steps = _steps(dataset, table)
    _fit(model, dataset, steps, lamb=0.001)
    model = model.prune()
    _fit(model, dataset, steps)
    model = model.refine(10)
    _fit(model, dataset, steps)
    few = {name: value[:ROWS] for name, value in dataset.items()}
    model.save_act = True
    model(few["train_input"])
    model.auto_symbolic(lib=LIBRARY, verbose=0)
    before = _state(model)
    try:
        signal.signal(signal.SIGALRM, _late)
        signal.setitimer(signal.ITIMER_REAL, max(2.0, deadline - time.monotonic()))
        _fit(model, dataset, 50)
    except (Late, FloatingPointError):
        pass
    signal.setitimer(signal.ITIMER_REAL, 0)
    if not all(value.isfinite().all() for value in _state(model).values()):
        model.load_state_dict(before)
    return model


def _fresh(table: Table) -> object:
    return kan.KAN(width=[len(table.names), 5, 1], grid=3, k=3, seed=table.seed, auto_save=False)


def _state(model: object) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def _fit(model: object, dataset: dict, steps: int, lamb: float = 0.0) -> None:
    """Its L-BFGS; where moving the grids ends in NaN, which it often does, once more without that."""
    before = _state(model)
    for update in (True, False):
        with contextlib.suppress(UnboundLocalError):  # what its least squares ends in on NaN
            losses = model.fit(dataset, opt="LBFGS", steps=steps, lamb=lamb, update_grid=update)["train_loss"]
            if np.isfinite(losses[-1]):
                return
        model.load_state_dict(before)
    raise FloatingPointError("training ended in NaN, with and without moving grids")


def _steps(dataset: dict, table: Table) -> int:
    """As many steps as three fits may take of two thirds of the time, 50 at most."""
    model = _fresh(table)
    model.fit(dataset, opt="LBFGS", steps=1)
    began = time.monotonic()
    model.fit(dataset, opt="LBFGS", steps=2, update_grid=False)
    each = (time.monotonic() - began) / 2
    return int(min(50, max(5, table.seconds * 2 / 9 / each)))


if __name__ == "__main__":
    run("pykan", fit)
