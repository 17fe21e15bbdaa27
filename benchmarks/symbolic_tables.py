"""The tables of the benchmark of symbolic regression, made of its rows, and every failure by name."""

import argparse
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from report import Report, shown, spread
from symbolic_judge import NUMERIC

Row = dict[str, object]

LONGEST = 180
"""Characters of a found formula that the report shows."""


def write(report: Report, rows: Sequence[Row], given: argparse.Namespace, obstacles: Mapping[str, str]) -> None:
    """The parts that were asked for."""
    _explain(report, rows, given, obstacles)
    parts = {part: [row for row in rows if row["part"] == part] for part in "ABDE"}
    if "A" in given.part:
        report.text("## A. Formulas of KAN papers")
        _papers(report, parts["A"])
    if "B" in given.part:
        report.text("## B. The AI-Feynman set")
        _feynman(report, parts["B"])
    if "E" in given.part:
        report.text("## E. Twenty harder equations, not looked at before the search was written")
        _feynman(report, parts["E"])
    if "C" in given.part:
        report.text("## C. Size beside the truth")
        _sizes(report, parts["B"])
    if "D" in given.part:
        report.text("## D. Real tables")
        _real(report, parts["D"])
    _failures(report, [*parts["A"], *parts["B"], *parts["E"]])


def solved(row: Row) -> bool:
    """SRBench's criterion; in part A that the difference is zero, by form or by numbers."""
    if row["part"] == "A":
        return bool(row.get("equal")) or numeric(row)
    return bool(row.get("solved"))


def numeric(row: Row) -> bool:
    """Whether the formula gives the values of the truth on fresh data; for fits without noise."""
    difference = row.get("difference")
    return row["level"] == 0 and difference is not None and float(difference) < NUMERIC


def _explain(report: Report, rows: Sequence[Row], given: argparse.Namespace, obstacles: Mapping[str, str]) -> None:
    report.text(
        f"A and B: {given.rows} training rows, {given.test_rows} test rows without noise; noise is normal with a deviation of "
        "level times the root mean square of y, on the training targets only. Every fit is a process of one thread with "
        f"{given.seconds:g} s, {given.jobs} at a time; B has {given.feynman_seeds} seed{'s' * (given.feynman_seeds > 1)}. A method is judged by the one formula that it picks. "
        "**Solved** in B is SRBench's symbolic solution (R2 above 0.5, and truth minus formula or formula over truth "
        "simplifies to a constant, coefficients to three decimals); *numeric* counts, without noise, formulas within "
        f"{NUMERIC:g} of the truth on fresh data, and *either* both together. Solved in A: the difference simplifies to zero "
        f"or is below {NUMERIC:g} on fresh data. Nodes are counted as SymPy walks the formula."
    )
    versions = sorted({str(row["version"]) for row in rows if row.get("version")})
    if versions:
        shares = [float(row["processor"]) / float(row["took"]) for row in rows if row.get("processor") and row["took"]]
        report.text(
            f"Measured: {', '.join(versions)}. A fit had a processor for {_middle(shares)} of its time (median), which is "
            "less than 1 where others used the machine; time limits go by the clock."
        )
    for method, why in obstacles.items():
        report.text(f"**{method} was not run: {why}.**")


def _groups(rows: Iterable[Row], *names: str) -> dict[tuple[object, ...], list[Row]]:
    found: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        found.setdefault(tuple(row[name] for name in names), []).append(row)
    return found


def _numbers(rows: Iterable[Row], name: str) -> list[float]:
    return [float(row[name]) for row in rows if row.get(name) is not None]


def _middle(values: Sequence[float]) -> str:
    return shown(float(statistics.median(values))) if values else "-"


def _share(rows: Sequence[Row], holds: Callable[[Row], bool]) -> str:
    count = sum(map(holds, rows))
    return f"{count} of {len(rows)}"


def _papers(report: Report, rows: Sequence[Row]) -> None:
    lines = []
    for (name, method), runs in _groups(rows, "name", "method").items():
        sizes = _numbers(runs, "nodes")
        lines.append([
            name, method, _share(runs, solved), _share(runs, lambda row: bool(row.get("equal"))), _share(runs, numeric),
            _middle(_numbers(runs, "r2")), f"{_middle(sizes)} ({_middle(_numbers(runs, 'truth'))})",
            _middle(_numbers(runs, "took")),
        ])  # fmt: skip
    report.table(["formula", "method", "solved", "by form", "numeric", "R2", "nodes (truth)", "seconds"], lines)


