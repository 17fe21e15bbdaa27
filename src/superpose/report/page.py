"""The page: what was fitted, the network, what matters, how good it is, and formulas if there are any."""

import json
import os
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from superpose.plotting.graph import Graph, graph
from superpose.plotting.network import MOST_EDGES
from superpose.report.formulas import formulas
from superpose.report.picture import Names, describe, draw
from superpose.storage import write_whole

if TYPE_CHECKING:
    from superpose.tabular import Pipeline

SHOWN = 15
"""Inputs that are shown at once."""


def write_report(
    pipeline: "Pipeline", frame: Any, path: str | os.PathLike[str], front: Sequence[Mapping[str, Any]] | None = None
) -> None:
    """Write a page about a model of a table: one HTML file that opens anywhere and loads nothing.

    A link such as `report.html#edge-0-1-0` opens the page with the edge of layer 0 to output 1 from input 0.

    Args:
        pipeline: The model, as `superpose fit` writes it and `superpose.tabular.Pipeline.load` reads it.
        frame: A data frame with the columns of the model, whose rows the curves, scores and errors come from.
        path: The file; one that exists is replaced, whole or not at all.
        front: Formulas to show, as dictionaries with "complexity", "loss", "held_out_loss", "picked", and "mathml",
            "text" or "latex" of which the first is shown; those in the model's record if None.

    Raises:
        InputError: If the table does not suit the model.
        ValueError: If a formula has none of the three, or MathML that is more than a formula.
        FileNotFoundError: If the folder does not exist.

    Example:
        >>> import numpy as np, pandas as pd
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> from superpose.tabular import Job, fit_pipeline, prepare
        >>> x = np.linspace(0, 3, 60)
        >>> frame = pd.DataFrame({"angle": x, "height": np.sin(x)})
        >>> pipeline, _ = fit_pipeline(prepare(frame, job := Job("height", max_time=1)), job)
        >>> with TemporaryDirectory() as folder:
        ...     write_report(pipeline, frame, f"{folder}/report.html")
        ...     "angle" in Path(folder, "report.html").read_text()
        True
    """
    x, holes = pipeline.inputs.encode(frame)
    picture = graph(pipeline.network, torch.as_tensor(x, dtype=torch.float64))
    names, drawable = _names(pipeline), len(picture.edges) <= MOST_EDGES
    front = pipeline.record.get("front") if front is None else front
    edges = describe(pipeline.network, picture, names) if drawable else {}
    body = [
        _head(pipeline, frame),
        _network(picture, names, drawable),
        _inputs(picture, names, len(frame)),
        _errors(pipeline, frame),
        formulas(front, number) if front else "",
        _columns(pipeline, holes),
        _foot(pipeline),
    ]
    own = files("superpose.report")
    page = Template(own.joinpath("page.html").read_text("utf-8")).substitute(
        title=escape(f"{pipeline.target.name}: a Kolmogorov-Arnold network"),
        css=own.joinpath("page.css").read_text("utf-8"),
        js=own.joinpath("page.js").read_text("utf-8"),
        body="\n".join(filter(None, body)),
        edges=json.dumps(edges, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"),
    )
    write_whole(Path(path), page.encode())


def number(value: Any) -> str:
    """A number as a reader wants it, or a dash for what is not there."""
    if value is None or not np.isfinite(value):
        return "–"
    if value == 0 or isinstance(value, int):
        return f"{value:.0f}"
    size = abs(value)
    text = f"{value:.3g}" if 1e-3 <= size < 1e4 else f"{value:.2e}" if size < 1e-3 else f"{value:,.0f}"
    return text.replace("-", "−")


def _names(pipeline: "Pipeline") -> Names:
    target = pipeline.target
    outputs = list(target.classes) or [target.name]
    added = [f"the logit of {name}" for name in outputs] if target.classes else outputs
    return Names(pipeline.inputs.outputs, outputs, added)


def _head(pipeline: "Pipeline", frame: Any) -> str:
    record, target = pipeline.record, pipeline.target
    kind = f"one of {len(target.classes)} classes" if target.classes else "numbers"
    found = record.get("verdict", "Nothing was held out, so nobody knows how good it is.")
    size = f"{pipeline.network.num_parameters:,} parameters"
    shape = "-".join(map(str, pipeline.network.widths))
    return (
        f"<h1>{escape(target.name)}</h1>\n"
        f'<p class="soft">{kind.capitalize()}, predicted from {_count(len(pipeline.inputs.columns), "column")} by a '
        f"Kolmogorov-Arnold network {shape} with {size}, fitted to {_count(record['rows'], 'row')}.</p>\n"
        f'<p class="verdict">{escape(found)}</p>'
    )


def _network(picture: Graph, names: Names, drawable: bool) -> str:
    if not drawable:
        words = f"The network has {len(picture.edges):,} edges, too many to see. Prune it with superpose.prune first."
        return f"<h2>The network</h2>\n<p>{words}</p>"
    return (
        "<h2>The network</h2>\n"
        '<p class="soft">Every frame is an edge: a function of one variable, over the range of its data in the table. '
        "Functions that lead to the same dot are added up. The stronger a line, the more of the result comes along it. "
        "Choose a frame to see its function large.</p>\n"
        f'<div class="wide network">\n{draw(picture, names)}\n</div>'
    )


def _inputs(picture: Graph, names: Names, rows: int) -> str:
    """Bars, the longest first; those beyond the first few can be unfolded."""
    order = np.argsort(-picture.inputs, kind="stable").tolist()
    most = float(picture.inputs.max()) or 1.0
    lines = [
        f'<tr><th scope="row">{escape(names.inputs[i])}</th><td class="bar">'
        f'<i style="width:{100 * max(score, 0) / most:.1f}%"></i></td><td class="number">{score:.3f}</td></tr>'
        for i, score in ((i, float(picture.inputs[i])) for i in order)
    ]
    text = f"How much of the spread of the result comes from each input, on {_count(rows, 'row')}."
    shown = _table(lines[:SHOWN], text)
    if len(lines) > SHOWN:
        shown += f"\n<details><summary>{len(lines) - SHOWN} more</summary>{_table(lines[SHOWN:])}</details>"
    return f"<h2>What matters</h2>\n{shown}"


def _errors(pipeline: "Pipeline", frame: Any) -> str:
    """The scores on the rows held out in the fit, and on these."""
    record = pipeline.record
    scores: dict[str, Mapping[str, float]] = dict(record.get("scores", {}))
    score, groups = pipeline.score(frame), []
    known: list[Mapping[str, float]] = [*scores.values(), {} if score is None else score.measures]
    longest = max(known, key=len)
    names = list(longest)
    if not names:
        return (
            "<h2>How good it is</h2>\n<p>Nothing was held out in the fit, and this table lacks "
            f"{escape(pipeline.target.name)}, so nobody knows.</p>"
        )
    if scores:
        text = f"On {_count(record['held_out'], 'row')} held out of the fit"
        lines = [_score(name, each, names, own=n == len(scores) - 1) for n, (name, each) in enumerate(scores.items())]
        groups += [_group(text, len(names)), *lines]
    if score is not None:
        text = f"On the {_count(len(frame), 'row')} of this table; if the model was fitted to them, that flatters it"
        groups += [_group(text, len(names)), _score(score.name, score.measures, names, own=True)]
    return f"<h2>How good it is</h2>\n{_table(groups, head=['', *names], words=1)}"


def _group(text: str, measures: int) -> str:
    return f'<tr class="group"><th scope="rowgroup" colspan="{measures + 1}">{escape(text)}</th></tr>'


def _score(name: str, measures: Mapping[str, float], names: Sequence[str], *, own: bool) -> str:
    cells = "".join(f'<td class="number">{_measure(measure, measures.get(measure))}</td>' for measure in names)
    return f'<tr{" class=own" if own else ""}><th scope="row">{escape(name)}</th>{cells}</tr>'


def _measure(name: str, value: float | None) -> str:
    """A score; those that have no unit are compared by their decimals."""
    if name not in ("R²", "accuracy", "log loss") or value is None or not np.isfinite(value):
        return number(value)
    return f"{round(value, 3) + 0.0:.3f}".replace("-", "−")  # adding zero turns minus zero into zero


def _columns(pipeline: "Pipeline", holes: Mapping[str, int]) -> str:
    lines = []
    for column in pipeline.inputs.columns:
        cells = [*column.describe(), str(column.holes), str(holes.get(column.name, 0))]
        kinds = ["", "", ' class="number"', ' class="number"']
        row = "".join(f"<td{kind}>{escape(cell)}</td>" for kind, cell in zip(kinds, cells, strict=True))
        lines.append(f'<tr><th scope="row">{escape(column.name)}</th>{row}</tr>')
    head = ["column", "holds", "where missing", "missing in the fit", "missing here"]
    out = [f"{escape(name)}, because {escape(why)}" for name, why in pipeline.inputs.left_out.items()]
    rest = f"\n<p>Not used: {'; '.join(out)}.</p>" if out else ""
    return f"<h2>The columns</h2>\n{_table(lines, head=head, words=3)}{rest}"


def _foot(pipeline: "Pipeline") -> str:
    record = pipeline.record
    versions = ", ".join(f"{escape(name)} {escape(str(version))}" for name, version in record["versions"].items())
    return (
        f"<footer>Fitted in {record['seconds']:.1f} s, seed {record['seed']}, by {versions}. "
        f"{escape(repr(pipeline.network))}.</footer>"
    )


def _table(lines: Sequence[str], caption: str = "", head: Sequence[str] = (), words: int = 0) -> str:
    """A table of rows that are HTML; the first `words` columns are text."""
    kinds = ["" if n < words else ' class="number"' for n in range(len(head))]
    titles = "".join(f'<th scope="col"{kind}>{escape(name)}</th>' for kind, name in zip(kinds, head, strict=True))
    top = (f"<caption>{escape(caption)}</caption>" if caption else "") + (
        f"<thead><tr>{titles}</tr></thead>" if head else ""
    )
    return f'<div class="wide"><table>{top}<tbody>\n' + "\n".join(lines) + "\n</tbody></table></div>"


def _count(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
