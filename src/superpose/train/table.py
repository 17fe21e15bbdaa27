"""What is measured while training: a table in a file, and curves for TensorBoard."""

import csv
import io
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only

from superpose.storage import write_whole


class MetricsTable(Logger):
    """`metrics.csv`: a row for everything that is logged, on the disk at once; `step` counts the updates so far.

    Args:
        path: The file. One that exists is continued.
        step: Steps of the checkpoint that the run continues from: rows that it will write again are left out.
    """

    def __init__(self, path: Path, step: int = 0) -> None:
        super().__init__()
        self._path, self._step = path, step
        self._columns: list[str] = []

    @property
    def name(self) -> None:
        """Runs are folders; tables need no name."""

    @property
    def version(self) -> None:
        """Nor a version."""

    @rank_zero_only
    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        """They are in `config.yaml`."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Append a row; new columns go to the right, and the file is then written anew."""
        if not self._columns:
            self._begin()
        row = {"step": step, **metrics}
        new = [name for name in row if name not in self._columns]
        if new:
            rows = read_rows(self._path)
            self._columns += new
            write_whole(self._path, _text(self._columns, [*rows, row], header=True).encode())
        else:
            with self._path.open("a", encoding="utf-8", newline="") as file:
                file.write(_text(self._columns, [row]))

    def _begin(self) -> None:
        """Keep what the continued run will not write again."""
        rows = [row for row in read_rows(self._path) if self._is_done(row)]
        self._columns = list(dict.fromkeys(name for row in rows for name in row))
        if self._path.exists():
            write_whole(self._path, _text(self._columns, rows, header=True).encode())

    def _is_done(self, row: dict[str, str]) -> bool:
        """A validation is logged after an update, all else before the one it leads to."""
        judged = any(value for name, value in row.items() if name.startswith("val/"))
        return int(row["step"]) < self._step + judged


class Curves(TensorBoardLogger):
    """What TensorBoard shows; there is no file before `begin`, so that a run which fails before leaves none.

    Args:
        folder: Of the run.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(str(folder), name="", version="")
        self._has_begun = False

    def begin(self, folder: Path) -> None:
        """Write to this folder from now on."""
        self._root_dir, self._has_begun = str(folder), True

    @property
    def experiment(self) -> Any:
        """The writer of the file. Lightning asks whether there is one before it opens the data, and does without."""
        if not self._has_begun:
            raise AttributeError("the training has not begun, so there is no file of curves yet.")
        return super().experiment

    def save(self) -> None:
        """Flush, and write no file of hyperparameters: they are in `config.yaml`."""
        if self._has_begun:
            self.experiment.flush()


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a table; none if there is no file, and not a last one that was cut off."""
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    return list(csv.DictReader(text[: text.rfind("\n") + 1].splitlines()))


def _text(columns: list[str], rows: list[Any], *, header: bool = False) -> str:
    file = io.StringIO()
    writer = csv.DictWriter(file, columns, lineterminator="\n")
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()
