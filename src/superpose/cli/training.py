"""superpose train and superpose eval: networks for images, from a configuration file."""

from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

from superpose.cli.printing import print_table, terminal

TRAIN = "superpose train CONFIG [--resume RUN] [--recipes] [--OPTION VALUE ...]"
EVAL = "superpose eval RUN_OR_CHECKPOINT [--OPTION VALUE ...]"
OPTIONS = (
    "Options are those of a configuration, for example --data.root FOLDER, --task.model NAME or --optimization.lr 1e-3; "
    "--print_config shows all that are set."
)
CONFIG = "config.yaml"


def train(arguments: Sequence[str]) -> None:
    """Train as a configuration says."""
    from superpose.train import recipes

    ours = ArgumentParser(add_help=False, allow_abbrev=False)
    ours.add_argument("--resume", type=Path)
    ours.add_argument("--recipes", action="store_true")
    file, rest = _divide(arguments)
    chosen, rest = ours.parse_known_args(rest)
    if chosen.recipes:
        print(*recipes.names(), sep="\n")
        return
    if chosen.resume is not None:
        file = file or str(chosen.resume / CONFIG)
    given = ["--config", str(recipes.find(file))] if file else []
    with terminal(stderr=True).status("starting ..."):  # PyTorch, Lightning and timm take seconds
        from superpose.train import run
        from superpose.train.config import read
    config = read([*given, *rest], prog="superpose train", usage=TRAIN, description=OPTIONS)
    console = terminal()
    console.quiet = not run.is_first()
    folder = run.train(config, console, chosen.resume)
    console.print(f"\nDone. Now:\n  superpose eval {folder}", soft_wrap=True)


def evaluate(arguments: Sequence[str]) -> None:
    """Judge a network on the test data."""
    with terminal(stderr=True).status("starting ..."):
        from superpose.train.config import read
        from superpose.train.evaluation import evaluate as judge
        from superpose.train.evaluation import find_weights
    path, rest = _divide(arguments)
    about = {"prog": "superpose eval", "usage": EVAL, "description": OPTIONS}
    if path is None:
        read(rest, **about)  # for --help
        raise ValueError(f"name a run or a checkpoint first: {EVAL}.")
    weights = find_weights(Path(path))
    config = read(["--config", str(weights.parent / CONFIG), *rest], **about)
    scores, count = judge(config, weights)
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
