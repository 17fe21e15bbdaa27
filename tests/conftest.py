"""How the tests run: on one thread, with the shape annotations of every call checked."""

import inspect
import sys
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec, PathFinder

import pytest
import torch
from jaxtyping import config
from threadpoolctl import threadpool_limits

torch.set_num_threads(1)
threadpool_limits(1)

# A test that expects an error wants the one a user sees, and torch.compile cannot see through the checks.
UNCHECKED = {"raises", "compile"}


class _AsWritten:
    """Finds what the shape checks must not rewrite: Triton compiles functions from their source."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: object = None) -> ModuleSpec | None:
        return PathFinder.find_spec(name, path) if name.endswith(".gpu_kernels") else None


def pytest_sessionstart() -> None:
    """Come before the finder of the shape checks."""
    sys.meta_path.insert(0, _AsWritten)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    unchecked = item.get_closest_marker("as_shipped") is not None or bool(UNCHECKED & _names(item))
    config.update("jaxtyping_disable", unchecked)
    try:
        return (yield)
    finally:
        config.update("jaxtyping_disable", False)


@pytest.fixture
def generator() -> torch.Generator:
    """A source of randomness that is the same in every run."""
    return torch.Generator().manual_seed(0)


def _names(item: pytest.Item) -> set[str]:
    """Every name that the test itself uses."""
    function = getattr(item, "function", None)
    if function is None:
        return set()
    function = getattr(getattr(function, "hypothesis", None), "inner_test", function)
    return set(inspect.unwrap(function).__code__.co_names)
