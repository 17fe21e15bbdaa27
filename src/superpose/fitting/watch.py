"""Keeps the best network seen during a fit, its history, and the conditions to stop."""

import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tqdm.auto import tqdm

from superpose.fitting.bundle import Data
from superpose.models import Network


@dataclass(frozen=True)
class Record:
    """One line of a fit's history. Losses are those of standardised targets: 1 is as good as the mean."""

    step: int
    solver: str
    train_loss: float
    validation_loss: float | None
    intervals: int
    seconds: float


@dataclass(frozen=True)
class Candidate:
    """A network on its way: what a solver shows after each step.

    Attributes:
        train_loss: Its loss on the data it is fitted to.
        intervals: Size of its bases.
        evaluate: Gives its loss on other data.
        network: Makes the network.
        lasting: Whether `network` will still make the same one after further steps.
    """

    train_loss: float
    intervals: int
    evaluate: Callable[[Data], float]
    network: Callable[[], Network]
    lasting: bool = False


@dataclass
class Watch:
    """Sees every step of every solver.

    Args:
        solver: Name of the solver, for the records.
        held_out: Data on which networks are judged; None judges them by their training loss.
        max_time: Seconds after which `done` turns true; None for no limit.
        verbose: 0 prints nothing; 1 shows one line on standard error that is written over.
    """

    solver: str
    held_out: Data | None = None
    max_time: float | None = None
    verbose: int = 0
    history: list[Record] = field(default_factory=list)
    best_loss: float = float("inf")
    offered_loss: float = float("inf")

    def __post_init__(self) -> None:
        self._began = time.perf_counter()
        self._best: Network | Candidate | None = None
        self._bar = tqdm(disable=not self.verbose, file=sys.stderr, unit=" steps", mininterval=0.2)

    @property
    def best(self) -> Network | None:
        """The best network seen, made when it is first asked for."""
        if isinstance(self._best, Candidate):
            self._best = self._best.network()
        return self._best

    @property
    def seconds(self) -> float:
        """Time since the fit began."""
        return time.perf_counter() - self._began

    @property
    def done(self) -> bool:
        """Whether the time is used up."""
        return self.max_time is not None and self.seconds >= self.max_time

    def see(self, candidate: Candidate, *, newest: bool = False) -> bool:
        """Record a step and say whether it is the best so far; a loss that is not a number never is.

        With `newest` and nothing held out a later step counts as better: it lowers a penalised loss, not the loss shown.
        """
        validation = None if self.held_out is None else candidate.evaluate(self.held_out)
        record = Record(
            len(self.history) + 1, self.solver, candidate.train_loss, validation, candidate.intervals, self.seconds
        )
        self.history.append(record)
        self._show(record)
        judged = record.train_loss if validation is None else validation
        if not (judged < self.best_loss or (newest and validation is None and math.isfinite(judged))):
            return False
        self._keep(candidate)
        self.best_loss = judged
        return True

    def accept(self, candidate: Candidate) -> None:
        """Take a candidate as the best whatever its loss: a simpler network that does as well."""
        self.best_loss = float("inf")
        self.see(candidate)

    def offer(self, candidate: Candidate) -> None:
        """Keep a candidate from before the first step, in case there will be none."""
        self._keep(candidate)
        self.offered_loss = candidate.train_loss

    def _keep(self, candidate: Candidate) -> None:
        self._best = candidate if candidate.lasting else candidate.network()

    def tell(self, text: str) -> None:
        """Say on the progress line what goes on between steps."""
        if self.verbose:
            self._bar.set_description(f"{self.solver}: {text}, {self.seconds:.0f} s")

    def close(self) -> None:
        """End the progress line."""
        self._bar.close()

    def _show(self, record: Record) -> None:
        if not self.verbose:
            return
        parts = [f"train {record.train_loss:.2e}"]
        if record.validation_loss is not None:
            parts.append(f"validation {record.validation_loss:.2e}")
        if record.intervals:
            parts.append(f"intervals {record.intervals}")
        if self.max_time is not None:
            parts.append(f"{max(0.0, self.max_time - record.seconds):.0f} s left")
        self._bar.set_description(f"{record.solver}: {', '.join(parts)}", refresh=False)
        self._bar.update()
