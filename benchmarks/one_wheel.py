"""One wheel for all versions of Python and PyTorch, what a call of the compiled kernels costs, and whose threads they use.

`make check-wheel` builds the wheel and runs this. Each row of the first table is a fresh environment: the wheel, one
version of PyTorch, and the tests of the operation on what is installed, away from the sources. The last row is an
installation without a C++ compiler.

The second table compares the two ways to call C++ from any version of PyTorch: a plain C library, which this one is, and
PyTorch's stable ABI. It counts the processor time of the calling thread, so that a busy machine matters little.
"""

import ctypes
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import torch
from report import Report, options
from torch import Tensor

import superpose
from superpose.ops.bspline import native

ROOT = Path(__file__).parents[1]
NEEDED = ["pytest", "hypothesis", "beartype"]
ABOUT = """
import torch, warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import superpose
    model = superpose.KAN((2, 5, 1))
    model(torch.rand(9, 2)).sum().backward()
    told = superpose.info().implementations["bspline_linear"].split(", plain (")[0].split("; plain (")[0]
print(torch.__version__, told, len(caught), superpose.__file__, sep="|")
"""


def main(argv: Sequence[str] | None = None) -> None:
    parser = options(__doc__, seeds=1)
    parser.add_argument(
        "--wheel",
        type=lambda name: Path(name).resolve(),
        help="the wheel to check; without it the first table is left out",
    )
    parser.add_argument("--python", nargs="+", default=[sys.executable], help="interpreters to install into")
    parser.add_argument("--torch", nargs="+", default=["2.13.0", torch.__version__.split("+")[0]], help="versions")
    args = parser.parse_args(argv)
    report = Report("one_wheel", "One wheel, cheap calls, borrowed threads", args)
    if args.wheel:
        report.text("## Installed into fresh environments")
        report.text(f"{args.wheel.name}, {args.wheel.stat().st_size / 1024:.0f} kB.")
        columns = ["wheel", "Python", "torch", "implementation", "warnings", "tests of the operation"]
        report.table(columns, installations(args.wheel, args.python, args.torch))
    if native.kernels is None:
        report.text("There are no compiled kernels here, so the other tables are left out.")
    else:
        report.text("## What a call costs, in microseconds of processor time")
        report.text(
            "Two layers, 2-5-1, cubic, 5 intervals, no kernel for the base function. A step has a backward pass."
        )
        few = args.quick
        report.table(["calls by", "forward, 1 row", "forward, 1000", "step, 1 row", "step, 1000"], calls(quick=few))
        if not few:
            report.table(["built as", "processor seconds", "kB", "needs to build", "runs with torch"], builds())
        report.text("## Threads")
        report.table(["measured", "value"], threads(quick=few))
    report.close()


# ----------------------------------------------------------------------------------------------- wheels


def installations(wheel: Path, pythons: Sequence[str], torches: Sequence[str]) -> list[list[object]]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tests = folder / "tests"
        shutil.copytree(ROOT / "tests" / "ops", tests / "ops")
        for path in ("tests/conftest.py", "pyproject.toml"):
            shutil.copy(ROOT / path, folder / path)
        rows = [check(folder, wheel, python, version) for python in pythons for version in torches]
        return [*rows, check(folder, without_compiler(folder), pythons[0], torches[-1])]


