"""Columns of a table as the numbers a network takes, learned from one table and used on others."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from shlex import quote
from typing import Any

import numpy as np

from superpose.tabular.reading import InputError, near, require_columns, shorten

MOST_LEVELS = 50
"""Different values up to which a column of text becomes columns of 0 and 1. More are names, dates or numbers with units."""

MISSING = "(missing)"
"""The level of text that is missing, where the training table had such."""


@dataclass(frozen=True)
class Number:
    """A column of numbers; the median of the rows it was learned from stands in for a missing one."""

    name: str
    fill: float
    holes: int

    @property
    def outputs(self) -> list[str]:
        """Names of the columns it becomes."""
        return [self.name]

    def encode(self, series: Any) -> tuple[np.ndarray, int]:
        """One column of numbers, and how many were missing."""
        values = as_numbers(series)
        holes = np.isnan(values)
        return np.where(holes, self.fill, values)[:, None], int(holes.sum())

    def describe(self) -> tuple[str, str]:
        """What it is, and what happens to holes, in words."""
        return "numbers", f"{self.fill:.6g}"


@dataclass(frozen=True)
class Text:
    """A column of text with few different values; each becomes a column of 0 and 1, but two need only one column."""

    name: str
    levels: tuple[str, ...]
    fill: str
    holes: int

    @property
    def outputs(self) -> list[str]:
        """Names of the columns it becomes."""
        return [f"{self.name}={level}" for level in self._shown]

    @property
    def _shown(self) -> tuple[str, ...]:
        return self.levels[1:] if len(self.levels) == 2 else self.levels

    def encode(self, series: Any) -> tuple[np.ndarray, int]:
        """Columns of 0 and 1, and how many values were missing."""
        holes = series.isna().to_numpy()
        values = np.where(holes, self.fill, as_text(series))
        unknown = [value for value in dict.fromkeys(values.tolist()) if value not in self.levels]
        if unknown:
            others = f" and {len(unknown) - 1} more values" if len(unknown) > 1 else ""
            raise InputError(
                f"column {self.name!r} holds {unknown[0]!r}{others}, which the model was not fitted on "
                f"({near(unknown[0], self.levels) or f'it knows {shorten(self.levels)}'})."
            )
        return (values[:, None] == np.array(self._shown, dtype=object)[None, :]).astype(float), int(holes.sum())

    def describe(self) -> tuple[str, str]:
        """What it is, and what happens to holes, in words."""
        return f"text: {shorten(self.levels, 4)}", repr(self.fill)


@dataclass(frozen=True)
class Inputs:
    """All columns a network takes, in its order.

    Attributes:
        columns: What is done to each column.
        left_out: Columns that are not used, and why.
    """

    columns: tuple[Number | Text, ...]
    left_out: dict[str, str]

    @classmethod
    def learn(cls, frame: Any) -> "Inputs":
        """What to do to each column, from the rows given.

        Raises:
            InputError: If a column is empty or holds infinity, or if no column is left.
        """
        kept: list[Number | Text] = []
        left_out: dict[str, str] = {}
        for name in frame.columns:
            column = _learn_column(name, frame[name])
            if isinstance(column, str):
                left_out[name] = column
            else:
                kept.append(column)
        if not kept:
            why = "; ".join(f"{name!r}: {reason}" for name, reason in left_out.items()) or "it has no others"
            raise InputError(f"the table has no columns to predict from ({why}).")
        return cls(tuple(kept), left_out)

    @property
    def outputs(self) -> list[str]:
        """Names of the inputs of the network."""
        return [name for column in self.columns for name in column.outputs]

    @property
    def text(self) -> list[str]:
        """Columns to read as text."""
        return [column.name for column in self.columns if isinstance(column, Text)]

    def encode(self, frame: Any) -> tuple[np.ndarray, dict[str, int]]:
        """The inputs of the network, row by row, and how many values were missing in which column.

        Raises:
            InputError: If a column is missing, or holds what it did not hold in training.
        """
        require_columns(frame, [column.name for column in self.columns], "the model needs")
        parts = [column.encode(frame[column.name]) for column in self.columns]
        holes = {column.name: count for column, (_, count) in zip(self.columns, parts, strict=True) if count}
        return np.concatenate([values for values, _ in parts], axis=1), holes

    def to_json(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {"columns": [asdict(column) for column in self.columns], "left_out": self.left_out}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> "Inputs":
        """The inverse of `to_json`."""
        columns: Sequence[dict[str, Any]] = document["columns"]
        kept = [Text(**{**c, "levels": tuple(c["levels"])}) if "levels" in c else Number(**c) for c in columns]
        return cls(tuple(kept), document["left_out"])


def is_number(series: Any) -> bool:
    """Whether a column holds numbers, or true and false."""
    from pandas.api.types import infer_dtype, is_numeric_dtype

    return is_numeric_dtype(series) or infer_dtype(series, skipna=True) in ("boolean", "integer", "floating", "decimal")


def as_numbers(series: Any) -> np.ndarray:
    """A column of float64 with NaN for what is missing.

    Raises:
        InputError: If it holds text or infinity.
    """
    import pandas as pd

    numbers = pd.to_numeric(series.astype("object"), errors="coerce").astype("float64").to_numpy()
    wrong = np.flatnonzero(np.isnan(numbers) & series.notna().to_numpy())
    if len(wrong):
        raise InputError(
            f"column {series.name!r} should hold numbers, but row {wrong[0] + 1} holds {str(series.iloc[wrong[0]])!r}."
        )
    if np.isinf(numbers).any():
        rows = int(np.isinf(numbers).sum())
        raise InputError(
            f"column {series.name!r} is infinite in {rows} of {len(numbers)} rows; replace these values or leave them empty."
        )
    return numbers


def as_text(series: Any) -> np.ndarray:
    """A column as strings; what is missing becomes some string, too."""
    return series.astype("object").map(lambda value: str(value).strip()).to_numpy(dtype=object)


def _learn_column(name: str, series: Any) -> Number | Text | str:
    """What to do to a column, or why it is left out."""
    from pandas.api.types import is_datetime64_any_dtype

    holes = int(series.isna().sum())
    if holes == len(series):
        raise InputError(f"column {name!r} is empty; leave it out with --drop {quote(name)}.")
    if name.startswith("Unnamed: "):
        return "it has no name"
    if is_datetime64_any_dtype(series):
        return "it holds dates; put what matters of them (year, hour, ...) into columns of numbers"
    if is_number(series):
        values = as_numbers(series)
        present = values[~np.isnan(values)]
        return "it is the same in every row" if np.ptp(present) == 0 else Number(name, float(np.median(present)), holes)
    counts = Counter(as_text(series.dropna()))
    levels = sorted(counts)
    most_common = max(levels, key=counts.__getitem__)
    if len(levels) > MOST_LEVELS:
        return f"it is text with {len(levels)} different values, such as {most_common!r}"
    if len(levels) + bool(holes) < 2:
        return "it is the same in every row"
    known = (*levels, MISSING) if holes else tuple(levels)
    return Text(name, known, MISSING if holes else most_common, holes)
