"""The command line: fit a table, judge the fit, predict. Nothing heavy is imported before the arguments are read."""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace
    from rich.console import Console

DESCRIPTION = "Kolmogorov-Arnold networks for tables: fit one, see whether it is any good, and predict with it."
EXAMPLE = "superpose fit houses.csv --target price --out price.model"
FEW_VALUES = 30
"""Different whole numbers up to which a target may well be classes."""

WRONG_INPUT = 2
"""What the program returns when the user can put something right; the parser returns the same."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code: 0, or 2 when the input is wrong."""
    try:
        parser = _parser()
    except ModuleNotFoundError as error:
        return _fail(f"the command line needs {error.name}: pip install 'superpose[cli]'.")
    chosen = parser.parse_args(None if arguments is None else list(arguments))
    if chosen.subcommand is None:
        parser.print_help()
        return 0
    try:
        return _run(chosen)
    except KeyboardInterrupt:
        return _fail("interrupted.", 130)


def _run(chosen: "Namespace") -> int:
    """Run the chosen command and return the exit code."""
    commands: dict[str, Callable[[Namespace], None]] = {
        "fit": _fit,
        "predict": _predict,
        "report": _report,
        "info": _info,
        "demo": _demo,
    }
    with _console(stderr=True).status("starting ..."):  # PyTorch and scikit-learn take seconds on a slow machine
        from superpose.tabular import InputError

    try:
        commands[chosen.subcommand](chosen[chosen.subcommand])
        sys.stdout.flush()
    except InputError as error:
        return _fail(str(error))
    except BrokenPipeError:  # whoever reads our output has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _parser() -> "ArgumentParser":
    from argparse import HelpFormatter

    from jsonargparse import ArgumentParser

    def command(name: str, about: str, more: str = "") -> ArgumentParser:
        parser = ArgumentParser(description=about + more, allow_abbrev=False, formatter_class=HelpFormatter)
        commands.add_subcommand(name, parser, help=about)
        return parser

    main_parser = ArgumentParser(
        prog="superpose", description=DESCRIPTION, allow_abbrev=False, version=_version(), formatter_class=HelpFormatter
    )
    commands = main_parser.add_subcommands(required=False, title="commands", description=f"For example: {EXAMPLE}")
    fit = command("fit", "fit a table and judge the fit", " on rows held out, beside a linear model and boosted trees")
    fit.add_argument("table", metavar="TABLE", help="CSV or Parquet file with a header")
    fit.add_argument("--target", metavar="COLUMN", help="column to predict")
    fit.add_argument("--out", metavar="FILE", help="where to save the model; nothing is saved without it")
    fit.add_argument(
        "--task",
        choices=["auto", "regression", "classification"],
        default="auto",
        help="auto: classes if the target is text or has two values, else numbers",
    )
    fit.add_argument(
        "--drop", metavar="COLUMN", nargs="+", default=[], help="columns to leave out, such as row numbers"
    )
    fit.add_argument(
        "--holdout", metavar="SHARE", type=float, default=0.2, help="share of rows that judge the fit (0.2)"
    )
    fit.add_argument("--max-time", metavar="SECONDS", type=float, help="end the fit of the network after this time")
    fit.add_argument("--seed", type=int, default=0, help="decides all that is left to chance (0)")
    predict = command("predict", "predict the rows of a table with a saved model")
    predict.add_argument("file", metavar="FILE", help="model written by superpose fit")
    predict.add_argument("table", metavar="TABLE", help="CSV or Parquet file with the columns the model was fitted on")
    predict.add_argument("--out", metavar="CSV", help="file for the table with its predictions; else they are printed")
    report = command("report", "write a page about a saved model: its curves, what matters, how good it is")
    report.add_argument("file", metavar="FILE", help="model written by superpose fit")
    report.add_argument("table", metavar="TABLE", help="CSV or Parquet file with the columns the model was fitted on")
    report.add_argument("--out", metavar="HTML", help="the page, one file that needs no network (report.html)")
    info = command("info", "what is in a saved model, or what runs on this machine")
    info.add_argument("file", metavar="FILE", nargs="?", help="model written by superpose fit or superpose.save")
    command("demo", "learn how long a year is from the orbits of the solar system, in seconds")
    return main_parser


