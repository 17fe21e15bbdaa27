"""What all benchmarks share: their options, the header of a report, tables with medians and spreads, and timing."""

import argparse
import contextlib
import datetime
import json
import math
import os
import platform
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

import superpose

HERE = Path(__file__).parent
MEDIANS = "medians over the seeds, with the range in brackets"
MEANS = "means over the seeds, with their standard error after the ±"
"""What the numbers of a report are, in its header."""


def options(about: str | None, *, seeds: int) -> argparse.ArgumentParser:
    """The options every benchmark has."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=seeds, help=f"number of seeds, from 0 (default {seeds})")
    parser.add_argument("--quick", action="store_true", help="tiny budgets: shows that the script runs, proves nothing")
    parser.add_argument("--out", type=Path, help="file for the report (default: results/<name>.md; none with --quick)")
    return parser


class Report:
    """A report in Markdown that is printed as it grows and written once it is whole.

    Args:
        name: Path of the script below this folder without its ending; the file of the report is called so too.
        title: What the benchmark shows, in one line.
        options: The parsed options.
        numbers: What the numbers are.
    """

    def __init__(
        self,
        name: str,
        title: str,
        options: argparse.Namespace,
        numbers: str = MEDIANS,
    ) -> None:
        self.out = options.out
        if self.out is None and not options.quick:
            self.out = HERE / "results" / f"{name.replace('/', '_')}.md"
        self.parts: list[str] = []
        self._began = time.perf_counter()
        self.text(f"# {title}")
        self.text("\n".join(f"- {line}" for line in _setting(name, options, numbers)))

    def text(self, text: str) -> None:
        """Add a paragraph."""
        self.parts.append(text)
        print(text, end="\n\n", flush=True)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Add a table."""
        self.text(markdown(columns, rows))

    def figure(self, name: str) -> Path | None:
        """Where a figure of this name goes, beside the report; the report shows it."""
        if self.out is None:
            return None
        self.out.parent.mkdir(parents=True, exist_ok=True)
        self.text(f"![{Path(name).stem}]({name})")
        return self.out.parent / name

    def close(self, *, timed: bool = True) -> None:
        """Say how long everything took, unless it was measured before, and write the file."""
        if timed:
            self.text(f"Everything above took {time.perf_counter() - self._began:.0f} s.")
        if self.out is not None:
            self.out.parent.mkdir(parents=True, exist_ok=True)
            self.out.write_text("\n\n".join(self.parts) + "\n")


def markdown(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table in Markdown; bare numbers are shortened."""
    lines = [list(columns), *([shown(cell) for cell in row] for row in rows)]
    widths = [max(3, *(len(line[i]) for line in lines)) for i in range(len(columns))]
    padded = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    ]
    return "\n".join([padded[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *padded[1:]])


def shown(value: object) -> str:
    """A number as a person writes it."""
    if isinstance(value, bool) or not isinstance(value, float):
        return str(value)
    return (
        f"{value:.1e}".replace("e-0", "e-") if value and math.isfinite(value) and abs(value) < 1e-2 else f"{value:.3g}"
    )


def mean(values: Sequence[float]) -> str:
    """The mean, and its standard error where there is more than one value."""
    if not values:
        return "-"
    error = f" ± {statistics.stdev(values) / len(values) ** 0.5:.2f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.2f}{error}"


def spread(values: Sequence[float]) -> str:
    """Median and range of several runs."""
    middle = shown(float(statistics.median(values)))
    if len(values) == 1:
        return middle
    return f"{middle} ({shown(float(min(values)))} to {shown(float(max(values)))})"


def rmse(model: torch.nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
    """Root mean squared error in the units of the data."""
    with torch.no_grad():
        return float((model(x.to(next(model.parameters()).dtype)) - y).square().mean().sqrt())


def slope(sizes: Sequence[float], errors: Sequence[float]) -> float:
    """Slope of log(error) against log(size), by least squares."""
    return float(np.polyfit(np.log(sizes), np.log(np.maximum(errors, 1e-300)), 1)[0])


class Clock:
    """Seconds spent inside a `with` block."""

    seconds = 0.0


@contextlib.contextmanager
def timed() -> Iterator[Clock]:
    """Measure the wall clock time of a block."""
    clock, began = Clock(), time.perf_counter()
    try:
        yield clock
    finally:
        clock.seconds = time.perf_counter() - began


def peer(python: str, job: dict[str, object], arrays: dict[str, np.ndarray]) -> dict[str, object]:
    """Run pykan on the same data in an interpreter that has it, and give back what it measured."""
    with tempfile.TemporaryDirectory() as folder:
        data, result = Path(folder, "data.npz"), Path(folder, "result.json")
        np.savez(data, **arrays)
        command = [
            python,
            str(HERE / "peers" / "pykan_scaling.py"),
            str(data),
            "--job",
            json.dumps(job),
            "--json",
            str(result),
        ]
        subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL)
        return json.loads(result.read_text())


def _setting(name: str, options: argparse.Namespace, numbers: str) -> list[str]:
    commit = os.environ.get("SUPERPOSE_COMMIT", "")  # where a copy of the files runs
    if not commit and shutil.which("git"):
        asked = ["git", "describe", "--always", "--dirty"]
        commit = subprocess.run(asked, cwd=HERE, capture_output=True, text=True, check=False).stdout.strip()
    versions = f"superpose {superpose.__version__}{f' ({commit})' if commit else ''}, torch {torch.__version__}"
    return [
        f"{datetime.date.today().isoformat()}, benchmarks/{name}.py",
        f"{_processor()}, {torch.get_num_threads()} of {os.cpu_count()} threads, {platform.system()}",
        f"{versions}, NumPy {np.__version__}, Python {platform.python_version()}",
        f"seeds 0 to {options.seeds - 1}; numbers are {numbers}"
        + ("; **quick: tiny budgets, the numbers mean nothing**" if options.quick else ""),
    ]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
