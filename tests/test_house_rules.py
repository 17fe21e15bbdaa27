"""The rules of CONTRIBUTING.md that a machine can count."""

import ast
import doctest
import re
import subprocess
import warnings
from pathlib import Path

import pytest
import torch

from superpose.layers import Affine

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "superpose"
MODULES = sorted(path for path in SOURCE.rglob("*.py") if path.name != "gpu.py")
TESTS = sorted((ROOT / "tests").rglob("*.py"))

# Spelled so that this file does not break its own rule.
HOSTS = re.compile(
    "|".join(["pypi" + r"\.org", "python" + "hosted", "download" + r"\.pytorch", "npm" + "js", "conda" + r"\.io"]),
    re.IGNORECASE,
)
MACHINE = re.compile(r"(?<![\w.])/(?:" + "|".join(["work", "root", "home", "tmp", "Users"]) + r")/")


def relative(path):
    return str(path.relative_to(ROOT))


def tracked():
    """Text files that belong to the project: those of git, or the source tree where there is no git."""
    try:
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT, capture_output=True, text=True, check=True,
        ).stdout.split("\0")  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return [*MODULES, *TESTS]
    paths = (ROOT / name for name in listed if name)
    return [path for path in paths if path.is_file() and b"\0" not in path.read_bytes()[:4096]]


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_files_and_functions_are_small(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 400, "a file of more than 400 lines has a second idea in it"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            documented = node.body[0].end_lineno - node.body[0].lineno + 1 if ast.get_docstring(node) else 0
            lines = node.end_lineno - node.lineno + 1 - documented
            assert lines <= 60, f"{node.name} has {lines} lines; the limit is 60"


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_nothing_prints_but_the_command_line(path):
    if "cli" in path.parts:
        return
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    assert not [call.lineno for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"]


@pytest.mark.filterwarnings("default:no test of their own")
def test_modules_of_some_size_have_a_test_of_their_name():
    names = {relative(path) for path in TESTS}
    missing = []
    for path in MODULES:
        own = path.parent if path.stem in ("__init__", "reference") else path.with_suffix("")
        folder = Path("tests", own.parent.relative_to(SOURCE)) if own != SOURCE else Path("tests")
        wanted = {str(folder / f"test_{own.name.removeprefix('_')}.py"), str(folder / "test_contract.py")}
        if len(path.read_text().splitlines()) > 40 and not wanted & names:
            missing.append(relative(path))
    if missing:
        warnings.warn(f"no test of their own: {', '.join(missing)}", stacklevel=1)


@pytest.mark.parametrize("rule", [HOSTS, MACHINE], ids=["registry hosts", "paths of a machine"])
def test_no_file_names_what_only_one_machine_knows(rule):
    found = []
    for path in tracked():
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            if rule.search(line):
                found.append(f"{relative(path)}:{number}: {line.strip()[:80]}")
    assert not found


def test_shape_annotations_are_checked_here():
    try:
        Affine(2)(torch.ones(3, 2, dtype=torch.int64))
    except TypeError:
        return
    pytest.fail("x is annotated as Float, and integers went through: is --jaxtyping-packages among the options?")


def test_the_examples_in_the_readme_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = doctest.testfile(
        str(ROOT / "README.md"), module_relative=False, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    )
    assert result.attempted > 0
    assert result.failed == 0
