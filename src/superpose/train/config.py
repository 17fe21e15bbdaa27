"""The configuration of a run: YAML and overrides, checked against the types of what they make."""

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from jsonargparse import ArgumentParser, Namespace
from lightning.pytorch.callbacks import Callback

from superpose.data.chance import seeded
from superpose.train.data import Data
from superpose.train.module import Optimization
from superpose.train.task import Task

RECIPES = files("superpose.train") / "recipes"


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
    """

    accelerator: str = "auto"
    devices: int | Literal["auto"] = "auto"
    nodes: int = 1
    strategy: Literal["auto", "ddp", "fsdp2"] = "auto"
    precision: Literal["32-true", "64-true", "16-mixed", "bf16-mixed", "bf16-true"] = "32-true"
    accumulate: int = 1
    compile: bool = False


@dataclass(frozen=True)
class Records:
    """What a run writes, and how often.

    Args:
        name: Folder of runs of this kind.
        folder: Where all runs are.
        log_every: Steps between two rows of losses.
        save_every: Steps between two checkpoints; there is one after each epoch too.
    """

    name: str = "run"
    folder: str = "runs"
    log_every: int = 50
    save_every: int = 1000


@dataclass
class Config:
    """All there is to say about a run."""

    task: Task
    data: Data
    optimization: Optimization
    machine: Machine
    records: Records
    callbacks: list[Callback]
    seed: int


def parser(**options: Any) -> ArgumentParser:
    """What reads configurations."""
    import superpose.train.classification  # noqa: F401  so that its name is known

    made = ArgumentParser(exit_on_error=True, **options)
    made.add_argument("--config", action="config", help="YAML file, or the name of a recipe")
    made.add_subclass_arguments(Task, "task", help="what is learned", required=True)
    made.add_subclass_arguments(Data, "data", help="from what", required=True)
    made.add_class_arguments(Optimization, "optimization")
    made.add_class_arguments(Machine, "machine")
    made.add_class_arguments(Records, "records")
    made.add_argument("--callbacks", type=list[Callback], default=[], help="Lightning callbacks that watch")
    made.add_argument("--seed", type=int, default=0, help="chooses all that is left to chance")
    made.link_arguments("seed", "data.init_args.seed")
    return made


def build(reader: ArgumentParser, chosen: Namespace) -> Config:
    """The objects that a configuration describes; the first weights depend on its seed alone."""
    with seeded(chosen.seed):
        made = reader.instantiate_classes(chosen)
    names = ("task", "data", "optimization", "machine", "records", "callbacks", "seed")
    return Config(**{name: made[name] for name in names})


def recipes() -> list[str]:
    """Names of the configurations that come with superpose."""
    return sorted(path.name.removesuffix(".yaml") for path in RECIPES.iterdir() if path.name.endswith(".yaml"))


def find_config(name: str) -> str:
    """The file of that path, or the recipe of that name.

    Raises:
        ValueError: If there is neither.
    """
    if Path(name).is_file():
        return name
    if name in recipes():
        return str(RECIPES / f"{name}.yaml")
    raise ValueError(f"there is no file {name}, and the recipes are {', '.join(recipes())}.")
