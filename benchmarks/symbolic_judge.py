"""Whether a formula is the one looked for: SRBench's criterion, and a numeric one beside it.

SRBench (La Cava et al. 2021) calls a formula a symbolic solution if its R2 is above 0.5 and, with floats to three decimals and
below 1e-4 as zero, either truth minus formula or formula over truth simplifies to a constant. Here the same is decided on a
fixed form first (`symbolic_forms.py`), in which coefficients of one term count as equal within 1e-3 and further terms as zero
below 1e-4 of the largest coefficient of the sum, and only then by `sympy.simplify`. A formula that is nowhere near the truth after the best factor or constant is not simplified at
all. All of it is under a time limit, and what is not decided by then is not a solution.

The numeric criterion is stated apart: on fresh data the largest difference is below 1e-6 of the truth's root mean square. It
says nothing where the training targets had noise.

    python benchmarks/symbolic_judge.py DATA.npz RESULT.json --equation I.12.1
"""

import argparse
import json
import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import sympy
from feynman_equations import EQUATIONS, Equation
from symbolic_forms import canonical, constant, proportional, quotient, rounded, vanishes

FRESH = 20_000
"""Seed of the data that a formula is judged on; no fit sees it."""

NEAR = 0.02
"""How far from the truth, in its standard deviations, a formula may be to be worth simplifying."""

NUMERIC = 1e-6


@dataclass(frozen=True)
class Verdict:
    """What was found out about a formula.

    Attributes:
        truth: Number of nodes of the truth.
        solved: Whether it is a symbolic solution by SRBench's criterion.
        equal: Whether the difference itself is zero, which is more.
        how: Which way decided it, or why not.
        r2: Of the formula on fresh data.
        difference: Largest difference on fresh data beside the root mean square of the truth.
        nodes: Number of nodes of the formula.
    """

    truth: int
    solved: bool = False
    equal: bool = False
    how: str = ""
    r2: float = float("-inf")
    difference: float = float("inf")
    nodes: int = 0

    @property
    def numeric(self) -> bool:
        """Whether it gives the values of the truth, whatever it looks like."""
        return self.difference < NUMERIC


class Late(BaseException):
    """The time is up; SymPy catches many an Exception."""


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise Late in this block when the time is up; for the main thread."""

    def late(*_: object) -> None:
        raise Late

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def parse(text: str, symbols: dict[str, sympy.Symbol]) -> sympy.Expr:
    """A formula in the names of the columns."""
    return sympy.sympify(text, locals=symbols)


def nodes(expression: sympy.Expr) -> int:
    """SRBench's size of a model."""
    return sum(1 for _ in sympy.preorder_traversal(expression))


def values(expression: sympy.Expr, symbols: dict[str, sympy.Symbol], x: np.ndarray) -> np.ndarray:
    """The formula on the rows of a table; NaN where it has no real value."""
    function = sympy.lambdify(list(symbols.values()), expression, "numpy")
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = function(*x.T)
        except (NameError, TypeError):  # a special function; SciPy takes long to come
            found = sympy.lambdify(list(symbols.values()), expression, ["scipy", "numpy"])(*x.T)
    found = np.broadcast_to(np.asarray(found), len(x))
    return np.where(np.abs(found.imag) > 1e-12, np.nan, found.real).astype(float)


def judge(equation: Equation, text: str, seconds: float = 60.0, rows: int = 2000) -> Verdict:
    """Compare a formula with the truth, within the time given."""
    found = Verdict(nodes(equation.expression))
    try:
        with limited(seconds):
            formula = parse(text, equation.symbols)
            found = _measured(equation, formula, rows)
            if found.how:
                return found
            solved, equal, how = decided(equation, formula, rows)
            return replace(found, solved=solved, equal=equal, how=how)
    except Late:
        return replace(found, how=f"undecided after {seconds:g} s")
    except Exception as error:  # noqa: BLE001 - whatever SymPy makes of a stranger's formula is a line in the table
        return replace(found, how=f"{type(error).__name__}: {str(error)[:200]}")


def _measured(equation: Equation, formula: sympy.Expr, rows: int) -> Verdict:
    """The numbers of a verdict; `how` says why it ends there, if it does."""
    found = Verdict(nodes(equation.expression), nodes=nodes(formula))
    strange = formula.free_symbols - set(equation.symbols.values())
    if strange:
        return replace(found, how=f"strange symbols {', '.join(sorted(map(str, strange)))}")
    x, y = equation.sample(rows, FRESH)
    off = values(formula, equation.symbols, x) - y
    if not np.isfinite(off).all():
        return replace(found, how=f"not finite on {int((~np.isfinite(off)).sum())} of {rows} rows")
    r2 = float(1 - np.square(off).sum() / np.square(y - y.mean()).sum())
    difference = float(np.abs(off).max() / np.sqrt(np.square(y).mean()))
    return replace(found, how="" if r2 > 0.5 else "R2 below 0.5", r2=r2, difference=difference)


