"""What is searched, and what is said about what was found."""

import numpy as np
import pandas as pd
import pytest

from superpose.tabular import InputError, Job, prepare_numbers
from superpose.tabular.discovery import last_digit
from superpose.tabular.verdict import formula_verdict, score

ROWS = 200
NOISE = np.random.default_rng(0).standard_normal(ROWS)
TRUTH = np.linspace(-1, 1, ROWS)
NAIVE = score("always the mean", np.zeros(ROWS), TRUTH, 0.0)


def errs(name, noise):
    return score(name, TRUTH + noise * NOISE, TRUTH, 0.0)


@pytest.mark.parametrize(
    ("noise", "digit", "start"),
    [
        (1e-9, 0.0, "Exact: in 200 rows"),
        (4e-4, 1e-3, "Exact to the digits in the table"),
        (4e-4, 0.0, "Better than gradient boosting: it explains"),
        (0.1, 0.0, "As good as gradient boosting, as far as 200 rows tell: it explains"),
        (0.3, 1.0, "Worse than gradient boosting: it explains"),
        (3.0, 0.0, "Of no use: the formula does no better than answering the mean in rows it has not seen, but a simpler"),
        (np.nan, 0.0, "Not to be trusted: the formula has no value in 200 of 200 rows"),
    ],
)  # fmt: skip
def test_the_verdict(noise, digit, start):
    others = [NAIVE, errs("ridge", 0.2), errs("gradient boosting", -0.1)]
    said = formula_verdict(errs("formula", noise), [errs("formula", 0.5)], others, "y", digit)
    assert said.startswith(start)
    assert said.count(". ") == 0


def test_only_complete_rows_and_columns_of_numbers_are_searched():
    frame = pd.DataFrame({"x y": np.arange(30.0), "flag": [True, False] * 15, "same": 1.0, "text": list("abc") * 10})
    frame["y"] = frame["x y"] ** 2
    frame.loc[3, "x y"] = None
    frame.loc[4, "y"] = None
    frame["rare"] = [None] * 2 + [5.0] * 27 + [6.0]
    numbers = prepare_numbers(frame, Job("y", drop=("rare",)))
    assert numbers.columns == {"x_y": "x y", "flag": "flag"}
    assert numbers.x.shape == (28, 2)
    assert numbers.dropped == 2
    assert set(numbers.left_out) == {"same", "text"}
    assert numbers.left_out["text"] == "it is text, and formulas take numbers"
    frame.loc[29, "rare"] = None
    assert "rare" in prepare_numbers(frame, Job("y")).left_out
    with pytest.raises(InputError, match="no column of numbers"):
        prepare_numbers(frame[["text", "y"]], Job("y"))


def test_the_last_digit():
    assert last_digit(np.array([1.0, 20.0])) == 1.0
    assert last_digit(np.array([0.5, 0.125])) == 0.001
    assert last_digit(np.array([np.pi])) == 0.0
