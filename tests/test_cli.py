"""The command line as somebody at a terminal meets it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("jsonargparse")
pytest.importorskip("rich")

import superpose
from superpose.cli import main
from superpose.tabular import Pipeline

pytestmark = pytest.mark.as_shipped

GENERATOR = np.random.default_rng(0)
ROWS = 150
HOUSES = pd.DataFrame(
    {
        "size": GENERATOR.uniform(20, 200, ROWS).round(1),
        "town": GENERATOR.choice(["Rome", "Bern", "Oslo"], ROWS),
        "id": [f"h{n}" for n in range(ROWS)],
    }
)
HOUSES["price"] = (HOUSES["size"] ** 1.5 + 300 * (HOUSES["town"] == "Bern") + GENERATOR.standard_normal(ROWS)).round(2)
HOUSES.loc[:9, "size"] = None
HOUSES.loc[20:24, "town"] = None
HOUSES.loc[148:, "price"] = None


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a table and a model fitted to it, and what was printed."""
    folder = tmp_path_factory.mktemp("cli")
    HOUSES.to_csv(folder / "houses.csv", index=False)
    return folder


@pytest.fixture
def here(folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "80")
    return folder


@pytest.fixture
def model(here, capsys):
    path = here / "price.model"
    if not path.exists():
        assert main(["fit", "houses.csv", "--target", "price", "--out", path.name, "--max-time", "3"]) == 0
        (here / "printed.txt").write_text(capsys.readouterr().out)
    return "price.model"


def test_help_is_fast_and_does_not_import_torch():
    code = (
        f"import sys, time, json; sys.path[:0] = {[path for path in sys.path if path]!r}\n"
        "from superpose.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit as end: code = end.code\n"
        "print(json.dumps([code, time.process_time(), [n for n in ('torch', 'numpy', 'pandas') if n in sys.modules]]))"
    )
    seconds = []
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
        *text, last = done.stdout.splitlines()
        code_, time, imported = json.loads(last)
        assert (code_, imported) == (0, [])
        assert "predict the rows of a table" in "\n".join(text)
        seconds.append(time)
    assert min(seconds) < 0.5


def test_without_a_command_the_help_is_printed(capsys):
    assert main([]) == 0
    assert "fit a table and judge the fit" in capsys.readouterr().out


def test_fit_says_what_it_did_and_how_good_it_is(model, here):
    text = (here / "printed.txt").read_text()
    assert "148 rows" in text
    assert "2 more rows left out, because price is missing there." in text
    assert "Missing: 10 in size; the median stands in." in text
    assert "Missing: 5 in town; that is a value of its own." in text
    assert "Not used: id, because it is text with 148 different values" in text
    for name in ("always the mean", "ridge regression", "gradient boosting", "KAN (this model)", "R²", "RMSE"):
        assert name in text
    assert "of the variation of price in rows it has not seen" in text
    assert "superpose predict price.model TABLE" in text
    assert max(map(len, text.splitlines()[:-1])) <= 80


def test_predict_writes_the_table_with_the_predictions_of_the_file(model, here, capsys):
    assert main(["predict", model, "houses.csv", "--out", "predicted.csv"]) == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert "10 in size, 5 in town" in said.err
    written = pd.read_csv("predicted.csv")
    assert written.columns.tolist() == [*HOUSES.columns, "price_predicted"]
    expected, _ = Pipeline.load(model).predict(HOUSES)
    assert written["price_predicted"].tolist() == expected["price_predicted"]


def test_predict_prints_without_out_and_scores_a_table_that_has_the_target(model, here, capsys):
    HOUSES.head(30).to_csv("some.csv")
    assert main(["predict", model, "some.csv"]) == 0
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert lines[0] == ",size,town,id,price,price_predicted"
    assert len(lines) == 31
    assert "On its 30 rows: R²" in " ".join(said.err.split())


def test_predict_leaves_every_other_cell_as_it_is_written(model, here, capsys):
    """Zip codes, long numbers, words that pandas takes for missing values, decimal commas, an own column of old predictions."""
    lines = [
        "zip;account;note;size;town;price_predicted",
        "00001;123456789012345679;NA;70,50;Bern;old",
        "0100;123456789012345678;None;80;Rome;old",
    ]
    Path("codes.csv").write_text("\n".join(lines) + "\n")
    assert main(["predict", model, "codes.csv", "--out", "written.csv"]) == 0
    written = Path("written.csv").read_text().splitlines()
    assert [line.rpartition(";")[0] for line in written] == [line.rpartition(";")[0] for line in lines]
    price = float(written[1].rpartition(";")[2].replace(",", "."))
    expected, _ = Pipeline.load(model).predict(pd.DataFrame({"size": [70.5], "town": ["Bern"]}))
    assert price == pytest.approx(expected["price_predicted"][0])
    assert "'price_predicted' already; what stands there is replaced" in " ".join(capsys.readouterr().err.split())


