"""A model of a table: its columns, its network, and how it was judged, in one file."""

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
import torch

import superpose
from superpose.estimators import KANClassifier, KANRegressor
from superpose.models import KAN
from superpose.storage import load, read_metadata, save
from superpose.tabular.inputs import Inputs
from superpose.tabular.reading import InputError, require_columns, shorten
from superpose.tabular.target import Target
from superpose.tabular.verdict import Score, score, score_baselines, verdict

CONTENT = "superpose table model"
"""What the metadata of a file say that it is."""

FEWEST_ROWS = 10
"""Rows below which there is nothing to fit and judge."""


@dataclass(frozen=True)
class Pipeline:
    """From rows of a table to predictions.

    Attributes:
        inputs: What becomes of each column.
        target: What is predicted.
        network: The fitted network.
        record: How it was fitted and judged, as JSON can hold it.
    """

    inputs: Inputs
    target: Target
    network: KAN
    record: dict[str, Any]

    def outputs(self, x: np.ndarray) -> np.ndarray:
        """Predicted numbers, or a probability per class, for encoded inputs."""
        kind = next(self.network.parameters())
        with torch.no_grad():
            rows = self.network(torch.as_tensor(x, dtype=kind.dtype, device=kind.device)).cpu().double()
        return (rows.softmax(-1) if self.target.classes else rows[:, 0]).numpy()

    def predict(self, frame: Any) -> tuple[dict[str, list[Any]], dict[str, int]]:
        """Columns of predictions for the rows of a table, and how many missing values were filled in where.

        Raises:
            InputError: If the table lacks a column, or holds what the model cannot take.
        """
        x, holes = self.inputs.encode(frame)
        outputs = self.outputs(x)
        if not self.target.classes:
            return {f"{self.target.name}_predicted": outputs.tolist()}, holes
        labels = [self.target.classes[n] for n in outputs.argmax(1)]
        return {
            f"{self.target.name}_predicted": labels,
            f"{self.target.name}_probability": outputs.max(1).tolist(),
        }, holes

    def score(self, frame: Any) -> Score | None:
        """How good the predictions are, where the table has the target and it makes sense."""
        if self.target.name not in frame.columns or frame[self.target.name].isna().any():
            return None
        try:
            y = self.target.encode(frame[self.target.name])
        except InputError:
            return None
        return score("this model", self.outputs(self.inputs.encode(frame)[0]), y, 0.0)

    def save(self, path: str) -> None:
        """Write everything to one file."""
        metadata = {
            "content": CONTENT,
            "inputs": self.inputs.to_json(),
            "target": {"name": self.target.name, "classes": list(self.target.classes), "reason": self.target.reason},
            "record": self.record,
        }
        try:
            save(self.network, path, metadata)
        except OSError as error:
            raise InputError(f"{path} cannot be written: {error.strerror or error}.") from None

    @classmethod
    def load(cls, path: str) -> "Pipeline":
        """The inverse of `save`.

        Raises:
            InputError: If the file is missing, damaged, or holds no model of a table.
        """
        try:
            metadata, network = read_metadata(path), load(path)
        except (ValueError, OSError) as error:
            raise InputError(str(error)) from None
        if not (is_pipeline(metadata) and isinstance(network, KAN)):
            raise InputError(
                f"{path} holds a network but not the columns of a table, so it was not written by 'superpose fit'; "
                "load it in Python with superpose.load."
            )
        target = metadata["target"]
        return cls(
            Inputs.from_json(metadata["inputs"]),
            Target(target["name"], tuple(target["classes"]), target["reason"]),
            network,
            metadata["record"],
        )


def is_pipeline(metadata: Mapping[str, Any]) -> bool:
    """Whether these are the metadata of a `Pipeline`."""
    return metadata.get("content") == CONTENT


@dataclass(frozen=True)
class Job:
    """What a user asked for.

    Attributes:
        target: The column to predict.
        task: "regression", "classification" or "auto".
        drop: Columns to leave out.
        holdout: Share of the rows that judge and are not fitted; 0 for none.
        max_time: Seconds for the fit of the network, or None.
        seed: Decides which rows are held out, and every other choice of chance.
    """

    target: str | None
    task: str = "auto"
    drop: tuple[str, ...] = ()
    holdout: float = 0.2
    max_time: float | None = None
    seed: int = 0


