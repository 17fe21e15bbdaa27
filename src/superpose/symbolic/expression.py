"""Formulas as graphs: variables, constants, sums, products and functions of one variable.

A Kolmogorov-Arnold network whose edges are symbols is such a graph, with a node for every node and edge; so is every
formula that a search tries. Nodes never change: a refit makes new ones. Nodes that are used twice are one object.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sympy

from superpose.symbolic.functions import LIBRARY, Function


@dataclass(frozen=True, eq=False)
class Expression:
    """A node with what stands below it."""

    @property
    def children(self) -> tuple["Expression", ...]:
        """What it is made of."""
        return ()


@dataclass(frozen=True, eq=False)
class Variable(Expression):
    """One of the inputs, by its number from 0."""

    index: int


@dataclass(frozen=True, eq=False)
class Constant(Expression):
    """A number: free to be fitted, or `exact`, a SymPy number that stays."""

    value: float
    exact: Any = None


@dataclass(frozen=True, eq=False)
class Sum(Expression):
    """The sum of its terms."""

    terms: tuple[Expression, ...]

    @property
    def children(self) -> tuple[Expression, ...]:
        return self.terms


@dataclass(frozen=True, eq=False)
class Product(Expression):
    """The product of its factors."""

    factors: tuple[Expression, ...]

    @property
    def children(self) -> tuple[Expression, ...]:
        return self.factors


@dataclass(frozen=True, eq=False)
class Apply(Expression):
    """A function of one variable, applied."""

    function: Function
    argument: Expression

    @property
    def children(self) -> tuple[Expression, ...]:
        return (self.argument,)


def exactly(number: Any) -> Constant:
    """A constant that stays: an int, a fraction or a SymPy number."""
    exact = sympy.nsimplify(number) if isinstance(number, float) else sympy.sympify(number)
    return Constant(float(exact), exact)


ONE, ZERO = exactly(1), exactly(0)


def plus(*terms: Expression) -> Expression:
    """The sum, without sums inside sums, with its constants as one."""
    flat = [part for term in terms for part in (term.terms if isinstance(term, Sum) else (term,))]
    rest = [term for term in flat if not isinstance(term, Constant)]
    constant = _folded([term for term in flat if isinstance(term, Constant)], lambda a, b: a + b, ZERO)
    if not (constant.exact is not None and constant.exact == 0):
        rest.append(constant)
    return rest[0] if len(rest) == 1 else Sum(tuple(rest)) if rest else ZERO


def times(*factors: Expression) -> Expression:
    """The product, without products inside products, with its constants as one."""
    flat = [part for factor in factors for part in (factor.factors if isinstance(factor, Product) else (factor,))]
    rest = [factor for factor in flat if not isinstance(factor, Constant)]
    constant = _folded([factor for factor in flat if isinstance(factor, Constant)], lambda a, b: a * b, ONE)
    if constant.exact is not None and constant.exact == 0:
        return ZERO
    if not (constant.exact is not None and constant.exact == 1):
        rest.insert(0, constant)
    return rest[0] if len(rest) == 1 else Product(tuple(rest)) if rest else ONE


def apply(function: str | Function, argument: Expression) -> Expression:
    """The function applied."""
    return Apply(LIBRARY[function] if isinstance(function, str) else function, argument)


def affine(scale: float, argument: Expression, shift: float) -> Expression:
    """`scale * argument + shift` with free constants."""
    return plus(times(Constant(scale), argument), Constant(shift))


def _folded(constants: Sequence[Constant], operation: Callable[[Any, Any], Any], start: Constant) -> Constant:
    """Several constants as one: exact if all are, free otherwise."""
    value, exact = start.value, start.exact
    for constant in constants:
        value = operation(value, constant.value)
        exact = None if exact is None or constant.exact is None else operation(exact, constant.exact)
    return Constant(float(exact), exact) if exact is not None else Constant(value)


def ordered(root: Expression) -> list[Expression]:
    """Every node once, what it is made of before it."""
    seen: set[int] = set()
    nodes: list[Expression] = []
    stack: list[tuple[Expression, bool]] = [(root, False)]
    while stack:
        node, done = stack.pop()
        if done:
            nodes.append(node)
        elif id(node) not in seen:
            seen.add(id(node))
            stack.append((node, True))
            stack.extend((child, False) for child in reversed(node.children) if id(child) not in seen)
    return nodes


def walk(root: Expression) -> Iterator[Expression]:
    """Every node as often as the written formula shows it."""
    yield root
    for child in root.children:
        yield from walk(child)


def free_constants(root: Expression) -> list[Constant]:
    """The constants that a refit may change, in a fixed order."""
    return [node for node in ordered(root) if isinstance(node, Constant) and node.exact is None]


def rebuilt(root: Expression, leaf: Mapping[int, Expression]) -> Expression:
    """The same formula with some nodes, by `id`, replaced."""
    made: dict[int, Expression] = {}
    for node in ordered(root):
        if id(node) in leaf:
            made[id(node)] = leaf[id(node)]
        elif all(made[id(child)] is child for child in node.children):
            made[id(node)] = node
        elif isinstance(node, Sum):
            made[id(node)] = plus(*(made[id(child)] for child in node.terms))
        elif isinstance(node, Product):
            made[id(node)] = times(*(made[id(child)] for child in node.factors))
        else:
            assert isinstance(node, Apply)
            made[id(node)] = Apply(node.function, made[id(node.argument)])
    return made[id(root)]


def substituted(root: Expression, variables: Sequence[Expression]) -> Expression:
    """The same formula with an expression for every variable."""
    return rebuilt(root, {id(n): variables[n.index] for n in ordered(root) if isinstance(n, Variable)})


def with_constants(root: Expression, values: Sequence[float]) -> Expression:
    """The same formula with other free constants, in the order of `free_constants`."""
    constants = free_constants(root)
    return rebuilt(root, {id(c): Constant(float(v)) for c, v in zip(constants, values, strict=True)})


def used_variables(root: Expression) -> list[int]:
    """Numbers of the variables that the formula holds."""
    return sorted({node.index for node in ordered(root) if isinstance(node, Variable)})


FITTED = 3
"""What a fitted constant counts: it says more, and takes more to say, than a whole number or pi."""


def complexity(root: Expression) -> int:
    """Nodes of the written formula: variables, exact constants, sums and products one, functions and fitted constants more."""
    return sum(_weight(node) for node in walk(root))


def _weight(node: Expression) -> int:
    if isinstance(node, Apply):
        return node.function.complexity
    return FITTED if isinstance(node, Constant) and node.exact is None else 1


def to_sympy(root: Expression, symbols: Sequence[Any]) -> Any:
    """The formula in SymPy, of the given symbols."""
    made: dict[int, Any] = {}
    for node in ordered(root):
        parts = [made[id(child)] for child in node.children]
        if isinstance(node, Variable):
            made[id(node)] = symbols[node.index]
        elif isinstance(node, Constant):
            made[id(node)] = sympy.Float(node.value, 17) if node.exact is None else node.exact
        elif isinstance(node, Sum):
            made[id(node)] = sympy.Add(*parts)
        elif isinstance(node, Product):
            made[id(node)] = sympy.Mul(*parts)
        else:
            assert isinstance(node, Apply)
            made[id(node)] = node.function.sympy(parts[0])
    return made[id(root)]
