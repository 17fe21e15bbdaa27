"""How good a trained network is on data that nobody has chosen by."""

from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from lightning.pytorch import Trainer
from safetensors import SafetensorError
from safetensors.torch import load_file
from torchmetrics.classification import MulticlassAccuracy

from superpose.train.checkpoints import BEST, LAST, MODEL, SaveBest
from superpose.train.classification import Classification
from superpose.train.config import Config
from superpose.train.module import Training
from superpose.train.run import placed, quiet

Z95 = 1.959963984540054
"""The standard normal exceeds it with probability 2.5 %."""


@dataclass(frozen=True)
class Score:
    """One measure on the test data.

    Args:
        value: What it is.
        interval: 95 % confidence interval, for shares of right answers.
    """

    value: float
    interval: tuple[float, float] | None = None


def evaluate(config: Config, weights: Path) -> tuple[dict[str, Score], int]:
    """The measures of a network's task on the test data, and how many samples there were.

    Args:
        config: The configuration of the run.
        weights: `best.safetensors` or a checkpoint of the run.

    Raises:
        ValueError: If the file holds no weights, or not those of the configuration's network.
    """
    state = read_weights(weights)
    try:
        config.task.model.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"{weights} does not fit the network of the configuration: {error}") from error
    machine = type(config.machine)(
        accelerator=config.machine.accelerator, devices=1, precision=config.machine.precision
    )
    silent: dict[str, Any] = {"logger": False, "enable_progress_bar": False, "enable_checkpointing": False}
    with quiet():
        trainer = Trainer(**placed(machine), **silent)
        module = Training(config.task, config.optimization, seed=config.seed)
        trainer.test(module, datamodule=config.data, verbose=False)
    count = len(trainer.test_dataloaders.dataset)  # type: ignore[union-attr]
    scores = {}
    metrics = dict(config.task.metrics.items())
    # The pixels of an image are not independent answers; one metric may have several values, under names of its own.
    single = isinstance(config.task, Classification)
    for key, logged in trainer.callback_metrics.items():
        name, value = key.removeprefix("test/"), float(logged)
        metric = metrics.get(name)
        share = single and isinstance(metric, MulticlassAccuracy) and metric.average == "micro"
        scores[name] = Score(value, wilson(value, count) if share else None)
    return scores, count


def find_weights(path: Path) -> Path:
    """The file of weights that a run, or the path of one, stands for.

    Raises:
        ValueError: If there is none.
    """
    file = path / f"{BEST}{SaveBest.FILE_EXTENSION}" if path.is_dir() else path
    if not file.is_file():
        raise ValueError(f"there is no file {file}; name the folder of a run, or a checkpoint in it.")
    return file


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """The weights of a network in a file; running no code.

    Raises:
        ValueError: If the file holds none.
    """
    try:
        if path.suffix == SaveBest.FILE_EXTENSION:
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    except (SafetensorError, UnpicklingError, EOFError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} holds no weights of a run, or is cut off; name the folder of a run, or "
            f"{BEST}{SaveBest.FILE_EXTENSION} or {LAST} in it."
        ) from error
    return {name.removeprefix(MODEL): value for name, value in state.items() if name.startswith(MODEL)}


def wilson(share: float, count: int) -> tuple[float, float]:
    """The 95 % confidence interval of a share of `count` independent answers (Wilson 1927, JASA 22, 209).

    Example:
        >>> [round(bound, 4) for bound in wilson(0.9, 1000)]
        [0.8798, 0.9171]
    """
    z = Z95
    middle = share + z * z / (2 * count)
    spread = z * sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return (middle - spread) / (1 + z * z / count), (middle + spread) / (1 + z * z / count)
