"""What the tests of the compiled kernels share: each instruction set in turn, and memory that shows what was not written."""

from contextlib import contextmanager

import pytest
import torch

from superpose._select import kernels

LEVELS = kernels.LEVELS if kernels else ()


@contextmanager
def chosen(name):
    number = kernels.LEVELS.index(name)
    try:
        if kernels._start(*kernels._runtime, number) != number:
            pytest.skip(f"this machine has no {name}")
        yield
    finally:
        kernels._start(*kernels._runtime, kernels.LEVELS.index(kernels._level))


@pytest.fixture(scope="session")
def instructions():
    """Takes a name and gives a context with the kernels of that set, as SUPERPOSE_INSTRUCTIONS would choose them."""
    return chosen


@pytest.fixture(params=LEVELS)
def level(request):
    with chosen(request.param):
        yield request.param


@pytest.fixture
def poisoned_memory():
    """Memory that is not initialised holds NaN, so that a number that was never written is seen."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)
