"""The command line: fit a table, judge the fit, predict. Nothing heavy is imported before the arguments are read."""

import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from superpose.cli.printing import terminal

if TYPE_CHECKING:
    from jsonargparse import Namespace

WRONG_INPUT = 2
"""What the program returns when the user can put something right; the parser returns the same."""

CONFIGURED = ("train", "pretrain", "finetune", "eval")
"""Commands whose arguments are a configuration, which only PyTorch and Lightning can check."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code: 0, or 2 when the input is wrong."""
    try:
        from superpose.cli.arguments import parser as make_parser

        parser = make_parser()
    except ModuleNotFoundError as error:
        return _fail(f"the command line needs {error.name}: pip install 'superpose[cli]'.")
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given and given[0] in CONFIGURED:
        return _train(*given)
    chosen = parser.parse_args(given)
    if chosen.subcommand is None:
        parser.print_help()
        return 0
    try:
        return _run(chosen)
    except KeyboardInterrupt:
        return _fail("interrupted.", 130)


def _train(command: str, *arguments: str) -> int:
    """Run a command whose arguments are a configuration, and return the exit code."""
    try:
        from superpose.cli import pretraining, training

        run = {"pretrain": pretraining.pretrain, "finetune": pretraining.finetune, "eval": training.evaluate}
        run.get(command, training.train)(arguments)
    except ModuleNotFoundError as error:
        return _fail(f"superpose {command} needs {error.name}: pip install 'superpose[vision]'.")
    except KeyboardInterrupt:
        return _fail("interrupted.", 130)
    except ValueError as error:
        if not _is_about_input(error):
            raise
        return _fail(str(error))
    return 0


def _is_about_input(error: ValueError) -> bool:
    """Whether it is an error of ours, which says what to put right; another one needs its traceback."""
    frames = list(traceback.walk_tb(error.__traceback__))
    return frames[-1][0].f_globals["__name__"].startswith("superpose.")


def _run(chosen: "Namespace") -> int:
    """Run the chosen command and return the exit code."""
    with terminal(stderr=True).status("starting ..."):  # PyTorch and scikit-learn take seconds on a slow machine
        from superpose.tabular import InputError
    from superpose.cli import attention, discovery, fitting, models

    commands: dict[str, Callable[[Namespace], None]] = {
        "fit": fitting.run,
        "predict": models.predict,
        "report": models.report,
        "discover": discovery.run,
        "info": models.info,
        "attention": attention.run,
        "demo": _demo,
    }
    try:
        commands[chosen.subcommand](chosen[chosen.subcommand])
        sys.stdout.flush()
    except InputError as error:
        return _fail(str(error))
    except BrokenPipeError:  # whoever reads our output has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _demo(chosen: "Namespace") -> None:
    from superpose.demo import show

    show(terminal())


def _fail(message: str, code: int = WRONG_INPUT) -> int:
    print(f"superpose: {message}", file=sys.stderr)
    return code
