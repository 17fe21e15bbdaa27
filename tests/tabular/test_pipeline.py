"""From a table to a file and back: the same predictions, and scores of rows that were not fitted."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

import superpose
from superpose.tabular import InputError, Job, Pipeline, fit_pipeline, prepare

GENERATOR = np.random.default_rng(0)
ROWS = 120
TABLE = pd.DataFrame(
    {
        "size": GENERATOR.uniform(20, 200, ROWS).round(1),
        "rooms": GENERATOR.integers(1, 8, ROWS),
        "town": GENERATOR.choice(["Rome", "Bern", "Oslo"], ROWS),
    }
)
TABLE["price"] = TABLE["size"] * 10 + 300 * (TABLE["town"] == "Bern") + GENERATOR.standard_normal(ROWS)
TABLE["sold"] = np.where(TABLE["price"] > TABLE["price"].median(), "yes", "no")
HOLED = TABLE.mask(
    pd.DataFrame(GENERATOR.random(TABLE.shape) < 0.1, columns=TABLE.columns) & [True, True, True, False, False]
)


def job(target):
    return Job(target=target, drop=("sold" if target == "price" else "price",), max_time=2)


@pytest.fixture(scope="module", params=["price", "sold"])
def fitted(request):
    table = prepare(HOLED, job(request.param))
    return table, *fit_pipeline(table, job(request.param))


@pytest.mark.as_shipped
def test_the_file_predicts_what_the_fit_predicts_bit_for_bit(fitted, tmp_path):
    table, pipeline, _ = fitted
    pipeline.save(str(tmp_path / "model"))
    again = Pipeline.load(str(tmp_path / "model"))
    assert (again.inputs, again.target, again.record) == (pipeline.inputs, pipeline.target, pipeline.record)
    assert again.predict(HOLED) == pipeline.predict(HOLED)
    assert np.array_equal(again.outputs(table.x), pipeline.outputs(table.x))


def test_the_fit_is_good_and_says_so(fitted):
    _, pipeline, scores = fitted
    assert [each.name for each in scores][-1] == "KAN (this model)"
    assert scores[-1].losses.mean() < 0.5 * scores[0].losses.mean()
    assert pipeline.record["scores"]["KAN (this model)"] == scores[-1].measures
    assert pipeline.record["rows"] + pipeline.record["held_out"] == ROWS
    assert pipeline.record["verdict"].startswith(("Very good", "Good", "Fair"))


def test_predictions_are_those_of_the_network(fitted):
    table, pipeline, _ = fitted
    kind = next(pipeline.network.parameters()).dtype
    outputs = pipeline.network(torch.as_tensor(table.x, dtype=kind)).detach().double()
    columns, holes = pipeline.predict(HOLED)
    assert holes == HOLED[["size", "rooms", "town"]].isna().sum().to_dict()
    if table.target.classes:
        assert columns["sold_predicted"] == [("no", "yes")[n] for n in outputs.argmax(1)]
        assert columns["sold_probability"] == pytest.approx(outputs.softmax(1).max(1).values.tolist())
    else:
        assert columns["price_predicted"] == pytest.approx(outputs[:, 0].tolist())


def test_the_same_seed_gives_the_same_model_and_another_holds_out_other_rows():
    table = prepare(TABLE, job("price"))
    assert np.array_equal(table.held, prepare(TABLE, job("price")).held)
    assert not np.array_equal(table.held, prepare(TABLE, replace(job("price"), seed=1)).held)


@pytest.mark.parametrize("holdout", [0, 0.2, 0.5, 0.9])
def test_a_share_of_every_class_is_held_out_but_never_all(holdout):
    frame = pd.DataFrame({"x": range(103), "y": ["a"] * 60 + ["b"] * 40 + ["c"] * 3})
    table = prepare(frame, Job("y", holdout=holdout))
    assert table.held.sum() == pytest.approx(103 * holdout, abs=2)
    assert set(table.y[~table.held]) == {0, 1, 2}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"target": None}, "name the column to predict with --target; the table has 'size'"),
        ({"target": "pirce"}, r"'pirce' \(did you mean 'price'\?\)"),
        ({"drop": ("twn",)}, r"'twn' \(did you mean 'town'\?\)"),
        ({"target": "town", "task": "regression"}, "should hold numbers"),
        ({"target": "size", "task": "classification"}, "ask for --task regression"),
        ({"holdout": 1.0}, "share"),
        ({"max_time": 0.0}, "seconds above 0"),
        ({"seed": -1}, "whole number"),
    ],
)
def test_wrong_jobs_raise(change, words):
    with pytest.raises(InputError, match=words):
        prepare(TABLE.assign(size=TABLE["size"] + np.arange(ROWS)), replace(job("price"), **change))


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (TABLE.assign(price=5), "'5' in every row"),
        (TABLE.assign(price=None), "empty in every row"),
        (TABLE.head(5), "5 rows"),
        (TABLE.assign(town=None), "'town' is empty"),
        (TABLE.assign(price=["x", *["y"] * (ROWS - 1)]), "only one row for 'x'"),
        (TABLE.assign(price=[np.inf, *range(ROWS - 1)]), "infinite"),
    ],
)
def test_wrong_tables_raise(frame, words):
    with pytest.raises(InputError, match=words):
        prepare(frame, job("price"))


def test_files_of_another_kind_raise(tmp_path):
    path = str(tmp_path / "model")
    with pytest.raises(InputError, match="no file"):
        Pipeline.load(path)
    superpose.save(superpose.KAN((2, 1)), path)
    with pytest.raises(InputError, match="not the columns of a table"):
        Pipeline.load(path)
    (tmp_path / "model").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="not a safetensors file"):
        Pipeline.load(path)
