"""superpose discover: formulas for a column of a table, and how good they are."""

import time
from typing import TYPE_CHECKING, Any

from superpose.cli.printing import checked_out, number, plural, print_scores, refuse, size, terminal

if TYPE_CHECKING:
    from jsonargparse import Namespace
    from rich.console import Console

LONGEST = 200
"""Letters of a formula in the table of all."""


def run(chosen: "Namespace") -> None:
    """Find formulas, show all of them, say how good the picked one is, and write them if asked."""
    from superpose.storage import write_whole
    from superpose.tabular import Job, checked_ending, compare, discover, prepare_numbers, read_table

    out = checked_out(chosen.out, chosen.table)
    kind = None if out is None else checked_ending(out)
    console = terminal()
    job = Job(
        target=chosen.target,
        drop=tuple(chosen.drop),
        holdout=chosen.holdout,
        max_time=chosen.max_time,
        seed=chosen.seed,
    )
    numbers = prepare_numbers(read_table(chosen.table), job)
    _say_what_is_searched(console, chosen.table, numbers, chosen.max_time)
    notes = terminal(stderr=True)
    with notes.status("fitting the models to compare with ..."):  # first, so that Ctrl-C in the search has them
        others = compare(numbers, job)
    progress = _Progress(chosen.max_time)
    with notes.status(progress):
        found = discover(numbers, job, others, progress.say)
    _print_front(console, found)
    if out is None or kind is None:
        console.print("\nNothing is written; add --out FILE.json, .csv or .tex to keep the formulas.")
        return
    try:
        write_whole(out, found.write(kind).encode())
    except OSError as error:
        refuse(f"{out} cannot be written: {error.strerror or error}.")
    more = f" Show them with:\n  superpose report MODEL TABLE --formulas {out}" if kind == ".json" else ""
    console.print(f"\nWrote {plural(len(found.rows), 'formula')} to {out} ({size(out)}).{more}", soft_wrap=True)


class _Progress:
    """What is going on, and how much time is left; made anew whenever the terminal is drawn."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds
        self._line = "starting"

    def say(self, line: str) -> None:
        """Something else is going on."""
        self._line = line

    def __rich__(self) -> str:
        left = max(0, round(self._end - time.monotonic()))
        return f"{f'{left} s left' if left else 'finishing'}, Ctrl-C for the best so far: {self._line} ..."


def _say_what_is_searched(console: "Console", path: str, numbers: Any, seconds: float) -> None:
    """What became of the table, before anybody waits for a search."""
    held = int(numbers.held.sum())
    console.print(f"{path}: {plural(len(numbers.y), 'row')}, {held or 'none'} of them held out to judge the formulas.")
    if numbers.dropped:
        console.print(f"{plural(numbers.dropped, 'more row')} left out, because a value is missing there.")
    columns = list(numbers.columns.values())
    shown = ", ".join(columns[:20]) + (f" and {len(columns) - 20} more" if len(columns) > 20 else "")
    console.print(f"Wanted: {numbers.target} from {shown}, in at most {seconds:g} s.")
    for symbol, name in numbers.columns.items():
        if symbol != name:
            console.print(f"In formulas, {name!r} is written {symbol}.")
    for name, reason in numbers.left_out.items():
        console.print(f"Not used: {name}, because {reason}.")
    if numbers.searched < len(numbers.y) - held:
        console.print(f"The search takes {numbers.searched} of the rows, drawn by chance; all held-out rows judge.")


def _print_front(console: "Console", found: Any) -> None:
    """All formulas with their errors, the other models, and the sentence."""
    if found.model.stopped_ == "interrupted":
        console.print("\nInterrupted; this is the best so far.")
    judged = bool(found.scores)
    console.print()
    rows = []
    for row in found.rows:
        error = number("RMSE", (row["test_loss"] if judged else row["held_out_loss"]) ** 0.5)
        text = row["text"] if row["picked"] or len(row["text"]) <= LONGEST else f"{row['text'][:LONGEST]} ..."
        rows.append([">>>>" if row["picked"] else "", str(row["complexity"]), error, text])
    _print_formulas(console, rows)
    if judged:
        scores = {each.name: {**each.measures, "seconds": each.seconds} for each in found.scores}
        print_scores(console, {("formula >>>>" if name == "formula" else name): each for name, each in scores.items()})
    console.print(found.verdict, style="bold")
    console.print(f"\n{found.numbers.target} = {found.picked['text']}", style="bold", soft_wrap=True)


def _print_formulas(console: "Console", rows: list[list[str]]) -> None:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for n, name in enumerate(("", "complexity", "RMSE", "formula")):
        table.add_column(name, justify="right" if n in (1, 2) else "left", overflow="fold")
    for row in rows:
        table.add_row(*row, style="bold" if row[0] else None)
    console.print(table)