def _fit(chosen: "Namespace") -> None:
    from superpose.tabular import Job, fit_pipeline, prepare, read_table

    out = _check_out(chosen.out, chosen.table)
    console = _console()
    job = Job(
        target=chosen.target,
        task=chosen.task,
        drop=tuple(chosen.drop),
        holdout=chosen.holdout,
        max_time=chosen.max_time,
        seed=chosen.seed,
    )
    table = prepare(read_table(chosen.table), job)
    _say_what_is_fitted(console, chosen.table, table)
    with _console(stderr=True).status("fitting ..."):
        pipeline, scores = fit_pipeline(table, job)
    console.print(f"\n{pipeline.network!r}")
    if scores:
        _print_scores(console, {each.name: {**each.measures, "seconds": each.seconds} for each in scores})
        console.print(pipeline.record["verdict"], style="bold")
    else:
        console.print("Nothing was held out, so nobody knows how good it is.", style="bold")
    if out is None:
        console.print("\nNothing is saved; add --out FILE to keep the model.")
        return
    pipeline.save(str(out))
    console.print(f"\nSaved to {out} ({_size(out)}). Now:\n  superpose predict {out} TABLE", soft_wrap=True)


def _predict(chosen: "Namespace") -> None:
    from superpose.tabular import Pipeline, read_table

    out = _check_out(chosen.out, chosen.table)
    notes = _console(stderr=True)
    pipeline = Pipeline.load(chosen.file)
    frame = read_table(chosen.table, text=pipeline.inputs.text)
    predictions, holes = pipeline.predict(frame)
    if holes:
        notes.print(f"Missing, and filled in as in the fit: {_count_holes(holes)}.")
    score = pipeline.score(frame)
    if score is not None:
        measures = ", ".join(f"{name} {_number(name, value)}" for name, value in score.measures.items())
        notes.print(
            f"The table has {pipeline.target.name} itself. On its {len(frame)} rows: {measures}. "
            "If the model was fitted to these rows, that flatters it."
        )
    for name, values in predictions.items():
        frame[name] = values
    frame = frame.rename(columns=lambda name: "" if name.startswith("Unnamed: ") else name)
    if out is None:
        frame.to_csv(sys.stdout, index=False)
        return
    try:
        frame.to_csv(out, index=False)
    except OSError as error:
        _raise(f"{out} cannot be written: {error.strerror}.")
    notes.print(f"Wrote {len(frame)} rows with {' and '.join(predictions)} to {out}.", soft_wrap=True)


def _report(chosen: "Namespace") -> None:
    from superpose.report import write_report
    from superpose.tabular import Pipeline, read_table

    out = _check_out(chosen.out or "report.html", chosen.table)
    assert out is not None
    if out.exists() and Path(chosen.file).exists() and out.samefile(chosen.file):
        _raise(f"--out {out} would overwrite the model; name another file.")
    pipeline = Pipeline.load(chosen.file)
    frame = read_table(chosen.table, text=pipeline.inputs.text)
    try:
        write_report(pipeline, frame, out)
    except OSError as error:
        _raise(f"{out} cannot be written: {error.strerror or error}.")
    _console().print(f"Wrote {out} ({_size(out)}); open it in a browser, it needs no network.", soft_wrap=True)


def _info(chosen: "Namespace") -> None:
    import superpose

    if chosen.file is None:
        print(superpose.info())
        return
    from superpose.storage import load, read_metadata
    from superpose.tabular import Pipeline, is_pipeline

    console = _console()
    try:
        network, metadata = load(chosen.file), read_metadata(chosen.file)
    except (ValueError, OSError) as error:
        _raise(str(error))
    console.print(f"{network!r}")
    if not is_pipeline(metadata):
        console.print(f"Written by superpose.save, so it knows no columns. Metadata: {metadata or 'none'}")
        return
    pipeline = Pipeline.load(chosen.file)
    target, record = pipeline.target, pipeline.record
    console.print(f"Predicts {target.name}, as {_describe_target(target)}.")
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    console.print(
        f"Fitted to {record['rows']} rows in {record['seconds']:.1f} s, seed {record['seed']}, by {versions}."
    )
    _print_table(
        console,
        ["column", "holds", "where missing", "was missing"],
        [[column.name, *column.describe(), str(column.holes)] for column in pipeline.inputs.columns],
        words=3,
    )
    for name, reason in pipeline.inputs.left_out.items():
        console.print(f"Not used: {name}, because {reason}.")
    if "scores" in record:
        console.print(f"\nOn {record['held_out']} rows held out:")
        _print_scores(console, record["scores"])
        console.print(record["verdict"], style="bold")
    else:
        console.print("Nothing was held out, so nobody knows how good it is.", style="bold")