def test_equal_targets_in_the_rows_held_out_lose_nothing(here, capsys):
    """R squared is undefined there: the others are shown, and the model is kept."""
    x = np.random.default_rng(0).uniform(size=60)
    table = pd.DataFrame({"x": x, "rain": np.where(np.arange(60) < 3, x + 1, 0.0)})
    table.to_csv("rain.csv", index=False)
    command = ["fit", "rain.csv", "--target", "rain", "--holdout", "0.02", "--out", "rain.model"]
    for seed in ("0", "1", "2"):
        assert main([*command, "--seed", seed]) == 0
    said = capsys.readouterr().out
    assert "RMSE" in said
    assert main(["info", "rain.model"]) == 0
    assert main(["report", "rain.model", "rain.csv", "--out", "rain.html"]) == 0


def test_info_of_a_model_tells_columns_scores_and_versions(model, here, capsys):
    assert main(["info", model]) == 0
    text = capsys.readouterr().out
    for words in ("Predicts price, as numbers", "size", "'Bern'", "ridge regression", "R²", "torch", "seed 0"):
        assert words in text
    assert max(map(len, text.splitlines())) <= 80


def test_info_of_a_bare_network_and_of_the_machine(here, capsys):
    superpose.save(superpose.KAN((2, 3, 1)), "bare.model", {"note": "mine"})
    assert main(["info", "bare.model"]) == 0
    text = capsys.readouterr().out
    assert "KAN 2-3-1" in text
    assert "mine" in text
    assert main(["info"]) == 0
    assert superpose.__version__ in capsys.readouterr().out


def test_classes_from_parquet_without_saving(here, capsys):
    frame = HOUSES.dropna().assign(dear=lambda t: np.where(t["price"] > 1000, "yes", "no"))
    frame.to_parquet("houses.parquet")
    command = ["fit", "houses.parquet", "--target", "dear", "--drop", "price", "id", "--max-time", "3", "--seed", "1"]
    assert main(command) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "as 2 classes ('no', 'yes'), because it is text" in text
    assert "it names the right class for" in text
    assert "Nothing is saved; add --out FILE" in text


def test_few_whole_values_are_numbers_with_a_hint_and_no_holdout_gives_no_score(here, capsys):
    HOUSES.assign(stars=np.arange(ROWS) % 4).drop(columns=["id", "price"]).to_csv("stars.csv", index=False)
    assert main(["fit", "stars.csv", "--target", "stars", "--holdout", "0", "--max-time", "1"]) == 0
    text = capsys.readouterr().out
    assert "only 4 different values; if they are classes, add --task classification" in text
    assert "nobody knows how good it is" in text


@pytest.fixture
def law(here):
    """A table with an exact law, awkward names, text and holes."""
    x = np.random.default_rng(1).uniform(1, 5, (120, 3))
    frame = pd.DataFrame(x, columns=["living area", "lambda", "E"])
    frame["price ($)"] = 2 * frame["living area"] * frame["E"] / frame["lambda"]
    frame["town"] = np.where(x[:, 0] > 3, "Rome", "Bern")
    frame.loc[:2, "E"] = None
    frame.to_csv(here / "law.csv", index=False)
    return ["discover", "law.csv", "--target", "price ($)", "--max-time", "20"]


def test_discover_finds_a_law_whatever_the_columns_are_called(law, here, capsys):
    assert main([*law, "--out", "law.json"]) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    assert "117 rows, 24 of them held out" in text
    assert "3 more rows left out, because a value is missing there." in text
    assert "Wanted: price ($) from living area, lambda, E, in at most 20 s." in text
    assert "In formulas, 'living area' is written living_area." in text
    assert "Not used: town, because it is text, and formulas take numbers." in text
    assert text.count(">>>>") == 2  # in the list, and beside the other models
    for name in ("ridge regression", "gradient boosting"):
        assert name in text
    assert "price ($) = 2*E_*living_area/lambda_" in text
    assert "Exact: in 24 rows it has not seen, its error is rounding." in " ".join(text.split())
    document = json.loads((here / "law.json").read_text())
    assert document["columns"] == {"living_area": "living area", "lambda_": "lambda", "E_": "E"}
    (picked,) = (row for row in document["formulas"] if row["picked"])
    assert picked["sympy"] == "2*E_*living_area/lambda_"
    assert picked["test_loss"] < 1e-20
    assert r"\mathrm{living\ area}" in picked["latex"]
    assert "<mi>living area</mi>" in picked["mathml"]


