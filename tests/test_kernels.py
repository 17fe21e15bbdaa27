"""The library of compiled kernels: how it is built, how it comes by threads, and life without it."""

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

import superpose
from superpose import BSpline, KANLinear
from superpose._select import kernels

PACKAGE = Path(superpose.__file__).parent
NATIVE = Path(__file__).parents[1] / "native"

needs_kernels = pytest.mark.skipif(kernels is None, reason="superpose is installed without its compiled kernels")
needs_compiler = pytest.mark.skipif(
    not any(map(shutil.which, ("c++", "g++", "clang++"))) or not NATIVE.exists(), reason="there is no C++ compiler"
)


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def _step(rows, inputs=40, outputs=30):
    """Values and gradients of a layer that is large enough for several threads."""
    generator = torch.Generator().manual_seed(1)
    layer = KANLinear(inputs, outputs, BSpline(intervals=5), generator=generator)
    x = torch.randn(rows, inputs, generator=generator, requires_grad=True)
    y = layer(x)
    weights = torch.randn(y.shape, generator=generator)
    return [y.detach(), *torch.autograd.grad(y, [x, *layer.parameters()], weights)]


def _same(ones, others):
    assert all(torch.equal(one, other) for one, other in zip(ones, others, strict=True))


def _python(code, *, folder=None, **environment):
    """What a program prints; a warning is an error in it, and so is a minute without an answer."""
    path = {"PYTHONPATH": str(folder or PACKAGE.parent)}
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(
        command, env={**os.environ, **path, **environment}, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# ------------------------------------------------------------------------------------------------ threads


@needs_kernels
@pytest.mark.parametrize(("rows", "inputs", "outputs"), [(3000, 40, 30), (20000, 5, 7), (64, 500, 500)])
def test_the_layer_gives_equal_bits_on_any_number_of_threads(two_threads, rows, inputs, outputs):
    steps = []
    for threads in (1, 2, 2, 3):
        torch.set_num_threads(threads)
        steps.append(_step(rows, inputs, outputs))
    for step in steps[1:]:
        _same(steps[0], step)


@needs_kernels
def test_several_threads_of_python_do_not_disturb_each_other(two_threads):
    sizes = [1000, 3000, 2000, 4000]
    alone = [_step(rows) for rows in sizes]
    with ThreadPoolExecutor(len(sizes)) as pool:
        for _ in range(3):
            for one, other in zip(alone, pool.map(_step, sizes), strict=True):
                _same(one, other)


COUNT = """
import torch
from superpose import KAN, BSpline
count = lambda: int(open("/proc/self/status").read().split("Threads:")[1].split()[0])
torch.set_num_threads(2)
model, x, a = KAN((60, 60), BSpline(intervals=5)), torch.randn(4000, 60), torch.randn(900, 900)
a @ a, x.exp()
before = count()
for _ in range(20):
    model(x).sum().backward(), a @ a
print(count() - before)
"""


@needs_kernels
@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted by a file of Linux")
def test_the_threads_are_those_that_pytorch_has():
    plain = "import superpose\nchoice = superpose.using(bspline_linear='plain')\nchoice.__enter__()" + COUNT
    assert _python(COUNT) == _python(plain)


FORK = """
import os, signal, torch, warnings
from superpose import KANLinear, BSpline
warnings.simplefilter("ignore")  # Python 3.12 warns of threads at every fork
torch.set_num_threads(2)
model, x = KANLinear(60, 60, BSpline(intervals=5)), torch.randn(4000, 60)
with torch.no_grad():
    before = model(x).numpy().tobytes()
    child = os.fork()
    if not child:
        signal.alarm(30)
        os._exit(model(x).numpy().tobytes() != before)
print(os.waitpid(child, 0)[1])
"""


@needs_kernels
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_does_not_wait_for_threads_that_are_gone():
    assert _python(FORK).strip() == "0"


WORKERS = """
import numpy as np, torch, warnings
from sklearn.model_selection import GridSearchCV
from superpose import KANRegressor
count = lambda *_: {"score": 0.0, "threads": torch.get_num_threads()}
warnings.simplefilter("ignore")  # so few rows and steps are not a good fit
rng = np.random.default_rng(0)
X = rng.uniform(-1, 1, (120, 2))
search = GridSearchCV(KANRegressor(), {"random_state": [0, 1]}, cv=2, n_jobs=2, scoring=count, refit=False)
print(max(search.fit(X, X[:, 0]).cv_results_["mean_test_threads"]))
"""


@needs_kernels
def test_workers_of_scikit_learn_share_the_cores():
    import joblib

    limit = max(1, joblib.cpu_count() // 2)
    assert float(_python(WORKERS)) <= limit


# ------------------------------------------------------------------------------------ with and without it


@needs_kernels
def test_an_instruction_set_that_does_not_exist_is_an_error():
    code = "import superpose\ntry:\n    superpose.info()\nexcept ValueError as error:\n    print(error)"
    message = _python(code, SUPERPOSE_INSTRUCTIONS="AVX3")
    assert message.strip() == "SUPERPOSE_INSTRUCTIONS is 'AVX3'; it must be one of baseline, AVX2, AVX-512."


WITHOUT = """
import torch, superpose
print(superpose.info().implementations["bspline_linear"])
model = superpose.KAN((2, 3, 1))
model(torch.rand(50, 2)).sum().backward()
print(superpose.which(model, torch.rand(50, 2))[0].implementation)
"""


@pytest.mark.parametrize("library", [None, "not a library"])
def test_without_the_library_pytorch_does_the_work_and_info_says_so(tmp_path, library):
    shutil.copytree(PACKAGE, tmp_path / "superpose", ignore=shutil.ignore_patterns("libsuperpose*", "__pycache__"))
    if library:
        (tmp_path / "superpose" / "libsuperpose.so").write_text(library)
    told, ran = _python(WITHOUT, folder=tmp_path).splitlines()
    assert told.startswith("not native: the compiled kernels are missing")
    assert ran == "plain"


# ----------------------------------------------------------------------------------------------- building


@pytest.fixture
def tree(tmp_path):
    """A project whose kernels take no time to compile."""
    native = tmp_path / "native"
    native.mkdir()
    shutil.copy(NATIVE / "build.py", native)
    (native / "size.h").write_text("#define SIZE 1\n")
    (native / "kernels.cpp").write_text('#include "size.h"\nextern "C" int hidden() { return SIZE; }\n')
    for name in ("isa.cpp", "jacobian.cpp", "rational.cpp"):
        (native / name).write_text("static_assert(sizeof(int) == 4);\n")
    (tmp_path / "src" / "superpose").mkdir(parents=True)
    return tmp_path


def _build(tree, **environment):
    command = [sys.executable, str(tree / "native" / "build.py")]
    clean = {name: value for name, value in os.environ.items() if name not in ("CXX", "SUPERPOSE_REQUIRE_KERNELS")}
    return subprocess.run(command, env={**clean, **environment}, capture_output=True, text=True, check=False)


def _objects(tree):
    return {path.name: path.stat().st_mtime_ns for path in (tree / "build" / "kernels").glob("*.o")}


@needs_compiler
def test_what_has_not_changed_is_not_compiled_again(tree):
    assert _build(tree).stdout.startswith("The kernels are in")
    first = _objects(tree)
    assert _build(tree).returncode == 0
    assert _objects(tree) == first
    (tree / "native" / "isa.cpp").write_text('static_assert(sizeof(int) == 4, "");\n')
    assert _build(tree).returncode == 0
    assert 0 < len(first.keys() & _objects(tree).keys()) < len(first)
    (tree / "native" / "size.h").write_text("#define SIZE 2\n")
    assert _build(tree).returncode == 0
    assert not first.keys() & _objects(tree).keys()


@pytest.mark.parametrize("obstacle", ["no compiler", "another compiler", "an error"])
def test_kernels_that_cannot_be_compiled_are_one_sentence_or_an_error(tree, obstacle):
    if not NATIVE.exists() or not shutil.which("false"):
        pytest.skip("it needs the source tree and a command that fails")
    environment = {
        "no compiler": {"PATH": str(tree)},
        "another compiler": {"CXX": "no-such-compiler"},
        "an error": {"CXX": "false"},
    }[obstacle]
    old = tree / "src" / "superpose" / "libsuperpose.so"
    old.write_text("an older version")
    required = _build(tree, SUPERPOSE_REQUIRE_KERNELS="1", **environment)
    assert required.returncode == 1
    assert "Traceback" not in required.stderr
    told = _build(tree, **environment)
    assert told.returncode == 0
    assert told.stdout.count("\n") == 1
    assert told.stdout.startswith("superpose is without its compiled kernels")
    assert not old.exists() or sys.platform == "darwin"
