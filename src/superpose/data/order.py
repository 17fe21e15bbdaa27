"""Which images make the batches of an epoch: a function of the seed and the epoch, shared by any number of processes."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Dataset, Sampler

Key = tuple[int, int]
"""The epoch and the index of a sample; datasets are asked for these, so that augmentation can depend on both."""


@dataclass(frozen=True)
class Share:
    """What a process does of each step.

    Args:
        rank: Number of this process, from 0.
        world_size: How many processes there are.
        accumulate: In how many batches each process takes its part, one after the other.
    """

    rank: int = 0
    world_size: int = 1
    accumulate: int = 1


class TrainingOrder(Sampler[list[Key]]):
    """The batches of one epoch, from one of them on.

    Each step takes `batch_size` images over all processes, in an order that depends on seed and epoch alone; what does
    not fill a last step is left out. So neither the number of processes nor `accumulate` changes what a step learns from.

    Args:
        size: Number of samples.
        batch_size: Images of a step, over all processes and accumulated batches.
        seed: Chooses the order.
        share: The part of this process.

    Raises:
        ValueError: If the batch does not divide evenly, or is larger than the data.
    """

    def __init__(self, size: int, batch_size: int, seed: int, share: Share) -> None:
        parts = share.world_size * share.accumulate
        if batch_size < 1 or batch_size % parts:
            raise ValueError(
                f"batch_size is {batch_size}, for all of {share.world_size} processes times {share.accumulate} accumulated "
                f"batches together; take a multiple of {parts}."
            )
        if size < batch_size:
            raise ValueError(f"{size} samples do not fill one batch of {batch_size}; take a smaller batch_size.")
        self.size, self.batch_size, self.seed, self.share = size, batch_size, seed, share
        self.epoch, self.start = 0, 0

    def __len__(self) -> int:
        return self.size // self.batch_size * self.share.accumulate

    def __iter__(self) -> Iterator[list[Key]]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.size)
        part = self.batch_size // (self.share.world_size * self.share.accumulate)
        for n in range(self.start, len(self)):
            first = (n * self.share.world_size + self.share.rank) * part
            yield [(self.epoch, int(index)) for index in order[first : first + part]]


class EvaluationOrder(Sampler[list[Key]]):
    """Every sample once, and the same number of batches for every process, none of them empty.

    Args:
        size: Number of samples.
        batch_size: The most images of a batch, over all processes.
        share: The part of this process.

    Raises:
        ValueError: If there are fewer samples than processes.
    """

    def __init__(self, size: int, batch_size: int, share: Share) -> None:
        if size < share.world_size:
            raise ValueError(f"{size} samples cannot be shared by {share.world_size} processes.")
        each = max(1, batch_size // share.world_size)
        rounds = min(-(-size // (each * share.world_size)), size // share.world_size)
        self.parts = np.array_split(np.arange(size), rounds * share.world_size)[share.rank :: share.world_size]

    def __len__(self) -> int:
        return len(self.parts)

    def __iter__(self) -> Iterator[list[Key]]:
        for part in self.parts:
            yield [(0, int(index)) for index in part]


class TrainingLoader(DataLoader[Any]):
    """Batches of one epoch after the other; each iteration goes on where the last one stopped, as does a loaded state.

    Args:
        dataset: What is asked for an epoch and an index.
        order: Its batches.
        **options: More arguments of `DataLoader`.
    """

    def __init__(self, dataset: Dataset[Any], order: TrainingOrder, **options: Any) -> None:
        super().__init__(dataset, batch_sampler=order, **options)
        self._order = order
        self._state = {"epoch": 0, "batch": 0}

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]  # a private class of PyTorch's
        self._order.epoch, self._order.start = self._state["epoch"], self._state["batch"]
        for batch in super().__iter__():
            # Counted before it is handed out: whoever saves the state has then done this batch.
            epoch, done = divmod(self._state["batch"] + 1, len(self))
            self._state = {"epoch": self._state["epoch"] + epoch, "batch": done}
            yield batch

    def state_dict(self) -> dict[str, int]:
        """The epoch, and how many of its batches have been handed out."""
        return dict(self._state)

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on from there."""
        self._state = dict(state)