def test_a_report_shows_the_formulas_of_a_file(model, law, here, capsys):
    assert main([*law, "--out", "law.json", "--holdout", "0"]) == 0
    assert "nobody knows how good it is" in capsys.readouterr().out
    command = ["report", model, "houses.csv", "--out", "formulas.html", "--formulas"]
    assert main([*command, "law.json"]) == 0
    assert "<mi>living area</mi>" in (here / "formulas.html").read_text()
    (here / "wrong.json").write_text('[{"mathml": "<script/>"}]')
    capsys.readouterr()
    for name, words in (("wrong.json", "script"), ("houses.csv", "is not JSON"), ("none.json", "cannot be read")):
        assert main([*command, name]) == 2
        assert words in capsys.readouterr().err
    (here / "wrong.json").write_text("{}")
    assert main([*command, "wrong.json"]) == 2
    assert "holds no formulas" in capsys.readouterr().err
    assert main([*command[:3], "--out", "law.json", "--formulas", "law.json"]) == 2
    assert "would overwrite the formulas" in capsys.readouterr().err


@pytest.mark.parametrize(("ending", "words"), [("csv", "complexity,loss,held_out_loss"), ("tex", r"\begin{tabular}")])
def test_formulas_as_csv_and_latex(ending, words, law, here):
    assert main([*law, "--out", f"formulas.{ending}"]) == 0
    assert (here / f"formulas.{ending}").read_text().startswith(words)


def test_an_interrupted_search_keeps_the_best_so_far(law, capsys, monkeypatch):
    from superpose.symbolic import search

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(search, "reductions", interrupted)
    assert main(law) == 0
    text = capsys.readouterr().out
    assert "Interrupted; this is the best so far." in text
    assert ">>>>" in text


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["fit", "hauses.csv", "--target", "price"], "no file hauses.csv; did you mean houses.csv?"),
        (["fit", "houses.csv", "--target", "pirce"], "'pirce' (did you mean 'price'?)"),
        (["fit", "houses.csv"], "--target; the table has 'size', 'town', 'id', 'price'"),
        (
            ["fit", "houses.csv", "--target", "price", "--out", "nowhere/model"],
            "folder nowhere for --out does not exist",
        ),
        (["fit", "houses.csv", "--target", "price", "--out", "houses.csv"], "would overwrite the table"),
        (["fit", "houses.csv", "--target", "price", "--out", "."], "is a folder"),
        (["fit", "houses.csv", "--target", "price", "--holdout", "3"], "share of the rows"),
        (["discover", "houses.csv", "--target", "town"], "'town' should hold numbers"),
        (["discover", "houses.csv", "--target", "price", "--drop", "size"], "no column of numbers"),
        (["discover", "houses.csv", "--target", "price", "--max-time", "0"], "seconds above 0"),
        (["discover", "houses.csv", "--target", "price", "--out", "f.txt"], "should end in .json, .csv or .tex"),
        (
            ["discover", "sparse.csv", "--target", "price"],
            "'size' is missing in 145 rows; leave it out with --drop size",
        ),
        (["predict", "houses.csv", "houses.csv"], "not a safetensors file"),
        (["info", "nothing.model"], "no file nothing.model"),
        (["predict", "MODEL", "strange.csv"], "'Romw', which the model was not fitted on (did you mean 'Rome'?)"),
        (["predict", "MODEL", "narrow.csv"], "the model needs a column that the table lacks: 'town'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_input_is_one_sentence_and_exit_code_2(command, words, model, here, capsys):
    HOUSES.assign(town="Romw").to_csv("strange.csv", index=False)
    HOUSES.drop(columns="town").to_csv("narrow.csv", index=False)
    HOUSES.assign(size=HOUSES["size"].where(HOUSES.index < 15)).to_csv("sparse.csv", index=False)
    capsys.readouterr()
    assert main([model if word == "MODEL" else word for word in command]) == 2
    said = capsys.readouterr()
    assert said.err.startswith("superpose: ")
    assert said.err.count("\n") == 1
    assert words in said.err


@pytest.mark.parametrize("command", [["fti"], ["fit", "houses.csv", "--targt", "price"], ["fit", "t", "--seed", "x"]])
def test_wrong_arguments_exit_with_2_and_the_usage(command, capsys):
    with pytest.raises(SystemExit) as ended:
        main(command)
    assert ended.value.code == 2
    assert "usage: superpose" in capsys.readouterr().err
