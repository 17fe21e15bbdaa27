"""What the symbolic regressors share: one table in, one formula out, one process for each fit.

    PYTHON benchmarks/peers/symbolic_gplearn.py DATA.npz --seconds 60 --seed 0 --json RESULT.json

DATA.npz holds X, y, X_test and the names of the columns. RESULT.json says the formula as SymPy reads it, in these names, the
predictions for X_test, the seconds of the fit by the clock and of the processor, the version, and what went wrong if something
did.
"""

import argparse
import importlib.metadata
import json
import math
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Table:
    """What a regressor is given, and how long it has."""

    X: np.ndarray
    y: np.ndarray
    X_test: np.ndarray
    names: list[str]
    seconds: float
    seed: int
    nodes: int | None
    """Most nodes of a formula, for methods that can be told; None for no limit."""


def run(package: str, fit: Callable[[Table], tuple[str | None, np.ndarray]]) -> None:
    """Fit what the command line names, and write down what came out, a failure too."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--nodes", type=int, help="most nodes of a formula, for methods that can be told")
    parser.add_argument("--json", type=Path, required=True, help="file for the result")
    given = parser.parse_args()
    with np.load(given.data) as arrays:
        X, y, X_test, names = (arrays[name] for name in ("X", "y", "X_test", "names"))
        table = Table(X, y, X_test, names.tolist(), given.seconds, given.seed, given.nodes)
    found: dict[str, object] = {"formula": None, "predictions": None, "error": None}
    began, worked = time.perf_counter(), time.process_time()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            formula, predictions = fit(table)
        found["formula"] = formula
        found["predictions"] = [float(p) if math.isfinite(p) else None for p in np.ravel(predictions)]
    except Exception as error:  # noqa: BLE001 - a crash is a result
        traceback.print_exc()
        found["error"] = f"{type(error).__name__}: {str(error)[:300]}"
    found["seconds"], found["processor"] = time.perf_counter() - began, time.process_time() - worked
    found["version"] = f"{package} {_version(package)}"
    given.json.write_text(json.dumps(found))


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "from source"
