"""Formulas in files say what they say in memory, whatever the columns are called."""

import json
from xml.etree import ElementTree

import numpy as np
import pytest
import sympy

from superpose.report.formulas import checked
from superpose.symbolic.expression import Constant, Variable, apply, times
from superpose.symbolic.front import Front
from superpose.symbolic.functions import chosen
from superpose.symbolic.records import latex_table, records, spelled

AWKWARD = [
    "a",
    "living area",
    "lambda",
    "E",
    "pi",
    "N",
    "id",
    "2nd",
    "",
    "a<b & c",
    "µ",
    "x²",
    "None",
    "beta",
    "a_b",
    "a b",
]


def front_of(root, names):
    x = np.random.default_rng(0).uniform(0.1, 0.9, (20, len(names)))
    y = x[:, 0]
    return Front.of([root], x, y, x, y, names)


def test_every_name_becomes_a_symbol_of_its_own_that_sympy_reads_back():
    found = spelled(AWKWARD)
    assert list(found.values()) == AWKWARD
    for symbol in found:
        assert sympy.sympify(f"2*{symbol}") == 2 * sympy.Symbol(symbol)
    assert found["a"] == "a"
    assert found["a_b"] == "a_b"
    assert found["a_b_"] == "a b"


@pytest.mark.parametrize("name", [name for name in AWKWARD if name])
def test_latex_and_mathml_show_the_name_of_the_column(name):
    columns = spelled([name])
    (row,) = records(front_of(apply("sqrt", Variable(0)), list(columns)), 0, columns)
    shown = "".join(ElementTree.fromstring(checked(row["mathml"])).itertext())
    known = {"lambda": "λ", "pi": "π", "beta": "β", "a_b": "ab"}
    assert shown == known.get(name, name)
    assert r"\sqrt{" in row["latex"]
    assert json.loads(json.dumps(row, allow_nan=False)) == row


@pytest.mark.parametrize("function", chosen(None), ids=repr)
def test_every_function_can_stand_in_a_page(function):
    (row,) = records(front_of(times(Constant(2.5), apply(function, Variable(0))), ["t"]), 0)
    assert "<mi>t</mi>" in checked(row["mathml"])


def test_the_table_marks_the_one_that_was_picked():
    text = latex_table(records(front_of(Variable(0), ["t"]), 0))
    assert text.splitlines()[4] == r"1 & 0 & $t \quad\leftarrow$ \\"
