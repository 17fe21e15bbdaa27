"""Fronts as plain values, for files and pages, and the names of columns as symbols."""

import unicodedata
from collections.abc import Mapping, Sequence
from html import escape
from math import isfinite
from typing import Any

import sympy
from sympy.printing.mathml import MathMLPresentationPrinter

from superpose.symbolic.front import DIGITS, Front, rounded

LATEX = {c: rf"\{c}" for c in "&%$#_{}"} | {"\\": r"\backslash ", "~": r"\sim ", "^": r"\hat{}", " ": r"\ "}
"""Characters that mean something in LaTeX, as they are written between the brackets of a mathrm."""


def spelled(names: Sequence[str]) -> dict[str, str]:
    """The name of every column by a symbol that SymPy reads back as a symbol: most names are symbols themselves.

    What no name in Python can hold becomes an underscore, and names that mean something else to SymPy or Python get one.

    Example:
        >>> spelled(["price", "living area", "lambda", "E", "2nd", "living_area"])
        {'price': 'price', 'living_area_': 'living area', 'lambda_': 'lambda', 'E_': 'E', 'x2nd': '2nd', 'living_area': 'living_area'}
    """
    found: dict[str, str] = {}
    for name in names:
        plain = unicodedata.normalize("NFKC", name)  # as Python reads it
        word = "".join(letter if f"x{letter}".isidentifier() else " " for letter in plain)
        word = "_".join(word.split())
        word = word if word.isidentifier() else f"x{word}"
        while not _is_symbol(word) or word in found or (word != name and word in names):
            word += "_"
        found[word] = name
    return found


def records(front: Front, picked: int, columns: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
    """The formulas of a front as JSON can hold them: errors, and how they are written in text, SymPy, LaTeX and MathML.

    Args:
        front: The front.
        picked: Number of the formula that was picked.
        columns: What the inputs are called in LaTeX and MathML, by their symbols; as their symbols if None.

    Example:
        >>> import numpy as np
        >>> from superpose.symbolic.expression import Variable
        >>> x = np.arange(5.0)
        >>> found = Front.of([Variable(0)], x[:, None], x, x[:, None], x, ["size_"])
        >>> [{key: row[key] for key in ("complexity", "picked", "sympy", "latex")} for row in records(found, 0, {"size_": "size"})]
        [{'complexity': 1, 'picked': True, 'sympy': 'size_', 'latex': 'size'}]
    """
    shown = {symbol: name for symbol, name in (columns or {}).items() if symbol != name}
    latex = {sympy.Symbol(symbol, real=True): _latex(name) for symbol, name in shown.items()}
    rows = []
    for n, (formula, score) in enumerate(zip(front, front.scores, strict=True)):
        short = rounded(formula.sympy, DIGITS)
        rows.append(
            {
                "complexity": formula.complexity,
                "loss": _finite(formula.loss),
                "held_out_loss": _finite(formula.held_out),
                "r2_held_out": _finite(front.r2(formula.held_out)),
                "score": _finite(score),
                "picked": n == picked,
                "text": repr(formula),
                "sympy": sympy.sstr(formula.sympy),
                "latex": sympy.latex(short, symbol_names=latex),
                "mathml": _MathML(shown).doprint(short),
            }
        )
    return rows


def latex_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Records of formulas as a table in LaTeX (booktabs), with an arrow at the one that was picked."""
    lines = [r"\begin{tabular}{rrl}", r"\toprule", r"complexity & held-out error & formula \\", r"\midrule"]
    for row in rows:
        mark = r" \quad\leftarrow" if row["picked"] else ""
        lines.append(rf"{row['complexity']} & {row['held_out_loss']:.3g} & ${row['latex']}{mark}$ \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])


class _MathML(MathMLPresentationPrinter):
    """MathML in which some symbols have the names of their columns, whatever characters are in these."""

    def __init__(self, shown: Mapping[str, str]) -> None:
        super().__init__()
        self._shown = shown

    def _print_Symbol(self, symbol: Any, style: str = "plain") -> Any:  # noqa: N802 - as the printer calls it
        name = self._shown.get(symbol.name)
        if name is None or name.isidentifier():
            return super()._print_Symbol(symbol if name is None else sympy.Symbol(name), style)
        node = self.dom.createElement("mi")
        node.appendChild(self.dom.createTextNode(escape(name, quote=False)))  # the printer writes text as it is
        return node


def _is_symbol(word: str) -> bool:
    """Whether SymPy reads a Python identifier as a symbol, not as a number, a function or an error."""
    try:
        return bool(sympy.sympify(word) == sympy.Symbol(word))
    except (sympy.SympifyError, AttributeError, SyntaxError, TypeError):
        return False


def _latex(name: str) -> str:
    """The name of a column in LaTeX."""
    if name.isidentifier():
        return str(sympy.latex(sympy.Symbol(name)))
    return rf"\mathrm{{{''.join(LATEX.get(letter, letter) for letter in name)}}}"


def _finite(value: float) -> float | None:
    return float(value) if isfinite(value) else None
