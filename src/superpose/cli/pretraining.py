"""superpose pretrain and superpose finetune: superpose train, in two steps."""

from argparse import ArgumentParser
from collections.abc import Sequence

from superpose.cli import training


def pretrain(arguments: Sequence[str]) -> None:
    """Learn from images without their labels, as a configuration such as `cifar10_pretrain_small` says."""
    training.train(arguments)


def finetune(arguments: Sequence[str]) -> None:
    """Go on from there: `superpose finetune CONFIG --encoder RUN [--OPTION VALUE ...]`."""
    ours = ArgumentParser(add_help=False, allow_abbrev=False)
    ours.add_argument("--encoder")
    chosen, rest = ours.parse_known_args(arguments)
    training.train(rest if chosen.encoder is None else [*rest, "--task.encoder", chosen.encoder])