def decided(equation: Equation, formula: sympy.Expr, rows: int) -> tuple[bool, bool, str]:
    """Whether it is a solution, whether it is equal, and by which way."""
    x, y = equation.sample(rows, FRESH)
    if not _near(values(formula, equation.symbols, x), y):
        return False, False, "not near"
    truth = equation.expression
    formula = without_absolutes(formula, equation.symbols, x)
    ways: tuple[tuple[str, Callable[[sympy.Expr, sympy.Expr], tuple[bool, bool]]], ...] = (
        ("fixed form", by_form),
        ("fixed form of squares", lambda one, other: (by_form(one**2, other**2)[0], False)),
        ("simplify", by_simplify),
    )
    for name, way in ways:
        solved, equal = way(truth, formula)
        if solved:
            return True, equal, name
    return False, False, "differs"


def _near(found: np.ndarray, y: np.ndarray) -> bool:
    """Whether a constant or a factor makes the values alike: without that there is nothing to simplify."""
    shifted = (found - y).std() / y.std()
    factor = (found * y).sum() / max(np.square(found).sum(), 1e-300)
    scaled = np.sqrt(np.square(factor * found - y).mean()) / y.std()
    return bool(min(shifted, scaled) < NEAR)


def without_absolutes(formula: sympy.Expr, symbols: dict[str, sympy.Symbol], x: np.ndarray) -> sympy.Expr:
    """The formula with |u| as u or -u wherever u has one sign on the data; protected roots and logarithms have many."""

    def signed(node: sympy.Expr) -> sympy.Expr:
        inner = values(node.args[0], symbols, x)
        if (inner >= 0).all():
            return node.args[0]
        return -node.args[0] if (inner <= 0).all() else node

    return formula.replace(lambda node: isinstance(node, sympy.Abs), signed)


def by_form(truth: sympy.Expr, formula: sympy.Expr) -> tuple[bool, bool]:
    """Compare crosswise products of numerators and denominators in the fixed form."""
    (upper, lower), (other, under) = (quotient(canonical(e)) for e in (truth, formula))
    first, second = upper * under, other * lower
    if vanishes(first - second, first):
        return True, True
    if proportional(first, second):
        return True, False
    return constant(first - second, lower * under, first), False


def by_simplify(truth: sympy.Expr, formula: sympy.Expr) -> tuple[bool, bool]:
    """SRBench's own way."""
    truth, formula = _round(sympy.N(truth)), _round(sympy.N(formula))
    if formula == 0:
        return False, False
    for equal, expression in ((True, truth - formula), (False, formula / truth)):
        simple = _round(sympy.simplify(expression))
        if simple.is_number:
            return True, equal and simple == 0
    return False, False


def _round(expression: sympy.Expr) -> sympy.Expr:
    return expression.xreplace({number: rounded(number) for number in expression.atoms(sympy.Float)})


def check() -> None:
    """The judge says yes to the truth and to a disguise of it, and no to something near."""
    for name, same, other in (
        ("I.16.6", "c**2*(v + u)/(c**2 + u*v)", "c**2*(v + u)/(c**2 + 0.98*u*v)"),
        ("I.6.20a", "0.39894*exp(-0.5*theta**2)", "0.39894*exp(-0.51*theta**2)"),
    ):
        say = partial(judge, EQUATIONS[name], seconds=20.0)
        assert say(EQUATIONS[name].text).equal, name
        assert say(same).solved, name
        assert not say(other).solved, name


def tested(data: Path, result: Path, equation: Equation | None, seconds: float) -> dict[str, object]:
    """All that is asked about one fit: how good it is on its test table, and whether it is the formula looked for."""
    found = json.loads(result.read_text())
    with np.load(data) as arrays:
        x, y, names = arrays["X_test"], arrays["y_test"], arrays["names"].tolist()
    about: dict[str, object] = {"nodes": None, "formula_r2": None, "apart": None, "r2": None}
    predictions = np.array(found["predictions"] or [np.nan], dtype=float)
    about["r2"] = _r2(predictions, y)
    if found["formula"] is None:
        return about
    if equation is not None:
        about |= asdict(judge(equation, found["formula"], seconds))
        about["fresh_r2"], about["r2"] = about["r2"], _r2(predictions, y)
    symbols = equation.symbols if equation else {name: sympy.Symbol(name, real=True) for name in names}
    try:
        with limited(seconds):
            formula = parse(found["formula"], symbols)
            about["nodes"] = nodes(formula)
            shown = values(formula, symbols, x)
            about["formula_r2"] = _r2(shown, y)
            about["apart"] = float(np.abs(shown - predictions).max() / np.sqrt(np.square(y).mean()))
    except (Late, Exception) as error:  # noqa: BLE001 - a formula that cannot be read is a finding
        about["how"] = about.get("how") or f"{type(error).__name__}: {str(error)[:200]}"
    return about


def _r2(found: np.ndarray, y: np.ndarray) -> float | None:
    """R2, or nothing where a prediction is missing or infinite."""
    if found.shape != y.shape or not np.isfinite(found).all():
        return None
    return float(1 - np.square(y - found).sum() / np.square(y - y.mean()).sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="what the fit was given, with y_test")
    parser.add_argument("result", type=Path, help="what it wrote")
    parser.add_argument("--equation", choices=EQUATIONS, metavar="NAME", help="the truth, if there is one")
    parser.add_argument("--seconds", type=float, default=60.0)
    given = parser.parse_args()
    equation = EQUATIONS[given.equation] if given.equation else None
    print(json.dumps(tested(given.data, given.result, equation, given.seconds)))


if __name__ == "__main__":
    main()
