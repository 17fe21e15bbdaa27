"""Symbolic regression: formulas found again, their size, and real tables; beside gplearn, Operon and pykan.

Part A: seven formulas of KAN papers. B: the hundred equations of the AI-Feynman set with noise on the training targets, judged
by SRBench's criterion. E: twenty harder equations from other books, in the same way. C: how long the formulas of B are beside the truth. D: real tables, a formula beside gradient boosting.
Every fit is a process of its own with one thread and a time limit. Rows are appended to a file as they come; what is in it
already is not run again, so that an interrupted run goes on where it stopped. Start with a new file for a new version.

    python benchmarks/symbolic.py --part A --seeds 10
    python benchmarks/symbolic.py --part B C --levels 0 0.01 --every 5 --peers PYTHON --methods superpose pyoperon
    SUPERPOSE_DATA=FOLDER python benchmarks/symbolic.py --part D --seeds 5
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import feynman_equations
import numpy as np
import pandas as pd
import symbolic_judge
from feynman_equations import BONUS, EQUATIONS, FEYNMAN, PAPERS
from report import HERE, Report, options
from sklearn.datasets import load_diabetes
from sklearn.model_selection import train_test_split
from symbolic_tables import write

import superpose

TABLES = ("230_machine_cpu", "1027_ESL", "529_pollen", "503_wind", "522_pm10")
METHODS = ("superpose", "gplearn", "pyoperon", "pykan")
LEVELS = (0.0, 0.001, 0.01, 0.1)
TEST_SEED = 10_000
NODES = 30
"""Most nodes of a formula for a real table, told to the methods that know such a limit."""

GRACE = 60.0
"""Seconds beyond twice the limit after which a fit is ended from outside."""

ALONE = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Task:
    """One fit, and what it is known by in the file of rows."""

    part: str
    name: str
    level: float
    seed: int
    method: str
    seconds: float
    rows: int


def tasks(given: argparse.Namespace) -> list[Task]:
    """All that was asked for, seed by seed, so that the first hours give a whole picture."""
    found = []
    methods = [method for method in given.methods if obstacle(method, given) is None]
    for part, names, seeds, levels in _parts(given):
        for seed in range(seeds):
            found += [
                Task(part, name, level, seed, method, given.seconds, given.rows)
                for level in levels
                for name in names
                for method in [*methods, *(["boosting"] if part == "D" else [])]
            ]
    return found


def _parts(given: argparse.Namespace) -> Iterable[tuple[str, list[str], int, Sequence[float]]]:
    """Names, seeds and noise levels of the parts that have fits of their own."""
    if "A" in given.part:
        yield "A", _some([equation.name for equation in PAPERS], given), given.seeds, (0.0,)
    if "B" in given.part or "C" in given.part:
        yield "B", _some([equation.name for equation in FEYNMAN], given), given.feynman_seeds, given.levels
    if "E" in given.part:
        yield "E", _some([equation.name for equation in BONUS], given), given.feynman_seeds, given.levels
    if "D" in given.part:
        names = ["diabetes"] if given.data is None else list(TABLES)
        yield "D", _some(names, given), given.seeds, (0.0,)


def _some(names: list[str], given: argparse.Namespace) -> list[str]:
    if given.only:
        return [name for name in names if name in given.only]
    return names[:: given.every]


def obstacle(method: str, given: argparse.Namespace) -> str | None:
    """Why a method cannot run here."""
    if method == "superpose":
        has = hasattr(superpose, "KANSymbolicRegressor")
        return None if has else f"superpose {superpose.__version__} has no KANSymbolicRegressor"
    return None if given.peers else "no interpreter was named with --peers"


def data(task: Task, given: argparse.Namespace) -> dict[str, np.ndarray]:
    """Training and test table of a task; noise is on the training targets only."""
    if task.part == "D":
        return _table(task, given.data)
    equation = EQUATIONS[task.name]
    x, y = equation.sample(task.rows, task.seed)
    x_test, y_test = equation.sample(given.test_rows, TEST_SEED + task.seed)
    noise = np.random.default_rng([task.seed, 1]).standard_normal(task.rows)
    y = y + task.level * np.sqrt(np.square(y).mean()) * noise
    return {
        "X": x,
        "y": y,
        "X_test": x_test,
        "y_test": y_test,
        "names": np.array(equation.names),
    }


def _table(task: Task, folder: Path | None) -> dict[str, np.ndarray]:
    """Three quarters of a real table to train on, a quarter held out."""
    if folder is None:
        x, y = load_diabetes(return_X_y=True, as_frame=True)
    else:
        frame = pd.read_parquet(folder / f"{task.name}.parquet")
        x, y = frame.drop(columns="target"), frame["target"]
    names = [name if name.isidentifier() else f"x{i + 1}" for i, name in enumerate(map(str, x.columns))]
    parts = train_test_split(x.to_numpy(float), y.to_numpy(float), test_size=0.25, random_state=task.seed)
    return dict(zip(("X", "X_test", "y", "y_test"), parts, strict=True)) | {"names": np.array(names)}


def perform(task: Task, given: argparse.Namespace) -> dict[str, object]:
    """Fit and judge, each in a process of its own, and give back a row for the file."""
    row: dict[str, object] = asdict(task)
    own = task.method in ("superpose", "boosting")
    python = sys.executable if own else given.peers
    environment = os.environ | ALONE | {"PYTHONPATH": str(Path(superpose.__file__).parents[1]) if own else ""}
    with tempfile.TemporaryDirectory() as folder:
        arrays, result = Path(folder, "data.npz"), Path(folder, "result.json")
        np.savez(arrays, **data(task, given))
        script = HERE / "peers" / f"symbolic_{task.method}.py"
        command = [python, str(script), str(arrays), "--json", str(result)]
        command += ["--seconds", str(task.seconds), "--seed", str(task.seed)]
        command += ["--nodes", str(NODES)] if task.part == "D" else []
        error = _process(command, folder, environment, 2 * task.seconds + GRACE)[1]
        if not result.exists():
            return row | {"error": error or "it ended without a result"}
        found = json.loads(result.read_text())
        row |= {name: found[name] for name in ("formula", "error", "version")}
        row |= {"took": found["seconds"], "processor": found["processor"]}
        command = [sys.executable, str(HERE / "symbolic_judge.py"), str(arrays), str(result)]
        command += ["--seconds", str(given.judge_seconds), *([] if task.part == "D" else ["--equation", task.name])]
        judged, error = _process(command, folder, os.environ | ALONE, 3 * given.judge_seconds + GRACE)
        return row | (json.loads(judged) if error is None else {"how": f"judging failed: {error}"})


def _process(command: list[str], folder: str, environment: dict[str, str], seconds: float) -> tuple[str, str | None]:
    """What a process prints, and why it ended badly if it did."""
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment, timeout=seconds, capture_output=True, text=True, check=False
        )
    except subprocess.TimeoutExpired:
        return "", f"ended after {seconds:g} s"
    last = (done.stderr.strip().splitlines() or ["no message"])[-1]
    return done.stdout, None if done.returncode == 0 else f"ended with {done.returncode}: {last[:200]}"


def run(wanted: Sequence[Task], given: argparse.Namespace) -> list[dict[str, object]]:
    """The rows of all tasks: those that the file has, and those that are missing, appended as they come."""
    known = {key(row): row for row in _read(given.rows_file) if not (given.retry and row.get("error"))}
    missing = [task for task in wanted if key(asdict(task)) not in known]
    print(f"... {len(wanted)} fits, {len(wanted) - len(missing)} of them known", flush=True)
    lock = threading.Lock()

    def one(task: Task) -> None:
        began = time.perf_counter()
        row = perform(task, given)
        with lock:
            known[key(row)] = row
            _append(given.rows_file, row)
            mark = "solved" if row.get("solved") else str(row.get("how") or row.get("error") or "done")
            about = f"{task.part} {task.name} noise {task.level:g} seed {task.seed} {task.method}"
            print(f"... {about}: {mark}, R2 {row.get('r2')}, {time.perf_counter() - began:.0f} s", flush=True)

    if not given.report_only:
        pool = ThreadPoolExecutor(given.jobs)
        try:
            for future in [pool.submit(one, task) for task in missing]:
                future.result()
        finally:
            pool.shutdown(cancel_futures=True)
    return [known[key(asdict(task))] for task in wanted if key(asdict(task)) in known]


def key(row: dict[str, object]) -> tuple[object, ...]:
    return tuple(row[name] for name in Task.__dataclass_fields__)


def _read(path: Path | None) -> list[dict[str, object]]:
    """The rows of a file; a last line that an interruption cut short is not one."""
    if path is None or not path.exists():
        return []
    found = []
    for line in path.read_text().splitlines():
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            print("... a line that was cut short is left out", flush=True)
    return found


def _append(path: Path | None, row: dict[str, object]) -> None:
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        cut = path.exists() and not path.read_bytes().endswith(b"\n")
        with path.open("a") as file:
            file.write(("\n" if cut else "") + json.dumps(row) + "\n")


def parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = options(__doc__, seeds=10)
    parser.add_argument("--part", nargs="+", default=list("ABCDE"), choices=list("ABCDE"))
    parser.add_argument("--feynman-seeds", type=int, default=1, help="seeds of parts B and C (default 1)")
    parser.add_argument("--levels", nargs="+", type=float, default=list(LEVELS), help="noise beside the RMS of y")
    parser.add_argument("--methods", nargs="+", default=["superpose"], choices=METHODS)
    parser.add_argument("--peers", default=os.environ.get("SUPERPOSE_PEERS"), help="interpreter that has the peers")
    parser.add_argument("--seconds", type=float, default=60.0, help="for one fit (default 60)")
    parser.add_argument("--judge-seconds", type=float, default=60.0, help="for judging one formula (default 60)")
    parser.add_argument("--rows", type=int, default=2000, help="training rows of A and B (default 2000)")
    parser.add_argument("--test-rows", type=int, default=1000, help="default 1000")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these equations or tables")
    parser.add_argument("--every", type=int, default=1, help="every so many of the equations (default all)")
    parser.add_argument("--jobs", type=int, default=2, help="fits at a time (default 2)")
    parser.add_argument("--rows-file", type=Path, help="default: results/symbolic.jsonl; none with --quick")
    parser.add_argument("--retry", action="store_true", help="run again what crashed or was ended")
    parser.add_argument("--report-only", action="store_true", help="report the rows that are there, run nothing")
    parser.add_argument("--data", default=os.environ.get("SUPERPOSE_DATA"), help="folder of the tables of part D")
    given = parser.parse_args(argv)
    if given.quick:
        given.only, given.levels, given.rows, given.test_rows = ["product", "I.12.1", "diabetes"], [0.01], 100, 50
        given.seeds, given.feynman_seeds, given.seconds, given.data, given.peers = 1, 1, 2.0, None, None
        given.methods, given.rows_file = ["superpose"], None
    elif given.rows_file is None:
        given.rows_file = HERE / "results" / "symbolic.jsonl"
    if "D" in given.part and given.data is None and not given.quick:
        parser.error("name the folder of the tables with --data or SUPERPOSE_DATA, or leave out part D")
    given.data = given.data and Path(given.data)
    given.rows_file = given.rows_file and given.rows_file.resolve()
    return given


def main(argv: Sequence[str] | None = None) -> None:
    given = parsed(argv)
    feynman_equations.check(100 if given.quick else 10_000)
    symbolic_judge.check()
    report = Report("symbolic", "Symbolic regression: formulas found again, and formulas of real tables", given)
    obstacles = {method: why for method in given.methods if (why := obstacle(method, given)) is not None}
    write(report, run(tasks(given), given), given, obstacles)
    report.close()


if __name__ == "__main__":
    main()
