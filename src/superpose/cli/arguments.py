"""The arguments of all commands."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

DESCRIPTION = "Kolmogorov-Arnold networks for tables and images: fit one, see whether it is any good, predict with it; find formulas."
Command = Callable[..., Any]
"""Adds a command by its name and what it does, and gives its parser."""
EXAMPLE = "superpose fit houses.csv --target price --out price.model"


def parser() -> "ArgumentParser":
    """What the program understands."""
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
    _add_fit(command)
    _add_discover(command)
    _add_uses(command)
    info = command("info", "what is in a saved model, or what runs on this machine")
    info.add_argument("file", metavar="FILE", nargs="?", help="model written by superpose fit or superpose.save")
    command("train", "train a network for images from a configuration file, or the recipe of that name")
    command("pretrain", "the same for a network that learns from images without their labels")
    command("finetune", "the same for a network that goes on from such a run, given by --encoder")
    command("eval", "judge a network that superpose train has made on test images")
    _add_attention(command)
    command("demo", "learn how long an orbit takes from the solar system, and find Kepler's law, in seconds")
    return main_parser


def _add_fit(command: Command) -> None:
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


def _add_discover(command: Command) -> None:
    discover = command(
        "discover", "find a formula for a column of a table", ", judged beside a linear model and boosted trees"
    )
    discover.add_argument(
        "table", metavar="TABLE", help="CSV or Parquet file with a header; columns of text are left out"
    )
    discover.add_argument("--target", metavar="COLUMN", help="column to find a formula for")
    discover.add_argument("--out", metavar="FILE", help="file for all formulas: .json, .csv or .tex")
    discover.add_argument("--drop", metavar="COLUMN", nargs="+", default=[], help="columns to leave out")
    discover.add_argument(
        "--holdout", metavar="SHARE", type=float, default=0.2, help="share of rows that judge the formulas (0.2)"
    )
    discover.add_argument(
        "--max-time", metavar="SECONDS", type=float, default=60.0, help="end the search after this time (60)"
    )
    discover.add_argument("--seed", type=int, default=0, help="decides all that is left to chance (0)")


def _add_uses(command: Command) -> None:
    predict = command("predict", "predict the rows of a table with a saved model")
    predict.add_argument("file", metavar="FILE", help="model written by superpose fit")
    predict.add_argument("table", metavar="TABLE", help="CSV or Parquet file with the columns the model was fitted on")
    predict.add_argument("--out", metavar="CSV", help="file for the table with its predictions; else they are printed")
    report = command("report", "write a page about a saved model: its curves, what matters, how good it is")
    report.add_argument("file", metavar="FILE", help="model written by superpose fit")
    report.add_argument("table", metavar="TABLE", help="CSV or Parquet file with the columns the model was fitted on")
    report.add_argument("--formulas", metavar="JSON", help="formulas to show, as superpose discover writes them")
    report.add_argument("--out", metavar="HTML", help="the page, one file that needs no network (report.html)")


def _add_attention(command: Command) -> None:
    attention = command(
        "attention", "draw where every head of a vision transformer looks in an image", ", on one scale"
    )
    attention.add_argument(
        "model", metavar="MODEL", help="run of superpose train or pretrain, or a name that timm knows"
    )
    attention.add_argument("image", metavar="IMAGE", help="image file")
    attention.add_argument("--out", metavar="PNG", default="attention.png", help="the picture (attention.png)")
    attention.add_argument(
        "--token",
        metavar="TOKEN",
        help="who looks: class, mean over all tokens, or a token's number (class if there is one)",
    )
    attention.add_argument("--untrained", action="store_true", help="take a model of timm as it is before training")


def _version() -> str:
    import superpose

    return superpose.__version__
