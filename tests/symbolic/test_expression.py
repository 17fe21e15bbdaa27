"""Formulas as graphs: smart sums and products, replacing, counting, and SymPy."""

import pytest
import sympy

from superpose.symbolic.expression import (
    ONE,
    ZERO,
    Constant,
    Product,
    Sum,
    Variable,
    affine,
    apply,
    complexity,
    exactly,
    free_constants,
    ordered,
    plus,
    rebuilt,
    substituted,
    times,
    to_sympy,
    used_variables,
    with_constants,
)

a, b = Variable(0), Variable(1)


def test_sums_are_flat_and_have_one_constant():
    total = plus(a, plus(b, Constant(1.0)), Constant(2.0))
    assert isinstance(total, Sum)
    assert total.terms[:2] == (a, b)
    assert total.terms[2].value == 3.0
    assert total.terms[2].exact is None
    assert plus(a, exactly(0)) is a
    assert plus() is ZERO


def test_products_are_flat_and_have_one_constant():
    total = times(a, times(Constant(2.0), b), exactly(3))
    assert isinstance(total, Product)
    assert total.factors[0].value == 6.0
    assert times(a, exactly(1)) is a
    assert times(a, ZERO, b) is ZERO
    assert times() is ONE


def test_known_numbers_stay_known():
    assert times(exactly(2), exactly(sympy.pi)).exact == 2 * sympy.pi
    assert plus(exactly(sympy.Rational(1, 3)), exactly(1)).exact == sympy.Rational(4, 3)
    assert exactly(0.5).exact == sympy.Rational(1, 2)
    assert free_constants(plus(times(exactly(2), a), Constant(1.0)))[0].value == 1.0


def test_nodes_come_once_and_after_what_they_are_made_of():
    shared = apply("sin", a)
    root = plus(times(shared, shared), apply("exp", shared), b)
    nodes = ordered(root)
    place = {id(node): n for n, node in enumerate(nodes)}
    assert len(place) == len(nodes)
    assert all(place[id(child)] < place[id(node)] for node in nodes for child in node.children)
    assert nodes[-1] is root


def test_deep_formulas_do_not_recurse():
    root = a
    for _ in range(5000):
        root = apply("sin", root)
    assert len(ordered(root)) == 5001


def test_replacing_keeps_what_is_not_touched():
    left, right = apply("sin", a), apply("cos", b)
    root = plus(left, right)
    other = rebuilt(root, {id(a): b})
    assert other.terms[1] is right
    assert to_sympy(other, sympy.symbols("a b")) == sympy.sympify("sin(b) + cos(b)")
    assert rebuilt(root, {}) is root
    assert used_variables(substituted(root, [b, b])) == [1]


def test_constants_go_in_and_out_in_one_order():
    root = affine(2.0, apply("sin", affine(3.0, a, 4.0)), 5.0)
    values = [c.value for c in free_constants(root)]
    assert sorted(values) == [2.0, 3.0, 4.0, 5.0]
    other = with_constants(root, [10 * value for value in values])
    assert [c.value for c in free_constants(other)] == [10 * value for value in values]
    with pytest.raises(ValueError, match="zip"):
        with_constants(root, [1.0])


def test_complexity_counts_what_is_written():
    assert complexity(a) == 1
    assert complexity(plus(a, b)) == 3
    assert complexity(apply("sin", a)) == 2
    assert complexity(apply("gaussian", a)) == 4
    shared = apply("sin", a)
    assert complexity(times(shared, plus(shared, b))) == 1 + 2 + 1 + 2 + 1
