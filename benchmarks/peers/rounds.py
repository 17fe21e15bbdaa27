"""Times of several calls, taken in turns in one process."""

import contextlib
import gc
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

TURN = 5e-3
"""Seconds of calls that a turn measures at least, so that the clock and the loop do not count."""

SLOW = 0.25
"""Seconds of a call from which it sits out rounds, though never so many that it has fewer than five turns."""

LOUD = 0.05
"""Share of the processors' time that others may take."""

Clock = Callable[[], float]


@dataclass(frozen=True)
class Call:
    """What is timed, what goes before each time and is not, and what surrounds a turn."""

    run: Callable[[], object]
    prepare: Callable[[], object] | None = None
    context: Callable[[], AbstractContextManager[Any]] = contextlib.nullcontext

    def seconds(self, calls: int, clock: Clock) -> float:
        """Mean time of so many calls in a row."""
        if self.prepare is None:
            began = clock()
            for _ in range(calls):
                self.run()
            return (clock() - began) / calls
        total = 0.0
        for _ in range(calls):
            self.prepare()
            began = clock()
            self.run()
            total += clock() - began
        return total / calls


@dataclass(frozen=True)
class Times:
    """Seconds of one call, one entry per turn."""

    seconds: list[float]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def cell(self, unit: float = 1e3) -> str:
        """Median with the quartiles, in milliseconds or other parts of a second."""
        values = [value * unit for value in self.seconds]
        if len(values) == 1:
            return brief(values[0])
        low, middle, high = map(brief, statistics.quantiles(values, n=4, method="inclusive"))
        return f"{middle} ({low} to {high})"


def brief(value: float) -> str:
    """Three digits, and no exponent before a large number."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


@dataclass(frozen=True)
class _Plan:
    """How a call takes its turns."""

    call: Call
    clock: Clock
    calls: int
    every: int

    @classmethod
    def of(cls, call: Call, repeats: int, clock: Clock) -> "_Plan":
        """Warm up, and go by how long the last warm-up took."""
        with call.context():
            began, last, count = time.perf_counter(), call.seconds(1, clock), 1
            while count < 3 or (time.perf_counter() - began < min(0.1, repeats / 100) and count < 50):
                last, count = call.seconds(1, clock), count + 1
        return cls(call, clock, max(1, round(TURN / last)), max(1, min(1 + int(last / SLOW), repeats // 5)))

    def turn(self) -> float:
        """One measurement; what the neighbours left in the caches is replaced first by a call that does not count."""
        with self.call.context():
            if self.every == 1:
                self.call.seconds(1, self.clock)
            return self.call.seconds(self.calls, self.clock)


def interleaved(calls: Mapping[str, Call], repeats: int, clock: Clock = time.perf_counter) -> dict[str, Times]:
    """Round after round, one turn for each call; the order is turned around from round to round."""
    plans = {name: _Plan.of(call, repeats, clock) for name, call in calls.items()}
    found: dict[str, list[float]] = {name: [] for name in calls}
    with _no_garbage():
        for number in range(repeats):
            for name in list(calls)[:: -1 if number % 2 else 1]:
                if number % plans[name].every == 0:
                    found[name].append(plans[name].turn())
            gc.collect()
    return {name: Times(seconds) for name, seconds in found.items()}


@contextlib.contextmanager
def _no_garbage() -> Iterator[None]:
    """Collect garbage between turns only, and look at nothing that was there before."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """Another number of threads for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def settle_allocator() -> None:
    """Bring the C library's allocator to where a long run takes it, so that no column depends on its neighbours.

    Freeing a large block makes glibc reuse all smaller ones from then on instead of asking the system for zeroed pages;
    it goes up to 32 MiB.
    """
    torch.empty(2**25 - 2**16, dtype=torch.uint8)


class Company:
    """How busy the machine was with anything but this process and its children since this was made."""

    def __init__(self) -> None:
        self.began, self.busy, self.own = time.perf_counter(), _busy(), _own()

    def __str__(self) -> str:
        if self.busy is None:
            return "what other processes took is unknown here"
        others = (_busy() or 0.0) - self.busy - (_own() - self.own)
        share = max(0.0, others / (time.perf_counter() - self.began) / (os.cpu_count() or 1))
        loud = "" if share < LOUD else ": **too much for these figures to be quoted**"
        return f"other processes took {share:.0%} of the processors' time{loud}"


def _busy() -> float | None:
    """Processor seconds of the whole machine, stolen ones too."""
    try:
        numbers = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    except (OSError, ValueError):
        return None
    user, nice, system, _, _, irq, softirq, steal = numbers
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def _own() -> float:
    return sum(os.times()[:4])
