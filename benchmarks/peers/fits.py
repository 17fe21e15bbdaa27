"""How long fits take: an iteration, a whole fit, and the first fit of a process."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch
from peers.fresh import fresh, table
from peers.rounds import Times
from peers.run import Run, verdict
from problems import EXP_SIN
from report import timed

from superpose import KAN, BSpline, KANRegressor
from superpose.fitting.bundle import Bundle
from superpose.fitting.levenberg_marquardt import Regrid, Smoothing, levenberg_marquardt
from superpose.fitting.problem import as_data, chosen_loss, scaled, set_scaling_
from superpose.fitting.staged import follow_then_adapt

TARGETS = {"step": 1.5, "problem": 500.0, "houses": 10.0, "cold": 300.0}
"""Milliseconds, but seconds for the table."""


def fits(run: Run) -> None:
    """Whole fits and their steps."""
    lines = []
    behaviours = {"grids that follow the data, as fit does it": follow_then_adapt, "grids as they are": None}
    for title, grids in behaviours.items():
        times = Times([s for seed in range(1 if run.quick else 5) for s in step_seconds(seed, 12, grids)])
        reached = verdict(times.median * 1e3, TARGETS["step"], " ms")
        lines.append([f"Levenberg-Marquardt iteration, ms; {title}", times.cell(), reached])
    X, y = table(50 if run.quick else 1000)
    times = Times([_fit_seconds(X, y, seed) for seed in range(1 if run.quick else 7)])
    lines.append(["KANRegressor().fit, ms", times.cell(), verdict(times.median * 1e3, TARGETS["problem"], " ms")])
    houses = Path(run.given.data or "", "537_houses.parquet")
    if not houses.is_file():
        run.report.text("537_houses is left out: no folder that holds it was given.")
    else:
        frame = pd.read_parquet(houses)
        X, y = frame.drop(columns="target").to_numpy(dtype=float), frame["target"].to_numpy()
        times = Times([_fit_seconds(X, y, seed) for seed in range(3)])
        reached = verdict(times.median, TARGETS["houses"], " s")
        lines.append([f"KANRegressor().fit on 537_houses, {len(X)} rows, s", times.cell(1), reached])
    run.report.text(
        f"{EXP_SIN.name}, 2-5-1, G = 5, 1000 points, float64, one network; iterations 3 to 12 from five starts. Estimators "
        "with their defaults and random_state 0, 1, ... Medians with quartiles."
    )
    run.report.table(["", "reached", "target"], lines)


def step_seconds(seed: int, steps: int, grids: Callable[..., Regrid] | None) -> list[float]:
    """Seconds of each iteration but the first two."""
    x, y = EXP_SIN.sample(1000, seed)
    model = KAN((2, 5, 1), BSpline(5), generator=torch.Generator().manual_seed(seed))
    loss = chosen_loss("mse", model)
    data = as_data(model, loss, x, y)
    set_scaling_(model, data, loss)
    data = scaled(model, data, loss)
    regrid = (lambda _step, _bundle: None) if grids is None else grids(0, steps, data)
    states = levenberg_marquardt(Bundle.of([model]), data, loss, Smoothing(), regrid)
    seconds = []
    for _ in range(steps):
        with timed() as clock:
            next(states)
        seconds.append(clock.seconds)
    return seconds[2:]


def _fit_seconds(X: object, y: object, seed: int) -> float:
    with timed() as clock:
        KANRegressor(random_state=seed).fit(X, y)
    return clock.seconds


def cold(run: Run) -> None:
    """The first fit of a process."""
    lines = []
    for title, estimator in (("superpose.fit", False), ("KANRegressor().fit", True))[: 1 if run.quick else 2]:
        job = {"what": "cold", "rows": 20 if run.quick else 200, "threads": torch.get_num_threads()}
        job["estimator"] = estimator
        found = [fresh(dict(job)) for _ in range(1 if run.quick else 6)]
        found = found[1:] or found  # the first one finds files that no one has read yet
        whole = Times([f["import"] + f["first"] for f in found])
        parts = [Times([f[part] for f in found]).cell() for part in ("import", "first", "second")]
        lines.append([title, whole.cell(), *parts, verdict(whole.median * 1e3, TARGETS["cold"], " ms")])
    run.report.text(
        f"A fresh process, PyTorch imported before the clock starts, {EXP_SIN.name} at 200 points; {len(found)} processes. "
        "The estimator's import brings in scikit-learn."
    )
    run.report.table(["", "import and first fit, ms", "import", "first fit", "second fit", "target"], lines)
