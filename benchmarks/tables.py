"""Fifteen regression and ten classification tables with the defaults, beside scikit-learn's models with theirs.

The tables are Parquet files with an `index.json` beside them (name, task) and the column `target`; their folder is the
argument or the environment variable SUPERPOSE_DATA. Categories coded as integers stay numbers for all models.

    python benchmarks/tables.py FOLDER --tables banana,pima --folds 3
"""

import argparse
import json
import os
import statistics
import time
import warnings
from pathlib import Path

# One thread for everyone, before the libraries start theirs.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import pandas as pd
import sklearn
import torch
from report import Report, options
from sklearn.base import BaseEstimator
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_diabetes, load_iris
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from superpose import KANClassifier, KANRegressor

OWN = {"diabetes": load_diabetes, "iris": load_iris}
"""Tables that come with scikit-learn, for --quick."""

MODELS = ("superpose", "MLP", "linear", "HistGB")


def models(task: str, seed: int) -> dict[str, BaseEstimator]:
    """The four models with their defaults; linear is ridge or logistic regression."""
    if task == "classification":
        return {
            "superpose": KANClassifier(random_state=seed),
            "MLP": make_pipeline(StandardScaler(), MLPClassifier(early_stopping=True, random_state=seed)),
            "linear": make_pipeline(StandardScaler(), LogisticRegression()),
            "HistGB": HistGradientBoostingClassifier(random_state=seed),
        }
    return {
        "superpose": KANRegressor(random_state=seed),
        # Targets in large units stop this network early on nothing: it gets them scaled, which is its best setting.
        "MLP": TransformedTargetRegressor(
            make_pipeline(StandardScaler(), MLPRegressor(early_stopping=True, random_state=seed)),
            transformer=StandardScaler(),
        ),
        "linear": make_pipeline(StandardScaler(), Ridge()),
        "HistGB": HistGradientBoostingRegressor(random_state=seed),
    }


def read(table: dict, folder: Path | None) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and targets; without a folder, of one of scikit-learn's own tables."""
    if folder is None:
        return OWN[table["name"]](return_X_y=True)
    data = pd.read_parquet(folder / f"{table['name']}.parquet")
    return data.drop(columns="target").to_numpy(dtype=float), data["target"].to_numpy()


def measure(table: dict, folder: Path | None, folds: int) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Scores and processor seconds of every model on every fold; fold number f has seed f."""
    X, y = read(table, folder)
    split = (StratifiedKFold if table["task"] == "classification" else KFold)(folds, shuffle=True, random_state=0)
    scores, seconds = {name: [] for name in MODELS}, {name: [] for name in MODELS}
    for seed, (train, test) in enumerate(split.split(X, y)):
        for name, model in models(table["task"], seed).items():
            began = time.process_time()
            model.fit(X[train], y[train])
            seconds[name].append(time.process_time() - began)
            scores[name].append(model.score(X[test], y[test]))
    return scores, seconds


def line(scores: list[float]) -> str:
    """Median over the folds and half of the range."""
    return f"{statistics.median(scores):.3f} ± {(max(scores) - min(scores)) / 2:.3f}"


def counts(results: list[tuple[dict, dict, dict]]) -> list[tuple[str, str, str]]:
    """The claims, on medians over the folds."""
    middle = [{name: statistics.median(scores[name]) for name in MODELS} for _, scores, _ in results]
    behind = [
        table["name"] for (table, *_), m in zip(results, middle, strict=True) if m["superpose"] < m["linear"] - 0.01
    ]
    times = {name: statistics.median(statistics.median(s[name]) for *_, s in results) for name in MODELS}
    of = len(results)
    return [
        ("better than the MLP", f"{sum(m['superpose'] > m['MLP'] for m in middle)} of {of}", "20 of 25"),
        ("behind the linear model by more than 0.01", f"{len(behind)} of {of} {' '.join(behind)}", "0"),
        ("within 0.01 of HistGB or better", f"{sum(m['superpose'] >= m['HistGB'] - 0.01 for m in middle)} of {of}", "15 of 25"),
        ("better than HistGB", f"{sum(m['superpose'] > m['HistGB'] for m in middle)} of {of}", "-"),
        ("median fit, seconds", f"{times['superpose']:.2f}, MLP {times['MLP']:.2f}", "the MLP's"),
    ]  # fmt: skip


def chosen(arguments: argparse.Namespace) -> list[dict]:
    """The entries of the index that were asked for."""
    if arguments.data is None:
        return [{"name": "diabetes", "task": "regression"}, {"name": "iris", "task": "classification"}]
    tables = json.loads((arguments.data / "index.json").read_text())
    if arguments.tables is None:
        return tables
    wanted = arguments.tables.split(",")
    unknown = set(wanted) - {table["name"] for table in tables}
    if unknown:
        raise SystemExit(f"no such table: {', '.join(sorted(unknown))}")
    return [table for table in tables if table["name"] in wanted]


def main(argv: list[str] | None = None) -> None:
    parser = options(__doc__, seeds=3)
    parser.add_argument("data", nargs="?", help="folder of the tables")
    parser.add_argument("--tables", help="names, separated by commas (default: all)")
    parser.add_argument("--folds", type=int, default=3)
    arguments = parser.parse_args(argv)
    arguments.seeds = arguments.folds
    arguments.data = None if arguments.quick else arguments.data or os.environ.get("SUPERPOSE_DATA")
    if arguments.data is None and not arguments.quick:
        parser.error("name the folder of the tables, or set SUPERPOSE_DATA")
    arguments.data = arguments.data and Path(arguments.data)
    torch.set_num_threads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run(arguments)


def run(arguments: argparse.Namespace) -> None:
    """Measure every table and write the report."""
    report = Report("tables", "Real tables: defaults of superpose beside defaults of scikit-learn", arguments)
    report.text(
        f"scikit-learn {sklearn.__version__}. {arguments.folds}-fold cross-validation, shuffled with seed 0; fold f is "
        "fitted with seed f. R2 for regression, accuracy for classification: median over the folds ± half their "
        "range. Seconds of processor time for one fit, one thread. MLP: StandardScaler on inputs and targets, early_stopping=True; "
        "linear: StandardScaler with ridge or logistic regression."
    )
    results = []
    for table in chosen(arguments):
        scores, seconds = measure(table, arguments.data, arguments.folds)
        results.append((table, scores, seconds))
        print(f"... {table['name']}: {', '.join(f'{name} {line(scores[name])}' for name in MODELS)}", flush=True)
    rows = [
        [
            table["name"],
            table.get("rows", "-"),
            *(line(scores[name]) for name in MODELS),
            *(f"{statistics.median(seconds[name]):.2f}" for name in MODELS),
        ]
        for table, scores, seconds in results
    ]
    report.table(["table", "rows", *MODELS, *(f"{name}, s" for name in MODELS)], rows)
    report.table(["what", "reached", "target"], counts(results))
    report.close()


if __name__ == "__main__":
    main()
