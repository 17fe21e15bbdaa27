"""What the sections of a report on speed share."""

import argparse
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType

from peers.columns import Row
from peers.rounds import Call, Times, brief, interleaved
from report import Report


@dataclass
class Run:
    """What the sections share: where they write, what was asked for, and the peers."""

    report: Report
    given: argparse.Namespace
    modules: Mapping[str, ModuleType]
    paths: Mapping[str, Path]
    failed: list[str] = field(default_factory=list)

    @property
    def quick(self) -> bool:
        return self.given.quick

    @property
    def repeats(self) -> int:
        return self.given.repeats

    def times(self, calls: Mapping[str, Call]) -> dict[str, Times]:
        """Measure calls in turns, by the clock that was asked for."""
        clock = time.process_time if self.given.processor_time else time.perf_counter
        return interleaved(calls, self.repeats, clock)

    def small(self, row: Row) -> Row:
        """The row as it is timed: with --quick a handful of everything."""
        return replace(row, widths=tuple(min(w, 16) for w in row.widths), batch=32) if self.quick else row

    def failure(self, where: str, error: Exception) -> None:
        """Say in the report that something did not work, and remember it."""
        traceback.print_exception(error)
        self.failed.append(where)
        self.report.text(
            f"**{where} failed** with {type(error).__name__}: {next(iter(str(error).splitlines()), 'no message')}"
        )


def verdict(reached: float, target: float, unit: str = "") -> str:
    """A figure beside the most it is meant to be."""
    return f"{brief(reached)}{unit} (at most {target:g}{unit}: {'met' if reached <= target else '**missed**'})"
