"""Fronts: what is dominated is gone, errors are those of held-out rows, and the pick is the simplest that is as good."""

import numpy as np
import pytest
import sympy
import torch

from superpose.symbolic.expression import ZERO, Constant, Variable, affine, apply, exactly, plus, times
from superpose.symbolic.front import Formula, Front

rng = np.random.default_rng(0)
X, H = rng.uniform(-1, 1, (200, 2)), rng.uniform(-1, 1, (300, 2))
a, b = Variable(0), Variable(1)


def of(roots, target, noise=0.0, seed=0, **more):
    draw = np.random.default_rng(seed)
    y, held = (target(rows) + noise * draw.normal(size=len(rows)) for rows in (X, H))
    return Front.of(roots, X, y, H, held, ["a", "b"], **more)


def product(rows):
    return rows[:, 0] * rows[:, 1]


@pytest.fixture
def formula():
    root = plus(times(Constant(2.123456789), apply("sqrt", plus(apply("x^2", a), Constant(0.5)))), apply("sin", b))
    return Formula(root, ("a", "b"), 0.1, 0.2)


def test_a_formula_has_the_same_values_everywhere(formula):
    expected = 2.123456789 * np.sqrt(X[:, 0] ** 2 + 0.5) + np.sin(X[:, 1])
    np.testing.assert_allclose(formula(X), expected, rtol=1e-14)
    np.testing.assert_allclose(formula(torch.tensor(X)), expected, rtol=1e-14)
    np.testing.assert_allclose(formula.torch()(torch.tensor(X)).detach().numpy()[:, 0], expected, rtol=1e-14)
    values = sympy.lambdify([sympy.Symbol(name, real=True) for name in "ab"], formula.sympy)(*X.T)
    np.testing.assert_allclose(values, expected, rtol=1e-14)
    assert "double f(const double *x)" in formula.c("f")


def test_what_is_shown_is_rounded_and_what_is_kept_is_not(formula):
    assert "2.1235*sqrt" in repr(formula)
    assert r"2.1235 \sqrt" in formula.latex()
    assert "2.123456789" in formula.latex(None)
    assert max(formula.sympy.atoms(sympy.Float)) == sympy.Float(2.123456789, 17)


def test_rows_of_another_width_raise(formula):
    with pytest.raises(ValueError, match=r"shape \(samples, 2\)"):
        formula(X[:, :1])


def test_errors_are_mean_squares_of_either_table():
    front = of([a], product)
    assert front[0].loss == pytest.approx(np.mean((X[:, 0] - product(X)) ** 2))
    assert front[0].held_out == pytest.approx(np.mean((H[:, 0] - product(H)) ** 2))
    assert front.variance == pytest.approx(np.var(product(H)))
    assert front.rows == 300


def test_dominated_formulas_go():
    # A sine of a is worse than zero, and more complex.
    front = of([times(a, b), apply("sin", a), ZERO, plus(times(a, b), a, times(Constant(-1.0), a))], product)
    assert [repr(formula) for formula in front] == ["0", "a*b"]
    assert [formula.complexity for formula in front] == [1, 3]


def test_undefined_formulas_go():
    front = of([apply("log", a), a], product)
    assert [repr(formula) for formula in front] == ["a"]


def test_nothing_defined_raises():
    with pytest.raises(ValueError, match="no formula is defined"):
        of([apply("log", a), apply("sqrt", b)], product)


def test_of_two_exact_ones_the_one_with_known_constants_stays():
    front = of([times(Constant(1 + 1e-13), a, b), times(exactly(2), a, b), times(a, b)], product)
    assert [repr(formula) for formula in front] == ["a*b"]
    front = of([times(Constant(2.0), a, b), times(exactly(2), a, b)], lambda rows: 2 * product(rows))
    assert len(front) == 1
    assert front[0].free == 0


def test_exact_formulas_tie_at_rounding():
    rough = plus(times(a, b), times(Constant(1e-12), a))
    front = of([rough, times(a, b)], lambda rows: product(rows) + 1e-12 * rows[:, 0])
    assert [repr(formula) for formula in front] == ["a*b"]


def test_noise_does_not_buy_a_term():
    roots = [ZERO, times(a, b), plus(times(a, b), times(Constant(0.003), apply("sin", times(Constant(9.0), a))))]
    picked = [repr(of(roots, product, 0.1, seed).best) for seed in range(10)]
    assert picked.count("a*b") >= 9


def test_a_small_term_without_noise_is_not_chance():
    roots = [times(a, b), plus(times(a, b), times(Constant(1e-4), apply("sin", times(Constant(9.0), a))))]
    front = of(roots, lambda rows: product(rows) + 1e-4 * np.sin(9 * rows[:, 0]))
    assert front.choice() == 1


def test_one_row_cannot_excuse_an_error():
    # All of the error lies in one row, so its standard error is as large as itself.
    y, held = X[:, 0], H[:, 0].copy()
    rows = H.copy()
    rows[0, 1] = held[0] = 3.0
    bump = apply("gaussian", affine(4.0, b, -12.0))
    front = Front.of([a, plus(a, times(Constant(3.0 - rows[0, 0]), bump))], X, y, rows, held, ["a", "b"])
    assert front.choice() == 1


def test_selections():
    roots = [ZERO, times(a, b), plus(times(a, b), times(Constant(0.02), a))]
    front = of(roots, lambda rows: product(rows) + 0.02 * rows[:, 0], 0.1)
    assert front.choice("accuracy") == len(front) - 1
    assert front.choice("score") == 1
    rows = front.table()
    fall = np.log(rows.held_out_loss[0] / rows.held_out_loss[1]) / (rows.complexity[1] - rows.complexity[0])
    assert rows.score[1] == pytest.approx(fall)
    with pytest.raises(ValueError, match="choose one of best, accuracy, score"):
        front.choice("nice")


def test_the_table_and_the_print_show_every_error():
    front = of([ZERO, times(a, b)], product, 0.1, network_loss=0.012)
    rows = front.table()
    assert list(rows.columns) == ["complexity", "loss", "held_out_loss", "r2_held_out", "score", "sympy", "latex"]
    np.testing.assert_allclose(rows.r2_held_out, 1 - rows.held_out_loss / front.variance)
    text = repr(front)
    assert text.count(">>>>") == 1
    line = next(line for line in text.splitlines() if ">>>>" in line)
    assert "a*b" in line
    assert f"{front.best.held_out:.3e}" in line
    assert "1.200e-02" in text
    assert "300 held-out rows" in text
    assert "not finished (time)" in repr(of([a], product, stopped="time"))


def test_constant_targets_have_a_front():
    front = of([ZERO, Constant(2.0), plus(a, Constant(2.0))], lambda rows: np.full(len(rows), 2.0))
    assert repr(front.best) == "2.0"
    assert "nan" in repr(front)
