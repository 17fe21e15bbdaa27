"""What a fit of a table is told, and what it tells."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class TableOptions:
    """How to fit; the meanings are those of `KANRegressor`."""

    hidden: tuple[int, ...] | None
    intervals: int
    degree: int
    solver: str
    alpha: float
    max_iter: int
    batch_size: int
    early_stopping: bool | None
    validation_fraction: float
    patience: int
    tol: float
    max_time: float | None
    seed: int


@dataclass
class Journal:
    """Collects the steps of a fit, and knows when its time is up."""

    max_time: float | None
    show: Callable[[str], None]
    losses: list[float] = field(default_factory=list)
    validation_losses: list[float] = field(default_factory=list)
    stopped: str = "finished"

    def __post_init__(self) -> None:
        self.began = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Time since the fit began."""
        return time.perf_counter() - self.began

    @property
    def late(self) -> bool:
        """Whether the time is used up."""
        return self.max_time is not None and self.seconds >= self.max_time

    def note(self, solver: str, loss: float, validation: float | None = None) -> None:
        """Take down one step."""
        self.losses.append(loss)
        if validation is not None:
            self.validation_losses.append(validation)
        tail = "" if validation is None else f", validation {validation:.3e}"
        self.show(f"{solver} step {len(self.losses)}: loss {loss:.3e}{tail}, {self.seconds:.1f} s")
