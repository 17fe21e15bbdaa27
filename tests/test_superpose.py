"""What `import superpose` costs and brings in, each measured in a fresh interpreter."""

import json
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pkgutil import iter_modules
from statistics import median

import pytest

import superpose

HEAVY = ["lightning", "matplotlib", "pandas", "scipy", "sklearn", "sympy", "timm"]


def run(code):
    """What a new interpreter prints as JSON."""
    path = f"import sys; sys.path[:0] = {[p for p in sys.path if p]!r}; "
    done = subprocess.run([sys.executable, "-c", path + code], capture_output=True, text=True, check=True, timeout=300)
    return json.loads(done.stdout)


# PyTorch imports some of these by itself in some versions; what counts is what we add.
LOADED = (
    "import torch, json; before = set(sys.modules); {}; "
    f"print(json.dumps([name for name in {HEAVY} if name in sys.modules.keys() - before]))"
)


@pytest.mark.parametrize(
    "use", ["import superpose", "import superpose; superpose.KAN((2, 1))", "import superpose; str(superpose.info())"]
)
def test_brings_in_no_optional_package(use):
    assert run(LOADED.format(use)) == []


def test_costs_next_to_nothing_after_torch():
    code = (
        "import json, time, torch; start = time.perf_counter(); import superpose; superpose.KAN; "
        "print(json.dumps(time.perf_counter() - start))"
    )
    for _ in range(4):
        seconds = median(run(code) for _ in range(3))
        if seconds < 0.15:
            return
    pytest.fail(f"importing superpose after torch took {seconds:.2f} s")


@pytest.mark.parametrize("name", superpose.__all__)
def test_every_public_name_is_there(name):
    assert getattr(superpose, name) is not None
    assert name in dir(superpose)


def test_no_public_name_is_a_submodule():
    modules = {module.name for module in iter_modules(superpose.__path__)}
    assert not modules & set(superpose.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'superpose' has no attribute 'prunes'"):
        superpose.prunes  # noqa: B018


def test_the_installed_version_is_the_one_in_the_source():
    try:
        installed = version("superpose")
    except PackageNotFoundError:
        pytest.skip("superpose runs from its source tree")
    assert installed == superpose.__version__
