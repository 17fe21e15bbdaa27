"""Fits pykan to a stored table, grid after grid; run by an interpreter that has pykan.

    PYTHON benchmarks/peers/pykan_scaling.py DATA.npz --job '{"widths": [2, 1, 1], "grids": [5, 10], "steps": 50, "seed": 0}'

DATA.npz holds x, y, x_test and y_test. The settings are those of pykan's own tutorial (Example_8): L-BFGS, so many steps
for each grid by warm start, grid updates during the first 30, in double precision. Both its interfaces are known, that of
0.0 and that of 0.2.
"""

import argparse
import contextlib
import importlib.metadata
import io
import json
import math
import os
import time

import kan
import numpy as np
import torch

torch.set_default_dtype(torch.float64)


def new_model(widths, grid, seed):
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            return kan.KAN(width=list(widths), grid=grid, k=3, seed=seed, auto_save=False)
        except TypeError:
            return kan.KAN(width=list(widths), grid=grid, k=3, seed=seed)


def refined(model, widths, grid, seed, x):
    with contextlib.redirect_stdout(io.StringIO()):
        if hasattr(model, "refine"):
            return model.refine(grid)
        return new_model(widths, grid, seed).initialize_from_another_model(model, x)


def train(model, dataset, steps, **more):
    verb = model.fit if hasattr(model, "refine") else model.train
    update = min(30, max(1, steps * 3 // 5))
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        verb(dataset, opt="LBFGS", steps=steps, stop_grid_update_step=update, grid_update_num=min(10, update), **more)


def error(model, x, y):
    with torch.no_grad():
        value = float((model(x) - y).square().mean().sqrt())
    return value if math.isfinite(value) else float("inf")


def run(job, dataset):
    found = {"version": importlib.metadata.version("pykan"), "rmse": [], "train_rmse": [], "seconds": []}
    model = None
    for grid in job["grids"]:
        began = time.perf_counter()
        if model is None:
            model = new_model(job["widths"], grid, job["seed"])
            if "first" in job:
                train(model, dataset, job["first"]["steps"], lamb=job["first"]["lamb"])
        else:
            model = refined(model, job["widths"], grid, job["seed"], dataset["train_input"])
        train(model, dataset, job["steps"])
        found["seconds"].append(time.perf_counter() - began)
        found["train_rmse"].append(error(model, dataset["train_input"], dataset["train_label"]))
        found["rmse"].append(error(model, dataset["test_input"], dataset["test_label"]))
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--job", type=json.loads, required=True)
    parser.add_argument("--json", help="file for the result")
    given = parser.parse_args()
    names = {"train_input": "x", "train_label": "y", "test_input": "x_test", "test_label": "y_test"}
    with np.load(given.data) as arrays:
        dataset = {name: torch.from_numpy(arrays[key]) for name, key in names.items()}
    os.makedirs("model", exist_ok=True)  # pykan logs there, and fails without it
    found = run(given.job, dataset)
    print("| intervals | training RMSE | test RMSE | seconds |\n|---|---|---|---|")
    for line in zip(given.job["grids"], found["train_rmse"], found["rmse"], found["seconds"], strict=True):
        print("| {} | {:.2e} | {:.2e} | {:.1f} |".format(*line))
    if given.json:
        with open(given.json, "w") as file:
            json.dump(found, file)


if __name__ == "__main__":
    main()
