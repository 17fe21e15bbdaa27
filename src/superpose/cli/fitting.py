"""superpose fit: a network for a table, and how good it is."""

from typing import TYPE_CHECKING, Any

from superpose.cli.printing import checked_out, count_holes, describe_target, plural, print_scores, size, terminal

if TYPE_CHECKING:
    from jsonargparse import Namespace
    from rich.console import Console

FEW_VALUES = 30
"""Different whole numbers up to which a target may well be classes."""


def run(chosen: "Namespace") -> None:
    """Fit a table, judge the fit, and save it if asked."""
    from superpose.tabular import Job, fit_pipeline, prepare, read_table

    out = checked_out(chosen.out, chosen.table)
    console = terminal()
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
    with terminal(stderr=True).status("fitting ..."):
        pipeline, scores = fit_pipeline(table, job)
    console.print(f"\n{pipeline.network!r}")
    if scores:
        print_scores(console, {each.name: {**each.measures, "seconds": each.seconds} for each in scores})
        console.print(pipeline.record["verdict"], style="bold")
    else:
        console.print("Nothing was held out, so nobody knows how good it is.", style="bold")
    if out is None:
        console.print("\nNothing is saved; add --out FILE to keep the model.")
        return
    pipeline.save(str(out))
    console.print(f"\nSaved to {out} ({size(out)}). Now:\n  superpose predict {out} TABLE", soft_wrap=True)


def _say_what_is_fitted(console: "Console", path: str, table: Any) -> None:
    """What became of the table, before anybody waits for a fit."""
    import numpy as np

    inputs, target = table.inputs, table.target
    held = int(table.held.sum())
    console.print(f"{path}: {len(table.y)} rows, {held or 'none'} of them held out to judge the fit.")
    if table.dropped:
        console.print(f"{plural(table.dropped, 'more row')} left out, because {target.name} is missing there.")
    console.print(f"To predict: {target.name}, as {describe_target(target)}, {target.reason}.")
    values = np.unique(table.y)
    if not target.classes and len(values) <= FEW_VALUES and (values == values.round()).all():
        console.print(f"It has only {len(values)} different values; if they are classes, add --task classification.")
    console.print(
        f"From: {plural(len(inputs.columns), 'column')}, {plural(len(inputs.outputs), 'input')} of the network."
    )
    for words, text in (("the median stands in", False), ("that is a value of its own", True)):
        holes = {c.name: c.holes for c in inputs.columns if c.holes and (c.name in inputs.text) == text}
        if holes:
            console.print(f"Missing: {count_holes(holes)}; {words}.")
    for name, reason in inputs.left_out.items():
        console.print(f"Not used: {name}, because {reason}.")
