"""Every benchmark and every example runs, on tiny budgets; what they find is not judged here."""

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HELPERS = {
    "report", "problems", "choice",
    "feynman_equations", "symbolic_forms", "symbolic_judge", "symbolic_tables",
}  # fmt: skip
PLACES = ("*.py", "kernel_attention/*.py")
BENCHMARKS = sorted(path for place in PLACES for path in (ROOT / "benchmarks").glob(place) if path.stem not in HELPERS)
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
FEW = {"continual_learning": {"steps": 3}}

# Scripts use the package as a user does. PyTorch warns once in a process about the loss that two solvers read.
pytestmark = [
    pytest.mark.as_shipped,
    pytest.mark.skipif(not BENCHMARKS, reason="no benchmarks beside the tests"),
]


@pytest.fixture
def loaded(monkeypatch):
    """Import a script by its path, with its neighbours importable as they are when it is run."""
    before = set(sys.modules)

    def load(path):
        monkeypatch.syspath_prepend(str(path.parent))
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, path.stem, module)
        spec.loader.exec_module(module)
        return module

    yield load
    for name in set(sys.modules) - before:
        if name in HELPERS:
            del sys.modules[name]


@pytest.mark.parametrize("path", BENCHMARKS, ids=lambda path: path.stem)
def test_a_benchmark_runs_and_writes_its_table(path, loaded, tmp_path, capsys):
    out = tmp_path / "report.md"
    loaded(path).main(["--quick", "--seeds", "1", "--out", str(out)])
    text = out.read_text()
    assert "|--" in text
    assert "quick" in text
    assert text.splitlines()[0] in capsys.readouterr().out


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs(path, loaded, capsys):
    loaded(path).main(**FEW.get(path.stem, {}))
    assert capsys.readouterr().out
