"""What the commands share: how they print, and files that are refused before anybody waits."""

from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from rich.console import Console


def print_scores(console: "Console", scores: dict[str, dict[str, float]]) -> None:
    """A line per model, ours last."""
    measures = list(next(iter(scores.values())))
    rows = [[name, *(number(measure, values[measure]) for measure in measures)] for name, values in scores.items()]
    print_table(console, ["held-out rows", *measures], rows, words=1)


def print_table(console: "Console", header: list[str], rows: list[list[str]], words: int) -> None:
    """A table whose first `words` columns are text and whose others are numbers."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for n, name in enumerate(header):
        table.add_column(name, justify="left" if n < words else "right", overflow="fold")
    for row in rows:
        table.add_row(*row, style="bold" if row is rows[-1] and words == 1 else None)
    console.print(table)


def terminal(*, stderr: bool = False) -> "Console":
    """Where to print: markup in the names of columns means nothing."""
    from rich.console import Console

    return Console(stderr=stderr, markup=False, highlight=False)


def checked_out(path: str | None, table: str) -> Path | None:
    """A file that can be written, before a fit that would have been for nothing."""
    if path is None:
        return None
    out = Path(path)
    if not out.parent.is_dir():
        refuse(f"the folder {out.parent} for --out does not exist.")
    if out.is_dir():
        refuse(f"--out {out} is a folder; name a file in it.")
    if out.exists() and Path(table).exists() and out.samefile(table):
        refuse(f"--out {out} would overwrite the table; name another file.")
    return out


def refuse(message: str) -> NoReturn:
    """End the command: the user can put something right."""
    from superpose.tabular import InputError

    raise InputError(message)


def number(measure: str, value: float) -> str:
    """A score, with the digits that count."""
    if not isfinite(value):
        return "–"
    if measure in ("R²", "accuracy", "log loss") and abs(value) < 100:
        return f"{value:.3f}"
    if measure == "seconds":
        return f"{value:.1f}"
    return f"{value:.3g}" if abs(value) < 1000 or abs(value) >= 1e9 else f"{value:,.0f}"


def plural(count: int, noun: str) -> str:
    """So many of them."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def size(path: Path) -> str:
    """Size of a file in words."""
    return f"{max(1, round(path.stat().st_size / 1000))} kB"


def describe_target(target: Any) -> str:
    """What kind of column it is."""
    from superpose.tabular.reading import shorten

    return f"{len(target.classes)} classes ({shorten(target.classes, 5)})" if target.classes else "numbers"


def count_holes(holes: dict[str, int], most: int = 5) -> str:
    """How many values are missing where."""
    listed = ", ".join(f"{count} in {name}" for name, count in list(holes.items())[:most])
    return (
        listed if len(holes) <= most else f"{listed} and {sum(list(holes.values())[most:])} in {len(holes) - most} more"
    )
