"""Columns become numbers, the same way every time."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from superpose.tabular import InputError, Inputs
from superpose.tabular.inputs import MISSING, MOST_LEVELS

FRAME = pd.DataFrame(
    {
        "size": [1.0, 2.0, np.nan, 10.0],
        "town": ["Rome", None, "Bern", "Rome"],
        "door": ["open", "shut", "open", "open"],
        "paid": [True, False, True, True],
    }
)


def test_numbers_text_and_holes_are_encoded():
    inputs = Inputs.learn(FRAME)
    assert inputs.outputs == ["size", "town=Bern", "town=Rome", f"town={MISSING}", "door=shut", "paid"]
    x, holes = inputs.encode(FRAME)
    assert holes == {"size": 1, "town": 1}
    assert x.tolist() == [
        [1, 0, 1, 0, 0, 1],
        [2, 0, 0, 1, 1, 0],
        [2, 1, 0, 0, 0, 1],  # the median of 1, 2 and 10
        [10, 0, 1, 0, 0, 1],
    ]


def test_a_hole_in_text_that_had_none_takes_the_most_common_value():
    inputs = Inputs.learn(FRAME.drop(columns="town"))
    holed = FRAME.assign(door=[None, "shut", "shut", "shut"])
    x, holes = inputs.encode(holed)
    assert x[0].tolist() == inputs.encode(FRAME)[0][0].tolist()
    assert holes["door"] == 1


def test_the_order_of_columns_and_further_columns_do_not_matter():
    inputs = Inputs.learn(FRAME)
    turned = FRAME[FRAME.columns[::-1]].assign(more=1)
    assert np.array_equal(inputs.encode(turned)[0], inputs.encode(FRAME)[0])


def test_booleans_with_holes_are_numbers():
    inputs = Inputs.learn(pd.DataFrame({"paid": pd.Series([True, None, False], dtype="object")}))
    assert inputs.encode(pd.DataFrame({"paid": [True, False]}))[0].tolist() == [[1], [0]]


def test_what_cannot_help_is_left_out_with_its_reason():
    rows = MOST_LEVELS + 1
    frame = pd.DataFrame(
        {
            "x": range(rows),
            "Unnamed: 0": range(rows),
            "same": 1,
            "word": "w",
            "name": [f"n{n}" for n in range(rows)],
            "day": pd.date_range("2024-01-01", periods=rows),
        }
    )
    inputs = Inputs.learn(frame)
    assert inputs.outputs == ["x"]
    assert inputs.left_out.keys() == {"Unnamed: 0", "same", "word", "name", "day"}
    with pytest.raises(InputError, match=r"no columns to predict from .*'name': it is text with 51"):
        Inputs.learn(frame[["name"]])


def test_wrong_columns_raise():
    inputs = Inputs.learn(FRAME)
    with pytest.raises(InputError, match=r"'town' holds 'Romw' and 1 more values.*did you mean 'Rome'"):
        inputs.encode(FRAME.assign(town=["Romw", "Oslo", "Bern", "Rome"]))
    with pytest.raises(InputError, match="'size' should hold numbers, but row 2 holds 'big'"):
        inputs.encode(FRAME.assign(size=[1, "big", 3, 4]))
    with pytest.raises(InputError, match="infinite in 1 of 4 rows"):
        inputs.encode(FRAME.assign(size=[1, 2, 3, np.inf]))
    with pytest.raises(InputError, match="lacks: 'door'"):
        inputs.encode(FRAME.drop(columns="door"))
    with pytest.raises(InputError, match="'size' is empty; leave it out with --drop size"):
        Inputs.learn(FRAME.assign(size=np.nan))


words = st.one_of(st.none(), st.text(min_size=1, max_size=3).map(str.strip))
numbers = st.one_of(st.none(), st.floats(-1e9, 1e9))


@given(st.lists(st.tuples(numbers, words), min_size=2, max_size=30))
def test_any_table_is_encoded_finitely_and_alike_after_json(rows):
    frame = pd.DataFrame(
        {"n": pd.Series([n for n, _ in rows], dtype=float), "t": pd.Series([t for _, t in rows], dtype=object)}
    )
    try:
        inputs = Inputs.learn(frame)
    except InputError:
        return
    x, _ = inputs.encode(frame)
    assert x.shape == (len(rows), len(inputs.outputs))
    assert np.isfinite(x).all()
    again = Inputs.from_json(json.loads(json.dumps(inputs.to_json())))
    assert again == inputs
    assert np.array_equal(again.encode(frame)[0], x)
