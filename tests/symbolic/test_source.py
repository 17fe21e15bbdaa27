"""C source: what a compiler makes of it gives the values of the formula."""

import ctypes
import subprocess

import numpy as np
import pytest
import sympy
import torch

from superpose.symbolic.expression import Constant, Variable, apply, exactly, plus, times
from superpose.symbolic.functions import LIBRARY, Function
from superpose.symbolic.program import Program
from superpose.symbolic.source import c_source


def compiled(source, folder, name="formula"):
    """The function, by the compiler of the machine."""
    (folder / "f.c").write_text(source)
    command = ["cc", "-std=c99", "-O1", "-Wall", "-Werror", "-shared", "-fPIC", "f.c", "-o", "f.so", "-lm"]
    if "j0(" in source:  # a function of X/Open and POSIX, not of C99
        command.insert(1, "-D_XOPEN_SOURCE=600")
    subprocess.run(command, cwd=folder, check=True)
    function = getattr(ctypes.CDLL(str(folder / "f.so")), name)
    function.restype, function.argtypes = ctypes.c_double, [ctypes.POINTER(ctypes.c_double)]
    return lambda X: np.array([function((ctypes.c_double * len(row))(*row)) for row in X])


def test_every_function_of_the_library_compiles_to_its_values(tmp_path):
    X = np.random.default_rng(0).uniform(0.05, 0.95, (50, 2))
    for n, name in enumerate(LIBRARY):
        root = plus(times(Constant(1.7), apply(name, Variable(1))), times(exactly(sympy.pi), Variable(0)))
        folder = tmp_path / str(n)
        folder.mkdir()
        np.testing.assert_allclose(compiled(c_source(root, "formula"), folder)(X), Program(root)(X), rtol=1e-12)


def test_signs_and_absolute_values_of_negative_numbers(tmp_path):
    X = np.random.default_rng(0).normal(size=(50, 1))
    root = plus(apply("abs", Variable(0)), times(Constant(3.0), apply("sign", Variable(0))), apply("x^3", Variable(0)))
    np.testing.assert_allclose(compiled(c_source(root, "g"), tmp_path, "g")(X), Program(root)(X), rtol=1e-12)


def test_what_is_shared_is_written_once():
    shared = apply("sin", Variable(0))
    for _ in range(30):
        shared = plus(times(Constant(0.5), shared), times(Constant(0.4), apply("sin", shared)))
    assert len(c_source(shared, "f")) < 10_000


@pytest.mark.parametrize("name", ["a b", "", "1a", "f()"])
def test_a_name_that_is_none_in_c_raises(name):
    with pytest.raises(ValueError, match="no name for a C function"):
        c_source(Variable(0), name)


def test_a_function_without_c_raises():
    odd = Function("odd", np.sin, np.cos, sympy.Function("odd"), torch.sin)
    with pytest.raises(ValueError, match="odd has no C"):
        c_source(apply(odd, Variable(0)), "f")