def _demo(chosen: "Namespace") -> None:
    from superpose.demo import show

    show(_console())


def _say_what_is_fitted(console: "Console", path: str, table: Any) -> None:
    """What became of the table, before anybody waits for a fit."""
    import numpy as np

    inputs, target = table.inputs, table.target
    held = int(table.held.sum())
    console.print(f"{path}: {len(table.y)} rows, {held or 'none'} of them held out to judge the fit.")
    if table.dropped:
        console.print(f"{_plural(table.dropped, 'more row')} left out, because {target.name} is missing there.")
    console.print(f"To predict: {target.name}, as {_describe_target(target)}, {target.reason}.")
    values = np.unique(table.y)
    if not target.classes and len(values) <= FEW_VALUES and (values == values.round()).all():
        console.print(f"It has only {len(values)} different values; if they are classes, add --task classification.")
    console.print(
        f"From: {_plural(len(inputs.columns), 'column')}, {_plural(len(inputs.outputs), 'input')} of the network."
    )
    for words, text in (("the median stands in", False), ("that is a value of its own", True)):
        holes = {c.name: c.holes for c in inputs.columns if c.holes and (c.name in inputs.text) == text}
        if holes:
            console.print(f"Missing: {_count_holes(holes)}; {words}.")
    for name, reason in inputs.left_out.items():
        console.print(f"Not used: {name}, because {reason}.")


def _describe_target(target: Any) -> str:
    from superpose.tabular.reading import shorten

    return f"{len(target.classes)} classes ({shorten(target.classes, 5)})" if target.classes else "numbers"


def _count_holes(holes: dict[str, int], most: int = 5) -> str:
    listed = ", ".join(f"{count} in {name}" for name, count in list(holes.items())[:most])
    return (
        listed if len(holes) <= most else f"{listed} and {sum(list(holes.values())[most:])} in {len(holes) - most} more"
    )


def _print_scores(console: "Console", scores: dict[str, dict[str, float]]) -> None:
    """A line per model, ours last."""
    measures = list(next(iter(scores.values())))
    rows = [[name, *(_number(measure, values[measure]) for measure in measures)] for name, values in scores.items()]
    _print_table(console, ["held-out rows", *measures], rows, words=1)


def _print_table(console: "Console", header: list[str], rows: list[list[str]], words: int) -> None:
    """A table whose first `words` columns are text and whose others are numbers."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for n, name in enumerate(header):
        table.add_column(name, justify="left" if n < words else "right", overflow="fold")
    for row in rows:
        table.add_row(*row, style="bold" if row is rows[-1] and words == 1 else None)
    console.print(table)


def _console(*, stderr: bool = False) -> "Console":
    from rich.console import Console

    return Console(stderr=stderr, markup=False, highlight=False)


def _check_out(path: str | None, table: str) -> Path | None:
    """A file that can be written, before a fit that would have been for nothing."""
    if path is None:
        return None
    out = Path(path)
    if not out.parent.is_dir():
        _raise(f"the folder {out.parent} for --out does not exist.")
    if out.is_dir():
        _raise(f"--out {out} is a folder; name a file in it.")
    if out.exists() and Path(table).exists() and out.samefile(table):
        _raise(f"--out {out} would overwrite the table; name another file.")
    return out


def _raise(message: str) -> NoReturn:
    from superpose.tabular import InputError

    raise InputError(message)


def _fail(message: str, code: int = WRONG_INPUT) -> int:
    print(f"superpose: {message}", file=sys.stderr)
    return code


def _number(measure: str, value: float) -> str:
    if measure in ("R²", "accuracy", "log loss"):
        return f"{value:.3f}"
    if measure == "seconds":
        return f"{value:.1f}"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _size(path: Path) -> str:
    return f"{max(1, round(path.stat().st_size / 1000))} kB"


def _version() -> str:
    import superpose

    return superpose.__version__