def check(folder: Path, wheel: Path, python: str, version: str) -> list[object]:
    place = folder / "environment"
    run(uv(), "venv", "--quiet", "--clear", "--python", python, str(place))
    interpreter = str(place / "bin" / "python")
    exact = f"torch=={version}"
    run(uv(), "pip", "install", "--quiet", "--python", interpreter, exact, str(wheel), *NEEDED, cwd=folder)
    found, told, warnings, where = run(interpreter, "-c", ABOUT, cwd=folder).strip().split("|")
    assert where.startswith(str(place)), f"{where} is not what was installed"
    tested = run(interpreter, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/ops", cwd=folder)
    tag = wheel.stem.split("-", 2)[-1]
    minor = run(interpreter, "-c", "import platform; print(platform.python_version())").strip()
    return [tag, minor, found, told, warnings, tested.strip().splitlines()[-1].split(" in ")[0]]


def without_compiler(folder: Path) -> Path:
    """A wheel made where no compiler is found."""
    clean = {k: v for k, v in os.environ.items() if k not in ("CXX", "SUPERPOSE_REQUIRE_KERNELS")}
    out = folder / "pure"
    run(
        uv(), "build", "--wheel", "--quiet", "--python", sys.executable, "--out-dir", str(out), str(ROOT),
        env={**clean, "PATH": str(folder)},
    )  # fmt: skip
    return next(out.glob("*.whl"))


def uv() -> str:
    beside = Path(sys.executable).with_name("uv")
    return str(beside) if beside.exists() else shutil.which("uv") or "uv"


def run(*command: str, **options: object) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
    return done.stdout


# ------------------------------------------------------------------------------------------------ calls

Layer = Callable[[Tensor, Tensor, Tensor], Tensor]


def calls(*, quick: bool) -> list[list[object]]:
    ways: dict[str, tuple[Layer, bool]] = {
        "plain C, with the arithmetic": (ours, False),
        "plain C, an empty function": (ours, True),
    }
    if not quick:
        ways |= {name: (layer, True) for name, layer in stable().items()}
    g = torch.Generator().manual_seed(0)
    knots = (torch.arange(12.0) - 3).unsqueeze(0) / 2.5 - 1
    parameters = [torch.randn(2, 8, 5, generator=g), torch.randn(5, 8, 1, generator=g)]
    for each in parameters:
        each.requires_grad_()
    rows: dict[str, list[object]] = {name: [name] for name in ways}
    for step in (False, True):
        for count in (1, 1000):
            x = torch.rand(count, 2, generator=g)
            times: dict[str, list[float]] = {name: [] for name in ways}
            for _ in range(2 if quick else 60):
                for name, (layer, empty) in ways.items():
                    with arithmetic(empty=empty):
                        times[name].append(timed(layer, x, knots, parameters, step=step))
            for name, found in times.items():
                rows[name].append(f"{statistics.median(found):.1f}")
    return list(rows.values())


def timed(layer: Layer, x: Tensor, knots: Tensor, parameters: list[Tensor], *, step: bool) -> float:
    """Microseconds of one call; parameters of both layers and, if it is a step, their gradients."""
    one, two = parameters
    ones = x.new_ones(len(x), 1)
    began = time.thread_time()
    with torch.set_grad_enabled(step):
        for _ in range(100):
            y = layer(layer(x, one, knots), two, knots)
            if step:
                torch.autograd.grad(y, parameters, ones)
    return (time.thread_time() - began) * 1e4


def ours(x: Tensor, coef: Tensor, knots: Tensor) -> Tensor:
    return native.bspline_linear(x, coef, knots, 3, "linear", None)


class arithmetic:  # noqa: N801
    """With `empty`, what Python calls does nothing."""

    nothing = ctypes.CDLL(None).abs if os.name == "posix" else None  # takes a number, is done at once

    def __init__(self, *, empty: bool) -> None:
        self.empty, self.kept = empty, native.kernels.bspline

    def __enter__(self) -> None:
        if self.empty:
            self.nothing.argtypes, self.nothing.restype = [ctypes.c_char_p], None
            native.kernels.bspline = self.nothing

    def __exit__(self, *_: object) -> None:
        native.kernels.bspline = self.kept


def compile_stable(folder: Path) -> Path:
    """The same operation by the stable ABI of PyTorch 2.10, the first with all it needs."""
    torches, library = Path(torch.__file__).parent, folder / "stable.so"
    run(
        os.environ.get("CXX", "c++"), "-std=c++17", "-O3", "-fPIC", "-fvisibility=hidden", "-shared", "-s",
        "-DTORCH_TARGET_VERSION=0x020a000000000000", "-isystem", str(torches / "include"),
        str(ROOT / "benchmarks" / "peers" / "stable_abi.cpp"), "-o", str(library), f"-L{torches / 'lib'}", "-ltorch_cpu",
    )  # fmt: skip
    return library


def stable() -> dict[str, Layer]:
    with tempfile.TemporaryDirectory() as name:
        torch.ops.load_library(str(compile_stable(Path(name))))
    forward, backward = torch.ops.superpose_stable.linear.default, torch.ops.superpose_stable.linear_backward.default

    class Function(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, coef, knots):
            ctx.save_for_backward(x, coef, knots)
            return forward(x, coef, knots, None, 3, 0)

        @staticmethod
        def backward(ctx, grad):
            return *backward(grad, *ctx.saved_tensors, None, 3, 0), None

    def save(ctx, inputs, output):
        ctx.save_for_backward(*inputs[:3])

    def rule(ctx, grad):
        return *backward(grad, *ctx.saved_tensors, None, 3, 0), None, None, None, None

    torch.library.register_autograd("superpose_stable::linear", rule, setup_context=save)

    def function(x: Tensor, coef: Tensor, knots: Tensor) -> Tensor:
        return (Function.apply if torch.is_grad_enabled() else below)(x, coef, knots)

    def below(x: Tensor, coef: Tensor, knots: Tensor) -> Tensor:
        return forward(x, coef, knots, None, 3, 0)

    return {
        "stable ABI, an empty kernel, autograd.Function": function,
        "stable ABI, an empty kernel, torch.library.register_autograd": below,
    }


def builds() -> list[list[object]]:
    """How long each takes to build, and what it needs; the stable one has no arithmetic in it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source, empty = folder / "empty.c", folder / "empty.so"
        source.write_text("void superpose_bspline(const void *call) { (void)call; }\n")
        shutil.copytree(ROOT / "native", folder / "native")
        (folder / "src" / "superpose").mkdir(parents=True)
        compiler = os.environ.get("CXX", "c++")
        began = [spent()]
        run(compiler, "-O3", "-fPIC", "-shared", "-s", str(source), "-o", str(empty))
        began.append(spent())
        other = compile_stable(folder)
        began.append(spent())
        run(sys.executable, str(folder / "native" / "build.py"))
        began.append(spent())
        sizes = [path.stat().st_size / 1024 for path in (empty, other, next((folder / "src" / "superpose").iterdir()))]
    rows = [
        ("plain C, an empty function", "a C++ compiler", "any"),
        ("stable ABI, empty kernels", "that and PyTorch's headers", ">= 2.10"),
        ("plain C, all kernels (this library)", "a C++ compiler", "any"),
    ]
    times = [f"{after - before:.1f}" for before, after in pairwise(began)]
    return [
        [name, seconds, f"{size:.0f}", *rest] for (name, *rest), seconds, size in zip(rows, times, sizes, strict=True)
    ]


def spent() -> float:
    """Processor seconds of the programs run so far."""
    times = os.times()
    return times.children_user + times.children_system


# ---------------------------------------------------------------------------------------------- threads


def threads(*, quick: bool) -> list[list[object]]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    size = 200 if quick else 1000
    layer = superpose.KANLinear(100, 200, superpose.BSpline(intervals=5))
    x, a = torch.rand(4 * size, 100), torch.rand(size, size)
    with torch.no_grad():
        torch.mm(a, a), x.exp()
        counts = [running()]
        layer(x)
        counts.append(running())
        times = interleaved(lambda: layer(x), lambda: torch.mm(a, a), 2 if quick else 40)
        counts.append(running())
        values = layer(x)
        same = all(torch.equal(values, layer(x)) for _ in range(5))
        torch.set_num_threads(1)
        single = torch.equal(values, layer(x))
    torch.set_num_threads(before)
    alone, product, together = times
    return [
        ["threads of the process after torch.mm and exp on two", counts[0]],
        ["after the layer on two as well", counts[1]],
        ["after both in turn", counts[2]],
        ["the layer alone, ms", alone * 1e3],
        ["torch.mm alone, ms", product * 1e3],
        ["both in turn, ms", together * 1e3],
        ["both in turn / sum of each alone", together / (alone + product)],
        ["bits equal on repetition, two threads", same],
        ["bits equal on one thread and on two", single],
        *workers(quick=quick),
    ]


def running() -> int | str:
    try:
        return int(re.findall(r"Threads:\s+(\d+)", Path("/proc/self/status").read_text())[0])
    except OSError:
        return "unknown"


def interleaved(one: Callable[[], object], other: Callable[[], object], repeats: int) -> list[float]:
    """Least seconds of either alone, several times in a row, and of a turn of both."""

    def both() -> None:
        one(), other()

    best = [float("inf")] * 3
    for _ in range(repeats):
        for which, action in enumerate((one, other, both)):
            action()
            began = time.perf_counter()
            for _ in range(4):
                action()
            best[which] = min(best[which], (time.perf_counter() - began) / 4)
    return best


def workers(*, quick: bool) -> list[list[object]]:
    """What workers of scikit-learn see, two at a time: threads allowed, and processor time for each second."""
    if quick:
        return []
    import numpy as np
    from sklearn.model_selection import GridSearchCV

    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (2000, 2))
    y = np.exp(np.sin(np.pi * X[:, 0]) + X[:, 1] ** 2)
    grid = {"random_state": [0, 1]}
    search = GridSearchCV(superpose.KANRegressor(), grid, cv=2, n_jobs=2, scoring=seen, refit=False).fit(X, y)
    found = {name: search.cv_results_[f"mean_test_{name}"].max() for name in ("allowed", "running", "busy")}
    return [
        ["GridSearchCV(n_jobs=2): torch.get_num_threads() in its workers", int(found["allowed"])],
        ["threads in a worker, at most", int(found["running"])],
        ["processor seconds for each second while a worker fits and predicts, at most", float(found["busy"])],
    ]


def seen(model: object, X: object, y: object) -> dict[str, float]:
    from sklearn.base import clone

    began, used = time.perf_counter(), time.process_time()
    clone(model).fit(X, y).predict(X)
    busy = (time.process_time() - used) / (time.perf_counter() - began)
    return {"score": 0.0, "allowed": torch.get_num_threads(), "running": running(), "busy": busy}


if __name__ == "__main__":
    main()