@dataclass(frozen=True)
class Table:
    """A table ready to be fitted.

    Attributes:
        inputs: What becomes of each column.
        target: What is predicted.
        x: The inputs of the network.
        y: Numbers or class numbers.
        held: Which rows are held out.
        dropped: Rows that were left out because their target is missing.
    """

    inputs: Inputs
    target: Target
    x: np.ndarray
    y: np.ndarray
    held: np.ndarray
    dropped: int


def check(frame: Any, job: Job) -> None:
    """Refuse what no table can be asked for.

    Raises:
        InputError: If an option makes no sense, or the table lacks a column it names.
    """
    if not 0 <= job.holdout <= 0.9:
        raise InputError(f"--holdout is a share of the rows from 0 to 0.9, not {job.holdout:g}.")
    if job.max_time is not None and not job.max_time > 0:
        raise InputError(f"--max-time is a number of seconds above 0, not {job.max_time:g}.")
    if not 0 <= job.seed < 2**32:
        raise InputError(f"--seed is a whole number from 0 to {2**32 - 1}, not {job.seed}.")
    if job.target is None:
        raise InputError(f"name the column to predict with --target; the table has {shorten(frame.columns, 20)}.")
    require_columns(frame, [job.target], "--target names")
    require_columns(frame, job.drop, "--drop names")


def prepare(frame: Any, job: Job) -> Table:
    """Learn what to do with a table.

    Raises:
        InputError: If the table or what is asked of it makes no sense.
    """
    check(frame, job)
    present = frame[job.target].notna()
    if not present.any():
        raise InputError(f"the target {job.target!r} is empty in every row.")
    frame, dropped = frame[present], int((~present).sum())
    if len(frame) < FEWEST_ROWS:
        raise InputError(f"the table has {len(frame)} rows with a target; give it {FEWEST_ROWS} or more.")
    target = Target.learn(frame[job.target], job.task)
    inputs = Inputs.learn(frame.drop(columns=[job.target, *(name for name in job.drop if name != job.target)]))
    y = target.encode(frame[job.target])
    return Table(inputs, target, inputs.encode(frame)[0], y, held_out(y, target, job), dropped)


def fit_pipeline(table: Table, job: Job) -> tuple[Pipeline, list[Score]]:
    """Fit the network and the baselines to the rows that are not held out, and score all of them on those that are.

    The network that is judged is the one that is kept: it is never fitted to the held-out rows. Medians of missing
    values and the levels of text come from all rows; held-out targets enter nothing.
    """
    kind = KANClassifier if table.target.classes else KANRegressor
    model = kind(random_state=job.seed, max_time=job.max_time)
    start = perf_counter()
    model.fit(table.x[~table.held], table.y[~table.held])
    seconds = perf_counter() - start
    record = {
        "rows": int((~table.held).sum()),
        "held_out": int(table.held.sum()),
        "seed": job.seed,
        "seconds": round(seconds, 3),
        "versions": {
            "superpose": superpose.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }
    pipeline = Pipeline(table.inputs, table.target, model.model_, record)
    if not table.held.any():
        return pipeline, []
    own = score("KAN (this model)", pipeline.outputs(table.x[table.held]), table.y[table.held], seconds)
    others = score_baselines(table.x, table.y, table.held, len(table.target.classes), job.seed)
    record["scores"] = {each.name: each.measures for each in (*others, own)}
    record["verdict"] = verdict(own, others, table.target.name)
    return pipeline, [*others, own]


def held_out(y: np.ndarray, target: Target, job: Job) -> np.ndarray:
    """Rows drawn by chance; of every class the same share, and never all."""
    generator = np.random.default_rng(job.seed)
    held = np.zeros(len(y), dtype=bool)
    if job.holdout == 0:
        return held
    for group in np.unique(y) if target.classes else [None]:
        rows = generator.permutation(np.flatnonzero(y == group) if group is not None else len(y))
        count = int(len(rows) * job.holdout + generator.random())  # small classes get their share on average
        held[rows[: min(max(count, 0), len(rows) - 1)]] = True
    if not held.any():
        held[generator.integers(len(y))] = True
    return held
