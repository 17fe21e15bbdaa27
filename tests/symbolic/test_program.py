"""Programs: the values of loops in every form a formula takes, and derivatives that finite differences confirm."""

import ctypes
import subprocess

import numpy as np
import pytest
import sympy
import torch

from superpose.symbolic.expression import (
    Apply,
    Constant,
    Variable,
    affine,
    apply,
    complexity,
    exactly,
    ordered,
    plus,
    times,
    to_sympy,
)
from superpose.symbolic.program import FormulaModule, Program
from superpose.symbolic.source import c_source

BLOCKS = 10


@pytest.mark.parametrize("block", range(BLOCKS))
def test_all_forms_of_random_formulas_agree(block, random_formula, looped):
    compared = 0
    for seed in range(30 * block, 30 * (block + 1)):
        made = random_formula(seed)
        if made is None:
            continue
        root, X = made
        expected = looped(root, X)
        near = {"rtol": 1e-9, "atol": 1e-9 * float(np.abs(expected).max())}
        np.testing.assert_allclose(Program(root)(X), expected, **near)
        module = FormulaModule(root, X.shape[1])
        # The Bessel function of PyTorch is only good to some 1e-8.
        bessel = any(isinstance(node, Apply) and node.function.name == "J0" for node in ordered(root))
        found = module(torch.tensor(X)).detach().numpy()[:, 0]
        np.testing.assert_allclose(
            found, expected, rtol=1e-6 if bessel else 1e-9, atol=(100 if bessel else 1) * near["atol"]
        )
        if complexity(root) < 300:
            symbols = [sympy.Symbol(f"x{n}", real=True) for n in range(X.shape[1])]
            values = sympy.lambdify(symbols, to_sympy(root, symbols), ["scipy", "numpy"], cse=True)(*X.T)
            np.testing.assert_allclose(np.broadcast_to(values, len(X)), expected, **near)
        compared += 1
    assert compared >= 20  # so that more than 200 are compared in all


def test_c_has_the_values_of_random_formulas(random_formula, looped, tmp_path):
    made = {seed: random_formula(seed) for seed in range(1000, 1030)}
    made = {seed: pair for seed, pair in made.items() if pair is not None}
    (tmp_path / "f.c").write_text("\n".join(c_source(root, f"f{seed}") for seed, (root, _) in made.items()))
    command = ["cc", "-std=c99", "-D_XOPEN_SOURCE=600", "-O1", "-shared", "-fPIC", "f.c", "-o", "f.so", "-lm"]
    subprocess.run(command, cwd=tmp_path, check=True)
    library = ctypes.CDLL(str(tmp_path / "f.so"))
    for seed, (root, X) in made.items():
        function = getattr(library, f"f{seed}")
        function.restype = ctypes.c_double
        values = [function((ctypes.c_double * len(row))(*row)) for row in X]
        expected = looped(root, X)
        np.testing.assert_allclose(values, expected, rtol=1e-9, atol=1e-9 * float(np.abs(expected).max()))
    assert len(made) >= 20


@pytest.mark.parametrize("seed", range(25))
def test_jacobians_are_finite_differences(seed, random_formula):
    made = random_formula(seed)
    if made is None:
        pytest.skip("rounding would decide")
    root, X = made
    program = Program(root)
    constants = program.constants
    values, jacobian = program.values_and_jacobian(X, constants)
    np.testing.assert_allclose(values, program(X), rtol=1e-12)
    assert jacobian.shape == (len(constants), len(X))
    for n in range(len(constants)):
        step = 1e-6 * np.eye(len(constants))[n] * max(1.0, abs(constants[n]))
        finite = (program(X, constants + step) - program(X, constants - step)) / (2 * step[n])
        size = np.abs(finite).max() + 1e-3
        # A step may cross the corner of an absolute value at one row or another.
        assert np.quantile(np.abs(jacobian[n] - finite), 0.9) < 1e-4 * size


def test_a_constant_has_a_value_for_every_row():
    X = np.zeros((4, 1))
    np.testing.assert_array_equal(Program(Constant(2.0))(X), np.full(4, 2.0))
    _, jacobian = Program(Constant(2.0)).values_and_jacobian(X, np.array([3.0]))
    np.testing.assert_array_equal(jacobian, np.ones((1, 4)))
    assert FormulaModule(exactly(2), 1)(torch.zeros(4, 1)).shape == (4, 1)


def test_a_factor_that_comes_twice_counts_twice():
    shared = affine(2.0, Variable(0), 0.0)
    root = times(apply("sin", shared), apply("sin", shared))
    x = np.array([[0.3]])
    _, jacobian = Program(root).values_and_jacobian(x, Program(root).constants)
    assert jacobian[0, 0] == pytest.approx(2 * np.sin(0.6) * np.cos(0.6) * 0.3)


def test_what_is_not_defined_is_not_a_number():
    values = Program(apply("log", Variable(0)))(np.array([[-1.0], [0.0], [1.0]]))
    assert np.isnan(values[0])
    assert np.isinf(values[1])
    assert values[2] == 0


def test_ranges_are_those_of_arguments():
    node = apply("sin", affine(2.0, Variable(0), 1.0))
    X = np.linspace(-1, 1, 11).reshape(-1, 1)
    assert Program(plus(node, Variable(0))).ranges(X) == {id(node): (-1.0, 3.0)}
    assert Program(apply("x^2", Variable(0))).outputs(X) == [(0.0, 1.0)]


def test_the_module_is_fitted_by_its_constants():
    module = FormulaModule(times(Constant(2.0), Variable(0)), 1)
    x = torch.ones(3, 1, dtype=torch.float64)
    module(x).sum().backward()
    assert module.constants.grad.tolist() == [3.0]
    with pytest.raises(ValueError, match="has 1 inputs"):
        module(torch.ones(3, 2))
