"""A table of formulas to choose from."""

import re
from collections.abc import Callable, Mapping, Sequence
from html import escape, unescape
from typing import Any
from xml.etree import ElementTree

# fmt: off
MATHML = {
    "math", "mrow", "mi", "mn", "mo", "mtext", "mspace", "msup", "msub", "msubsup", "mfrac", "msqrt", "mroot", "mfenced",
    "mover", "munder", "munderover", "mstyle", "mtable", "mtr", "mtd", "mpadded",
}
# fmt: on
"""Elements of a formula."""
ATTRIBUTES = {"mathvariant", "display", "displaystyle", "open", "close", "separators", "stretchy", "form", "fence"}


def formulas(front: Sequence[Mapping[str, Any]], number: Callable[[Any], str]) -> str:
    """The formulas as a table, simplest first, with the one that was picked in bold.

    Raises:
        ValueError: If one of them cannot be shown.
    """
    lines = []
    for row in sorted(front, key=lambda row: row.get("complexity") or 0):
        numbers = [row.get("complexity"), row.get("loss"), row.get("held_out_loss")]
        cells = "".join(f'<td class="number">{number(value)}</td>' for value in numbers)
        picked = bool(row.get("picked"))
        mark = "picked" if picked else ""
        kind = ' class="picked"' if picked else ""
        lines.append(f'<tr{kind}>{cells}<td class="formula">{_formula(row)}</td><td>{mark}</td></tr>')
    titles = ["complexity", "loss", "held-out loss"]
    head = "".join(f'<th scope="col" class="number">{title}</th>' for title in titles)
    return (
        '<h2>Formulas</h2>\n<div class="wide"><table><caption>What may stand in for the network, from simple to '
        f'exact.</caption><thead><tr>{head}<th scope="col">formula</th><th></th></tr></thead><tbody>\n'
        + "\n".join(lines)
        + "\n</tbody></table></div>"
    )


def _formula(row: Mapping[str, Any]) -> str:
    if row.get("mathml"):
        return checked(str(row["mathml"]))
    text = row.get("text") or row.get("latex")
    if not text:
        raise ValueError(f"a formula needs 'mathml', 'text' or 'latex'; this one has {', '.join(map(str, row))}.")
    return escape(str(text))


def checked(mathml: str) -> str:
    """MathML that is a formula and nothing else, as a page may hold it: it comes from outside, and pages run code.

    Raises:
        ValueError: If it is something else.

    Example:
        >>> checked("<msup><mi>x</mi><mn>2</mn></msup>")
        '<math><msup><mi>x</mi><mn>2</mn></msup></math>'
    """
    if "<!" in mathml or "<?" in mathml:
        raise ValueError("MathML for a report must be elements and text alone.")
    plain = re.sub(r"&(?!lt;|gt;|amp;)\w+;", lambda entity: unescape(entity[0]), mathml)  # XML knows no others
    try:
        root = ElementTree.fromstring(f"<math>{plain}</math>")
    except ElementTree.ParseError as error:
        raise ValueError(f"this is not MathML ({error}): {mathml[:80]}") from None
    root = root[0] if len(root) == 1 and _name(root[0]) == "math" else root
    for element in root.iter():
        element.tag = _name(element)
        strange = {element.tag} - MATHML | (element.attrib.keys() - ATTRIBUTES)
        if strange:
            raise ValueError(f"MathML for a report may not hold {', '.join(sorted(strange))}; give 'text' instead.")
    return ElementTree.tostring(root, encoding="unicode")


def _name(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]
