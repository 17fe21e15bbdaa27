"""What only a fresh process can tell: the memory of a training step, and how long a first fit takes.

    python benchmarks/peers/fresh.py '{"what": "cold", "rows": 200}'

PyTorch is imported before any clock starts. The last line printed is the result in JSON.
"""

import ctypes
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch

MEGABYTE = 1e6


def fresh(job: dict[str, object]) -> dict[str, float]:
    """Do a job in a process of its own, with the superpose that runs here."""
    import superpose

    own = [str(Path(__file__).parents[1]), str(Path(superpose.__file__).parents[1])]
    path = os.pathsep.join([*own, os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, __file__, json.dumps(job)],
        env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{job['what']} ended with {done.returncode}: {done.stderr.strip().splitlines()[-1:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def table(rows: int) -> tuple[np.ndarray, np.ndarray]:
    """exp(sin(pi x) + y^2) at random points."""
    X = np.random.default_rng(0).uniform(-1, 1, (rows, 2))
    return X, np.exp(np.sin(np.pi * X[:, 0]) + X[:, 1] ** 2)


def cold(rows: int, threads: int, estimator: bool) -> dict[str, float]:
    """Seconds of the import, of the first fit, and of a second one for comparison."""
    torch.set_num_threads(threads)
    X, y = table(rows)
    began = time.perf_counter()
    import superpose

    if estimator:
        model = superpose.KANRegressor(random_state=0)
        fit = model.fit
    else:
        network = superpose.KAN((2, 5, 1), generator=torch.Generator().manual_seed(0))

        def fit(X: np.ndarray, y: np.ndarray) -> object:
            return superpose.fit(network, X, y)

        _ = superpose.fit
    imported = time.perf_counter()
    fit(X, y)
    first = time.perf_counter()
    fit(X, y)
    return {"import": imported - began, "first": first - imported, "second": time.perf_counter() - first}


def memory(
    column: str, path: str | None, widths: list[int], intervals: int, batch: int, threads: int
) -> dict[str, float]:
    """Growth of the resident set at the peak of one training step, after one on a small batch."""
    from peers.columns import Row, columns, loaded

    torch.set_num_threads(threads)
    row = Row(tuple(widths), intervals, batch)
    modules = {} if path is None else {column: loaded(column, Path(path))}
    (chosen,) = columns(row, modules, most=lambda name: name == column)
    x, y = row.data()
    with chosen.context():
        chosen.step(x[:64].clone(), y[:64].clone()).run()
        for p in chosen.parameters:
            p.grad = None
        step = chosen.step(x, y)
        ctypes.CDLL(None).malloc_trim(0)  # or what was freed before would take in what the step asks for
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts from here
        before = _status("VmRSS")
        step.run()
        return {"growth": (_status("VmHWM") - before) / MEGABYTE, "before": before / MEGABYTE}


def _status(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) * 1024 for line in lines if line.startswith(name + ":"))


if __name__ == "__main__":
    job = json.loads(sys.argv[1])
    print(json.dumps({"cold": cold, "memory": memory}[job.pop("what")](**job)))
