"""From a table in a file to formulas that are judged: what `superpose discover` does, without the printing."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from time import perf_counter
from typing import Any

import numpy as np

from superpose.estimators import KANSymbolicRegressor
from superpose.symbolic.records import latex_table, records, spelled
from superpose.tabular.inputs import Inputs, Number
from superpose.tabular.pipeline import FEWEST_ROWS, Job, check, held_out
from superpose.tabular.reading import InputError
from superpose.tabular.target import Target
from superpose.tabular.verdict import Score, formula_verdict, score, score_baselines

MOST_ROWS = 10_000
"""Rows that are searched; more make the search slower and the formula hardly better."""
MAX_TIME = 60.0
"""Seconds of a search where nobody says how many."""
ENDINGS = (".json", ".csv", ".tex")
"""Kinds of files that formulas are written to."""


@dataclass(frozen=True)
class Numbers:
    """The columns of numbers of a table, complete rows alone.

    Attributes:
        target: The column to find a formula for.
        columns: The names of the others by their symbols.
        x: Their values.
        y: Values of the target.
        held: Which rows are held out.
        dropped: Rows that were left out because a value is missing.
        left_out: Columns that are not used, and why.
    """

    target: str
    columns: dict[str, str]
    x: np.ndarray
    y: np.ndarray
    held: np.ndarray
    dropped: int
    left_out: dict[str, str]

    @property
    def searched(self) -> int:
        """Number of rows that are searched."""
        return min(MOST_ROWS, int((~self.held).sum()))


@dataclass(frozen=True)
class Discovery:
    """Formulas and what is known about them.

    Attributes:
        model: The regressor that found them.
        rows: The formulas as JSON can hold them, with `test_loss`, the mean square on the held-out rows.
        scores: Of the baselines and of the picked formula on the held-out rows; empty if there are none.
        verdict: A sentence on them.
        numbers: The table.
    """

    model: KANSymbolicRegressor
    rows: list[dict[str, Any]]
    scores: list[Score]
    verdict: str
    numbers: Numbers

    @property
    def picked(self) -> dict[str, Any]:
        """The formula that was picked."""
        return next(row for row in self.rows if row["picked"])

    def write(self, kind: str) -> str:
        """All formulas as the text of a file of a kind, one of `ENDINGS`."""
        import pandas as pd

        if kind == ".tex":
            return latex_table(self.rows) + "\n"
        if kind == ".csv":
            return str(pd.DataFrame(self.rows).drop(columns=["text", "mathml"]).to_csv(index=False))
        document = {
            "target": self.numbers.target,
            "columns": self.numbers.columns,
            "held_out": int(self.numbers.held.sum()),
            "stopped": self.model.stopped_,
            "scores": {each.name: each.measures for each in self.scores},
            "verdict": self.verdict,
            "formulas": self.rows,
        }
        return json.dumps(_plain(document), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def prepare_numbers(frame: Any, job: Job) -> Numbers:
    """The columns of a table that formulas can be made of.

    Raises:
        InputError: If the table or what is asked of it makes no sense.
    """
    check(frame, job)
    assert job.target is not None  # or it would have been refused
    inputs = Inputs.learn(frame.drop(columns=[job.target, *(name for name in job.drop if name != job.target)]))
    left_out = dict(inputs.left_out)
    left_out |= {c.name: "it is text, and formulas take numbers" for c in inputs.columns if not isinstance(c, Number)}
    names = [column.name for column in inputs.columns if isinstance(column, Number)]
    complete = frame[[*names, job.target]].notna().all(axis=1)
    rows = frame[complete]
    if len(rows) < FEWEST_ROWS:
        raise InputError(
            f"{_complete(frame, [*names, job.target])}; {FEWEST_ROWS} or more are needed.{_way_out(frame, names)}"
        )
    same = [name for name in names if rows[name].nunique() < 2]
    left_out |= dict.fromkeys(same, "it is the same in every row without missing values")
    names = [name for name in names if name not in same]
    if not names:
        why = "; ".join(f"{name!r}: {reason}" for name, reason in left_out.items())
        raise InputError(f"the table has no column of numbers to make a formula of ({why}).")
    target = Target.learn(rows[job.target], "regression")
    x = Inputs(tuple(c for c in inputs.columns if c.name in names), {}).encode(rows)[0]
    y = target.encode(rows[job.target])
    dropped = len(frame) - len(rows)
    return Numbers(target.name, spelled(names), x, y, held_out(y, target, job), dropped, left_out)


def compare(numbers: Numbers, job: Job) -> list[Score]:
    """How the baselines do on the held-out rows; nothing if there are none."""
    held = numbers.held
    return score_baselines(numbers.x, numbers.y, held, 0, job.seed) if held.any() else []


def discover(numbers: Numbers, job: Job, others: list[Score], say: Callable[[str], None]) -> Discovery:
    """Search formulas on the rows that are not held out, and judge them on those that are, beside the baselines.

    Args:
        numbers: The table.
        job: What was asked for.
        others: What `compare` gave.
        say: Gets a line whenever the search turns to something else.
    """
    held = numbers.held
    start = perf_counter()
    fitted = np.random.default_rng(job.seed).permutation(np.flatnonzero(~held))[: numbers.searched]
    model = KANSymbolicRegressor(max_time=job.max_time or MAX_TIME, random_state=job.seed, verbose=say)
    model.fit(numbers.x[fitted], numbers.y[fitted], variable_names=numbers.columns)
    seconds = perf_counter() - start
    front = model.front_
    picked = front.choice()
    rows = records(front, picked, numbers.columns)
    if not others:
        return Discovery(model, rows, [], "Nothing was held out, so nobody knows how good it is.", numbers)
    with np.errstate(all="ignore"):
        tests = [score("formula", formula(numbers.x[held]), numbers.y[held], seconds) for formula in front]
    rows = [{**row, "test_loss": float(test.losses.mean())} for row, test in zip(rows, tests, strict=True)]
    own = tests[picked]
    said = formula_verdict(own, tests[:picked], others, numbers.target, last_digit(numbers.y))
    return Discovery(model, rows, [*others, own], said, numbers)


def last_digit(values: np.ndarray) -> float:
    """What the last decimal of some numbers counts, such as 0.01 for prices; 0 if they have all digits of a float.

    Example:
        >>> last_digit(np.array([0.25, 3.1])), last_digit(np.array([1 / 3]))
        (0.01, 0.0)
    """
    for decimals in range(10):
        if (np.abs(values - values.round(decimals)) <= 1e-12 * np.abs(values)).all():
            return float(10.0**-decimals)
    return 0.0


def _complete(frame: Any, names: list[str]) -> str:
    count = int(frame[names].notna().all(axis=1).sum())
    return f"only {count} of {len(frame)} rows have a value in every column that is used"


def _way_out(frame: Any, names: list[str]) -> str:
    """The column whose holes cost the most rows."""
    holes = {name: int(frame[name].isna().sum()) for name in names}
    worst = max(holes, key=holes.__getitem__, default=None)
    if worst is None or not holes[worst]:
        return ""
    return f" {worst!r} is missing in {holes[worst]} rows; leave it out with --drop {quote(worst)}."


def _plain(value: Any) -> Any:
    """A document without numbers that JSON does not know."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def checked_ending(path: Path) -> str:
    """The ending of a file for formulas.

    Raises:
        InputError: If nobody knows what to write to such a file.
    """
    if path.suffix.lower() not in ENDINGS:
        raise InputError(
            f"--out {path} should end in {', '.join(ENDINGS[:-1])} or {ENDINGS[-1]}, which says what is written."
        )
    return path.suffix.lower()
