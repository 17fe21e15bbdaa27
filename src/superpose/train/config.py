"""The configuration of a run: YAML and overrides, checked against the types of what they make."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from jsonargparse import ArgumentParser
from lightning.pytorch.callbacks import Callback

from superpose.data.chance import seeded
from superpose.train import classification as classification  # so that the names of their tasks are known
from superpose.train import pretraining as pretraining
from superpose.train import watching as watching  # and those of its callbacks
from superpose.train.data import Data
from superpose.train.optimization import Optimization
from superpose.train.task import Task


@dataclass(frozen=True)
class Machine:
    """Where a run happens; none of it changes what is learned, but for rounding.

    Args:
        accelerator: Lightning's name of it: `cpu`, `gpu`, `mps` or `auto`.
        devices: How many on each node, or `auto` for all.
        nodes: How many machines.
        strategy: `ddp` copies the network to each device, `fsdp2` shards it; `auto` is `ddp` if there are several.
        precision: Lightning's name of it.
        accumulate: In how many batches each process takes its part of a step.
        compile: Whether `torch.compile` is used.

    Raises:
        ValueError: If `accumulate` is below 1.
    """

    accelerator: str = "auto"
    devices: int | Literal["auto"] = "auto"
    nodes: int = 1
    strategy: Literal["auto", "ddp", "fsdp2"] = "auto"
    precision: Literal["32-true", "64-true", "16-mixed", "bf16-mixed"] = "32-true"
    accumulate: int = 1
    compile: bool = False

    def __post_init__(self) -> None:
        if self.accumulate < 1:
            raise ValueError(f"accumulate should be at least 1, got {self.accumulate}.")


@dataclass(frozen=True)
class Records:
    """What a run writes, and how often.

    Args:
        name: Folder of runs of this kind.
        folder: Where all runs are.
        log_every: Steps between two rows of losses.
        save_every: Steps between two checkpoints; there is one after each epoch too.

    Raises:
        ValueError: If a number of steps is below 1.
    """

    name: str = "run"
    folder: str = "runs"
    log_every: int = 50
    save_every: int = 1000

    def __post_init__(self) -> None:
        if self.log_every < 1 or self.save_every < 1:
            raise ValueError(
                f"log_every and save_every should be at least 1, got {self.log_every} and {self.save_every}; "
                "a large number stands for never."
            )


@dataclass
class Config:
    """All there is to say about a run, and as text what makes it anew."""

    task: Task
    data: Data
    optimization: Optimization
    machine: Machine
    records: Records
    callbacks: list[Callback]
    seed: int
    text: str


def parser(**options: Any) -> ArgumentParser:
    """What reads configurations."""
    made = ArgumentParser(allow_abbrev=False, **options)
    made.add_argument("--config", action="config", help="YAML file")
    made.add_subclass_arguments(Task, "task", help="what is learned", required=True)
    made.add_subclass_arguments(Data, "data", help="from what", required=True)
    made.add_class_arguments(Optimization, "optimization")
    made.add_class_arguments(Machine, "machine")
    made.add_class_arguments(Records, "records")
    made.add_argument("--callbacks", type=list[Callback], default=[], help="Lightning callbacks that watch")
    made.add_argument("--seed", type=int, default=0, help="chooses all that is left to chance")
    made.link_arguments("seed", "data.init_args.seed")
    return made


def read(arguments: Sequence[str], **options: Any) -> Config:
    """The configuration that arguments such as `--config FILE --seed 3` describe.

    The first weights depend on the seed alone.

    Args:
        arguments: What would stand on the command line.
        **options: Arguments of the parser, such as its name in messages.

    Raises:
        ValueError: If an object cannot be made of its arguments.
        SystemExit: If there are no such options, or their values are of the wrong type.
    """
    reader = parser(**options)
    chosen = reader.parse_args(list(arguments))
    try:
        with seeded(chosen.seed):
            made = reader.instantiate(chosen)
    except ValueError as error:  # jsonargparse puts what an object of ours says into a page about types
        raise (error.__cause__ if isinstance(error.__cause__, ValueError) else error) from None
    names = ("task", "data", "optimization", "machine", "records", "callbacks", "seed")
    return Config(**{name: made[name] for name in names}, text=reader.dump(chosen))