def _feynman(report: Report, rows: Sequence[Row]) -> None:
    lines = []
    for (level, method), runs in _groups(rows, "level", "method").items():
        lines.append([
            f"{level:g}", method, _share(runs, solved),
            *(("-", "-") if level else (_share(runs, numeric), _share(runs, lambda row: solved(row) or numeric(row)))),
            _share(runs, lambda row: float(row.get("r2") or 0) > 0.999),
            _share(runs, lambda row: bool(row.get("error"))),
            _share(runs, apart),
            _middle(_numbers(runs, "took")),
        ])  # fmt: skip
    report.table(
        ["noise", "method", "solved", "numeric", "either", "R2 > 0.999", "crashed", "not its formula", "seconds"], lines
    )
    report.text(
        "R2 is that of predictions on the test table. *Not its formula*: predictions differ from the printed formula by more "
        "than 1e-6 of the root mean square, so that the formula is not what predicts. Seconds are medians."
    )


def apart(row: Row) -> bool:
    """Whether there is a formula, and it is not what predicts."""
    return bool(row.get("formula")) and not float(row["apart"] if row.get("apart") is not None else "inf") < 1e-6


def _sizes(report: Report, rows: Sequence[Row]) -> None:
    lines = []
    for (level, method), runs in _groups(rows, "level", "method").items():
        line: list[object] = [f"{level:g}", method]
        for some in ([row for row in runs if solved(row) or numeric(row)], runs):
            ratios = [
                float(row["nodes"]) / float(row["truth"]) for row in some if row.get("nodes") and row.get("truth")
            ]
            quartiles = np.quantile(ratios, (0.25, 0.5, 0.75)) if ratios else None
            line.append("-" if quartiles is None else "{1} ({0} to {2})".format(*(shown(float(q)) for q in quartiles)))
            line.append(f"{sum(ratio <= 1.5 for ratio in ratios)} of {len(ratios)}")
        lines.append(line)
    report.text(
        "Nodes of the picked formula over nodes of the truth: median with quartiles, and how many are within 1.5."
    )
    report.table(["noise", "method", "solved", "within 1.5", "all", "within 1.5 of all"], lines)


def _real(report: Report, rows: Sequence[Row]) -> None:
    report.text(
        "A quarter of the rows is held out, another one for each seed. *boosting* is scikit-learn's "
        "HistGradientBoostingRegressor with its defaults. R2 of the formula is that of the printed one."
    )
    lines = []
    for (name, method), runs in _groups(rows, "name", "method").items():
        cells = [_numbers(runs, column) for column in ("r2", "formula_r2", "nodes", "took")]
        failed = "; ".join(sorted({str(row["error"]) for row in runs if row.get("error")}))
        lines.append([name, method, len(runs), *(spread(values) if values else "-" for values in cells), failed or "-"])
    report.table(["table", "method", "runs", "R2", "R2 of the formula", "nodes", "seconds", "failures"], lines)


def _failures(report: Report, rows: Sequence[Row]) -> None:
    """Every formula that was not found, with what was found in its place."""
    missed = [row for row in rows if not solved(row)]
    report.text("## Not solved")
    if not missed:
        report.text("Nothing." if rows else "Nothing was run.")
        return
    lines = []
    for row in sorted(missed, key=lambda row: (str(row["method"]), float(row["level"]))):
        why = str(row.get("error") or row.get("how") or "-") + (" (but numeric)" if numeric(row) else "")
        r2 = row.get("r2")
        lines.append([
            row["method"], f"{row['level']:g}", row["name"], row["seed"], why.replace("|", "/")[:LONGEST],
            "-" if r2 is None else f"{float(r2):.6f}", row.get("nodes") or "-", _short(row.get("formula")),
        ])  # fmt: skip
    report.table(["method", "noise", "name", "seed", "why", "R2", "nodes", "found"], lines)


def _short(formula: object) -> str:
    text = str(formula or "-").replace("|", "/")
    return f"`{text[:LONGEST]}{'...' if len(text) > LONGEST else ''}`"
