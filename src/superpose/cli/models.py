"""superpose predict, report and info: what one does with a saved model."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from superpose.cli.printing import (
    checked_out,
    count_holes,
    describe_target,
    number,
    print_scores,
    print_table,
    refuse,
    size,
    terminal,
)  # fmt: skip

if TYPE_CHECKING:
    from jsonargparse import Namespace


def predict(chosen: "Namespace") -> None:
    """The rows of a table with a saved model."""
    from superpose.tabular import Pipeline, read_cells, read_table

    out = checked_out(chosen.out, chosen.table)
    notes = terminal(stderr=True)
    pipeline = Pipeline.load(chosen.file)
    frame = read_table(chosen.table, text=pipeline.inputs.text)
    predictions, holes = pipeline.predict(frame)
    if holes:
        notes.print(f"Missing, and filled in as in the fit: {count_holes(holes)}.")
    score = pipeline.score(frame)
    if score is not None:
        measures = ", ".join(f"{name} {number(name, value)}" for name, value in score.measures.items())
        notes.print(
            f"The table has {pipeline.target.name} itself. On its {len(frame)} rows: {measures}. "
            "If the model was fitted to these rows, that flatters it."
        )
    table, separator, decimal = read_cells(chosen.table)
    replaced = [repr(name) for name in predictions if name in table.columns]
    if replaced:
        notes.print(f"The table has {' and '.join(replaced)} already; what stands there is replaced.")
    for name, values in predictions.items():
        table[name] = values
    table = table.rename(columns=lambda name: "" if name.startswith("Unnamed: ") else name)
    if out is None:
        table.to_csv(sys.stdout, index=False, sep=separator, decimal=decimal)
        return
    try:
        table.to_csv(out, index=False, sep=separator, decimal=decimal)
    except OSError as error:
        refuse(f"{out} cannot be written: {error.strerror}.")
    notes.print(f"Wrote {len(frame)} rows with {' and '.join(predictions)} to {out}.", soft_wrap=True)


def report(chosen: "Namespace") -> None:
    """A page about a saved model."""
    from superpose.report import write_report
    from superpose.tabular import Pipeline, read_table

    out = checked_out(chosen.out or "report.html", chosen.table)
    assert out is not None
    for what, path in (("model", chosen.file), ("formulas", chosen.formulas)):
        if path is not None and out.exists() and Path(path).exists() and out.samefile(path):
            refuse(f"--out {out} would overwrite the {what}; name another file.")
    pipeline = Pipeline.load(chosen.file)
    frame = read_table(chosen.table, text=pipeline.inputs.text)
    try:
        write_report(pipeline, frame, out, _formulas(chosen.formulas))
    except ValueError as error:
        refuse(f"{chosen.formulas} holds a formula that cannot be shown: {error}")
    except OSError as error:
        refuse(f"{out} cannot be written: {error.strerror or error}.")
    terminal().print(f"Wrote {out} ({size(out)}); open it in a browser, it needs no network.", soft_wrap=True)


def _formulas(path: str | None) -> list[dict[str, Any]] | None:
    """The formulas that superpose discover wrote to a file."""
    if path is None:
        return None
    try:
        document = json.loads(Path(path).read_text("utf-8"))
    except OSError as error:
        refuse(f"--formulas {path} cannot be read: {error.strerror or error}.")
    except ValueError:
        refuse(f"--formulas {path} is not JSON; write it with superpose discover TABLE --out FILE.json.")
    rows = document.get("formulas") if isinstance(document, dict) else document
    if not (isinstance(rows, list) and rows and all(isinstance(row, dict) for row in rows)):
        refuse(f"--formulas {path} holds no formulas; write it with superpose discover TABLE --out FILE.json.")
    return rows


def info(chosen: "Namespace") -> None:
    """What is in a saved model, or what runs on this machine."""
    import superpose

    if chosen.file is None:
        print(superpose.info())
        return
    from superpose.storage import load, read_metadata
    from superpose.tabular import Pipeline, is_pipeline

    console = terminal()
    try:
        network, metadata = load(chosen.file), read_metadata(chosen.file)
    except (ValueError, OSError) as error:
        refuse(str(error))
    console.print(f"{network!r}")
    if not is_pipeline(metadata):
        console.print(f"Written by superpose.save, so it knows no columns. Metadata: {metadata or 'none'}")
        return
    pipeline = Pipeline.load(chosen.file)
    target, record = pipeline.target, pipeline.record
    console.print(f"Predicts {target.name}, as {describe_target(target)}.")
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    console.print(
        f"Fitted to {record['rows']} rows in {record['seconds']:.1f} s, seed {record['seed']}, by {versions}."
    )
    print_table(
        console,
        ["column", "holds", "where missing", "was missing"],
        [[column.name, *column.describe(), str(column.holes)] for column in pipeline.inputs.columns],
        words=3,
    )
    for name, reason in pipeline.inputs.left_out.items():
        console.print(f"Not used: {name}, because {reason}.")
    if "scores" in record:
        console.print(f"\nOn {record['held_out']} rows held out:")
        print_scores(console, record["scores"])
        console.print(record["verdict"], style="bold")
    else:
        console.print("Nothing was held out, so nobody knows how good it is.", style="bold")
