"""The column to predict: numbers, or one of some classes."""

from collections import Counter
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from superpose.tabular.inputs import as_numbers, as_text, is_number
from superpose.tabular.reading import InputError, shorten

Task = Literal["regression", "classification"]

MOST_CLASSES = 100
"""Classes beyond which a column is taken for names."""


@dataclass(frozen=True)
class Target:
    """What is predicted.

    Attributes:
        name: The column.
        classes: The classes in the order of the network's outputs; empty for numbers.
        reason: Why it was taken for numbers or for classes, as a clause.
    """

    name: str
    classes: tuple[str, ...]
    reason: str

    @property
    def task(self) -> Task:
        """What kind of problem it is."""
        return "classification" if self.classes else "regression"

    @classmethod
    def learn(cls, series: Any, task: str) -> "Target":
        """Numbers or classes, as asked or else as the column looks.

        Args:
            series: The column, without missing values.
            task: "regression", "classification", or "auto" for the type of the column to decide.

        Raises:
            InputError: If there is nothing to predict in it, or it does not suit the task.
        """
        name = str(series.name)
        distinct = series.nunique()
        if distinct < 2:
            raise InputError(
                f"the target {name!r} is {str(series.iloc[0])!r} in every row, so there is nothing to predict."
            )
        number = is_number(series)
        if task == "auto":
            task = "regression" if number and distinct > 2 else "classification"
            reason = _reason(number, distinct)
        else:
            reason = "as asked"
        if task == "regression":
            as_numbers(series)
            return cls(name, (), reason)
        counts = Counter(_labels(series))
        labels = sorted(counts)
        if len(labels) > MOST_CLASSES:
            way = "ask for --task regression" if number else "choose a target with fewer"
            raise InputError(f"the target {name!r} has {len(labels)} classes, of {len(series)} rows; {way}.")
        single = [label for label in labels if counts[label] == 1]
        if single:
            raise InputError(
                f"of the target {name!r} there is only one row for {shorten(single, 3)}; "
                "a class needs two rows or more, so leave such rows out."
            )
        return cls(name, tuple(labels), reason)

    def encode(self, series: Any) -> np.ndarray:
        """Numbers, or class numbers.

        Raises:
            InputError: If the column holds something else.
        """
        if not self.classes:
            return as_numbers(series)
        order = {label: n for n, label in enumerate(self.classes)}
        labels = _labels(series)
        unknown = [label for label in dict.fromkeys(labels) if label not in order]
        if unknown:
            raise InputError(f"the target {self.name!r} holds {unknown[0]!r}, which the model was not fitted on.")
        return np.array([order[label] for label in labels])


def _reason(number: bool, distinct: int) -> str:
    if not number:
        return "because it is text"
    return "because it has two values" if distinct == 2 else "because it holds numbers"


def _labels(series: Any) -> list[str]:
    """Classes as text; whole numbers are written without a decimal point."""
    from pandas.api.types import is_float_dtype

    if is_float_dtype(series) and bool((series == series.round()).all()):
        series = series.astype("int64")
    return as_text(series).tolist()
