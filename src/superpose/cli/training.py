"""superpose train and superpose eval: networks for images, from a configuration file."""

from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from superpose.cli.printing import print_table, terminal

if TYPE_CHECKING:
    import jsonargparse

TRAIN = "superpose train CONFIG [--resume RUN] [--recipes] [--OPTION VALUE ...]"
EVAL = "superpose eval RUN_OR_CHECKPOINT [--OPTION VALUE ...]"
EXAMPLE = "for example --data.root FOLDER, --task.model NAME, --optimization.lr 1e-3 or --print_config"


def train(arguments: Sequence[str]) -> None:
    """Train as a configuration says."""
    with terminal(stderr=True).status("starting ..."):  # PyTorch, Lightning and timm take seconds
        from superpose.train import run
        from superpose.train.config import find_config, recipes
    ours = ArgumentParser(add_help=False, allow_abbrev=False)
    ours.add_argument("--resume", type=Path)
    ours.add_argument("--recipes", action="store_true")
    config, rest = _divide(arguments)
    chosen, rest = ours.parse_known_args(rest)
    console = terminal()
    if chosen.recipes:
        print(*recipes(), sep="\n")
        return
    if config is None and chosen.resume is not None:
        config = str(chosen.resume / run.CONFIG)
    reader = _reader(TRAIN)
    settings = reader.parse_args([*(["--config", find_config(config)] if config else []), *rest])
    try:
        folder = run.train(reader, settings, console, chosen.resume)
    except KeyboardInterrupt:
        console.print("\nThe best so far is kept; superpose train --resume RUN goes on.")
        raise
    console.print(f"\nDone. Now:\n  superpose eval {folder}", soft_wrap=True)


def evaluate(arguments: Sequence[str]) -> None:
    """Judge a network on the test data."""
    with terminal(stderr=True).status("starting ..."):
        from superpose.train.evaluation import evaluate as judge
        from superpose.train.evaluation import find_weights
        from superpose.train.run import CONFIG
    reader = _reader(EVAL)
    path, rest = _divide(arguments)
    if path is None:
        reader.parse_args(rest)  # shows the help if asked for
        raise ValueError(f"name a run or a checkpoint: {EVAL}.")
    weights = find_weights(Path(path))
    settings = reader.parse_args(["--config", str(weights.parent / CONFIG), *rest])
    scores, count = judge(reader, settings, weights)
    rows = [
        [name, f"{s.value:.4f}", "–" if s.interval is None else "{:.4f} to {:.4f}".format(*s.interval)]
        for name, s in scores.items()
    ]
    console = terminal()
    console.print(f"{weights} on {count:,} test samples:", soft_wrap=True)
    print_table(console, ["measure", "value", "95 % interval"], rows, words=1)


def _divide(arguments: Sequence[str]) -> tuple[str | None, list[str]]:
    """What comes first, if it is no option, and the rest."""
    if arguments and not arguments[0].startswith("-"):
        return arguments[0], list(arguments[1:])
    return None, list(arguments)


def _reader(usage: str) -> "jsonargparse.ArgumentParser":
    from superpose.train.config import parser

    return parser(
        prog=" ".join(usage.split()[:2]), usage=usage, description=f"Options are those of a configuration, {EXAMPLE}."
    )
