"""Numbers or classes: what a column is taken for."""

import pandas as pd
import pytest

from superpose.tabular import InputError, Job, prepare
from superpose.tabular.target import Target


@pytest.mark.parametrize(
    ("values", "task", "expected"),
    [
        ([1.5, 2, 3, 4, 5] * 4, "auto", "regression"),
        (["a", "b", "c", "d", "d"] * 4, "auto", "classification"),
        ([0, 1, 1, 0, 1] * 4, "auto", "classification"),
        ([True, False, True, True, None] * 4, "auto", "classification"),
        ([1, 2, 3, 4, 5] * 4, "classification", "classification"),
        ([0, 1, 1, 0, 1] * 4, "regression", "regression"),
    ],
)
def test_the_type_of_the_target_decides_the_task_unless_asked(values, task, expected):
    frame = pd.DataFrame({"x": range(20), "y": values})
    table = prepare(frame, Job("y", task=task))
    assert table.target.task == expected
    assert table.dropped == frame["y"].isna().sum()


def test_whole_numbers_are_classes_without_a_decimal_point():
    frame = pd.DataFrame({"x": range(20), "y": [1.0, 2.0, 3.0, None] * 5})
    assert prepare(frame, Job("y", task="classification")).target.classes == ("1", "2", "3")


def test_targets_are_encoded_as_they_were_learned():
    target = Target.learn(pd.Series(["b", "a", "b", "a"], name="y"), "auto")
    assert target.encode(pd.Series(["a", "b"], name="y")).tolist() == [0, 1]
    with pytest.raises(InputError, match="'c', which the model was not fitted on"):
        target.encode(pd.Series(["c"], name="y"))
