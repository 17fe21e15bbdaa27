"""The group-rational operation on a GPU: is it right, how near is it to the memory's speed, and what does it cost a model.

Correctness comes first, and the script stops where it fails. Each time is the median of calls timed with CUDA events, with
the quartiles in brackets; before each call the cache is overwritten. Bandwidth counts every number read and written once,
and is compared with a copy between two large buffers, timed in the same run. `--flashkat` takes a checkout of FlashKAT
(MIT), whose kernels are then timed too. Without a GPU it says so, and writes nothing.
"""

import argparse
import contextlib
import importlib.util
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import torch._functorch.config
from report import Report, options, shown
from torch import Tensor
from torch.nn import functional

from superpose._select import using
from superpose.ops.rational import gpu, rational, reference

NOT_MEASURED = "not measured: no GPU"
SWISH = (
    (3.05488e-07, 0.5000008, 0.2499978, 0.05326628, 0.005803035, 0.0002751961),
    (-4.111555e-06, 0.1065289, -1.269001e-06, 0.000550233),
)
"""Coefficients near those that a KAT starts with."""
MODELS = {
    "tiny": ("kat_tiny_patch16_224", "vit_tiny_patch16_224", 1024),
    "small": ("kat_small_patch16_224", "vit_small_patch16_224", 1024),
    "base": ("kat_base_patch16_224", "vit_base_patch16_224", 512),
}
"""A KAT, the ViT of its size, and images in a batch."""
MODES = ("default", "reduce-overhead")
"""Of torch.compile."""
TOLERANCE = {torch.float64: 1e-12, torch.float32: 2e-6, torch.float16: 1e-3, torch.bfloat16: 8e-3}
"""Largest relative error of values and of gradients of x, in the Euclidean norm; what is stored in 16 bits is rounded."""
SUMS = {torch.float64: 1e-12, torch.float32: 2e-5, torch.float16: 2e-5, torch.bfloat16: 2e-5}
"""The same for the gradients of the coefficients, of sums that do not cancel."""


@dataclass(frozen=True)
class Case:
    """What the operation is asked for."""

    shape: tuple[int, ...]
    axis: int = -1
    dtype: torch.dtype = torch.bfloat16
    groups: int = 8
    degrees: tuple[int, int] = (5, 4)
    form: str = "sum_abs"
    shared: tuple[bool, bool] = (True, False)
    layout: str = "contiguous"

    def tensors(self, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Gradient, x and coefficients; the terms of every sum have one sign."""
        draw = partial(torch.rand, generator=generator, device="cuda", dtype=torch.float64)
        x, grad = draw(self.shape) * 4 - 2, draw(self.shape) + 0.5
        rows = [1 if shared else self.groups for shared in self.shared]
        numerator = draw(rows[0], self.degrees[0] + 1) + 0.1
        denominator = draw(rows[1], self.degrees[1]) + 0.1
        if self.layout == "channels last":
            x, grad = (t.to(memory_format=torch.channels_last) for t in (x, grad))
        elif self.layout == "expanded gradient":
            grad = grad[..., :1].expand(self.shape)
        elif self.layout == "gaps":
            x = torch.stack([x, x], -1)[..., 0]
        coefficient = torch.promote_types(self.dtype, torch.float32)
        return grad.to(self.dtype), x.to(self.dtype), numerator.to(coefficient), denominator.to(coefficient)


CASES = (
    *(Case((64, 197, 768), dtype=dtype, form=form) for dtype in TOLERANCE for form in reference.FORMS),
    *(Case((64, 197, width)) for width in (192, 384, 3072)),
    *(Case((rows, 768)) for rows in (0, 1, 7, 1000, 100003)),
    Case((4097, 255)),
    Case((4097, 5)),
    Case((999, 1000), groups=3, shared=(False, False)),
    Case((64, 96, 28, 28), axis=1),
    Case((64, 96, 28, 28), axis=1, layout="channels last"),
    Case((64, 96, 7, 9), axis=1, dtype=torch.float32),
    Case((64, 197, 768), layout="expanded gradient"),
    Case((64, 197, 768), layout="gaps"),
    *(Case((300, 256), degrees=degrees, dtype=torch.float32) for degrees in ((0, 0), (1, 0), (0, 1), (3, 2), (7, 6))),
    Case((300, 256), groups=256, shared=(False, False)),
    Case((300, 256), groups=1, shared=(True, True)),
)


def main(argv: Sequence[str] | None = None) -> None:
    parser = options(__doc__, seeds=1)
    parser.add_argument("--flashkat", type=Path, metavar="FOLDER", help="a checkout of FlashKAT")
    parser.add_argument("--calls", type=int, default=30, help="timed calls (default 30)")
    parser.add_argument("--seconds", type=float, default=520, help="no new measurement after so long (default 520)")
    parser.add_argument(
        "--models", nargs="*", choices=MODELS, default=list(MODELS), help="sizes to train (default all)"
    )
    given = parser.parse_args(argv)
    measurable = torch.cuda.is_available()
    if not measurable and given.out is None:
        given.quick = True  # a machine without a GPU does not take the place of one that had it
    report = Report("rational_gpu", "The group-rational operation on a GPU", given)
    if not measurable:
        report.table(["what", "result"], [["the operation and the models", NOT_MEASURED]])
    else:
        Run(report, given).everything()
    report.close()


class Run:
    """One run on one GPU."""

    def __init__(self, report: Report, given: argparse.Namespace) -> None:
        self.report, self.given = report, given
        self.ends = time.perf_counter() + given.seconds
        self.generator = torch.Generator("cuda").manual_seed(0)
        properties = torch.cuda.get_device_properties(0)
        self.cache = torch.empty(max(2 * properties.L2_cache_size, 1 << 26), dtype=torch.int8, device="cuda")
        self.flashkat = None if given.flashkat is None else flashkat(given.flashkat)
        report.text(
            f"{properties.name}, {properties.multi_processor_count} multiprocessors, "
            f"{properties.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}, Triton {triton_version()}."
        )

    def everything(self) -> None:
        correctness(self)
        copy = bandwidth(self)
        for width, dtype in (
            (768, torch.bfloat16),
            (3072, torch.bfloat16),
            (768, torch.float32),
            (3072, torch.float32),
        ):
            if not self.is_late():
                operation(self, width, dtype, copy)
        training(self)

    def is_late(self) -> bool:
        late = time.perf_counter() > self.ends
        if late:
            self.report.text("Not measured: the time was up.")
        return late

    def time(self, call: Callable[[], Any]) -> "Times":
        """Milliseconds of calls, each from a cold cache."""
        calls = 3 if self.given.quick else self.given.calls
        for _ in range(3):
            call()
        events = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(calls)]
        for began, ended in events:
            self.cache.zero_()
            began.record()
            call()
            ended.record()
        torch.cuda.synchronize()
        return Times([began.elapsed_time(ended) for began, ended in events])


@dataclass(frozen=True)
class Times:
    """Milliseconds."""

    each: list[float]

    @property
    def median(self) -> float:
        return statistics.median(self.each)

    def __str__(self) -> str:
        low, _, high = statistics.quantiles(self.each, n=4)
        return f"{self.median:.3f} ({low:.3f} to {high:.3f})"


def correctness(run: Run) -> None:
    """Values and gradients against the reference in float64; the same bits twice; more than 2**31 elements; fullgraph."""
    run.report.text("## Correctness")
    cases = CASES[:: 4 if run.given.quick else 1]
    rows, failures = [], []
    for case in cases:
        worst = errors(case, run.generator)
        name = f"{case.shape}, axis {case.axis}, {case.groups} groups, {case.degrees}, {case.form}, {case.layout}"
        rows.append([name, str(case.dtype)[6:], *worst])
        limits = TOLERANCE[case.dtype], TOLERANCE[case.dtype], SUMS[case.dtype], SUMS[case.dtype]
        if not all(error <= limit for error, limit in zip(worst, limits, strict=True)):
            failures.append(name)
    run.report.text("Relative errors against the reference in float64, in the Euclidean norm.")
    run.report.table(["case", "dtype", "y", "gradient of x", "of numerator", "of denominator"], rows)
    if failures:
        raise SystemExit(f"wrong: {'; '.join(failures)}")
    run.report.text(
        "The larger errors of those of separate passes and of the pass that gives all; a second run gave the same bits."
    )
    if not run.given.quick:
        run.report.text(large(run))
    run.report.text(compiled(run))


def errors(case: Case, generator: torch.Generator) -> list[float]:
    """Of y and of the three gradients."""
    grad, x, numerator, denominator = case.tensors(generator)
    rest = numerator, denominator, case.form, case.axis % x.ndim
    obstacle = gpu.obstacle(x, *rest)
    assert obstacle is None, obstacle
    results = [[gpu.forward(x, *rest), *gpu.backward(grad, x, *rest, (True, True, True))] for _ in range(2)]
    assert all(torch.equal(one, two) for one, two in zip(*results, strict=True)), f"other bits: {case}"
    results.append(list(gpu.backward_and_forward(grad, x, *rest, (True, True, True))))
    assert results[0][0].stride() == torch.empty_like(x).stride()
    leaves = [t.double().requires_grad_() for t in (x, numerator, denominator)]
    y = reference.rational(*leaves, *rest[2:])
    wanted = torch.autograd.grad(y, leaves, grad.double(), materialize_grads=True)
    exact = y.detach(), *wanted
    return [max(error(one, each), error(two, each)) for one, two, each in zip(*results[1:], exact, strict=True)]


def error(got: Tensor, exact: Tensor) -> float:
    size = float(exact.norm())
    return float((got.double() - exact).norm()) / (size or 1.0)


def large(run: Run) -> str:
    """More elements than 32 bits can number."""
    case = Case((2**31 // 768 + 1000, 768))
    needed = 4 * 2 * case.shape[0] * case.shape[1] + 6 * 2**30
    if torch.cuda.mem_get_info()[0] < needed:
        return f"More than 2**31 elements: not run, {needed / 2**30:.0f} GiB are not free."
    x, grad = (
        torch.empty(case.shape, dtype=torch.bfloat16, device="cuda").uniform_(*ends, generator=run.generator)
        for ends in ((-2, 2), (0.5, 1.5))
    )
    _, _, *coefficients = Case((8, 768)).tensors(run.generator)
    y, *gradients = gpu.backward_and_forward(grad, x, *coefficients, case.form, 1, (True, True, True))
    sums = [torch.zeros_like(c, dtype=torch.float64) for c in coefficients]
    worst = 0.0
    for rows in torch.arange(case.shape[0]).split(1 << 17):
        part = slice(int(rows[0]), int(rows[-1]) + 1)
        leaves = [t.double().requires_grad_() for t in (x[part], *coefficients)]
        exact = reference.rational(*leaves, case.form, 1)
        dx, *others = torch.autograd.grad(exact, leaves, grad[part].double())
        sums = [total + each for total, each in zip(sums, others, strict=True)]
        worst = max(worst, error(y[part], exact.detach()), error(gradients[0][part], dx))
    off = max(error(got, exact) for got, exact in zip(gradients[1:], sums, strict=True))
    assert worst <= TOLERANCE[torch.bfloat16], worst
    assert off <= SUMS[torch.bfloat16], off
    return (
        f"{case.shape[0] * case.shape[1]:,} elements of bfloat16: the largest error of y and of the gradient of x in a part is "
        f"{shown(worst)}, that of the coefficients' gradients {shown(off)}."
    )


def compiled(run: Run) -> str:
    """The public operation under torch.compile, in one graph."""
    grad, x, numerator, denominator = Case((64, 197, 768)).tensors(run.generator)
    leaves = [t.requires_grad_() for t in (x, numerator, denominator)]
    results = []
    with using(rational="triton"):
        for function in (rational, torch.compile(rational, fullgraph=True)):
            y = function(*leaves)
            results.append([y, *torch.autograd.grad(y, leaves, grad)])
    same = all(torch.equal(one, two) for one, two in zip(*results, strict=True))
    assert same, "torch.compile gives other numbers"
    return "torch.compile with fullgraph=True gives the same bits as eager mode."


def bandwidth(run: Run) -> float:
    """Bytes a millisecond that a copy of a large buffer reads and writes."""
    source = torch.empty(1 << (28 if run.given.quick else 31), dtype=torch.int8, device="cuda").random_(-99, 99)
    target = torch.empty_like(source)
    times = run.time(partial(target.copy_, source))
    speed = 2 * source.numel() / times.median
    run.report.text(f"A copy of {source.numel() / 2**30:g} GiB moves {speed / 1e9:.2f} TB/s, read and written.")
    return speed


def operation(run: Run, width: int, dtype: torch.dtype, copy: float) -> None:
    """The operation and others at the size of a layer."""
    shape = (8 if run.given.quick else 1024, 197, width)
    run.report.text(f"## {shape}, {str(dtype)[6:]}")
    x, grad = (torch.randn(shape, dtype=dtype, device="cuda", generator=run.generator) for _ in range(2))
    numerator = torch.tensor([SWISH[0]], device="cuda")
    denominator = torch.tensor([SWISH[1]] * 8, device="cuda")
    rest = numerator, denominator, "sum_abs", 2
    size = x.numel() * x.element_size()
    rows = []

    def add(name: str, numbers: int, make: Callable[[], Callable[[], Any]]) -> None:
        """A row; `numbers` are those read and written for each element."""
        try:
            times = run.time(make())
        except torch.OutOfMemoryError:
            rows.append([name, "out of memory", "", ""])
            return
        speed = numbers * size / times.median
        rows.append([name, str(times), f"{speed / 1e9:.2f}", f"{100 * speed / copy:.0f} %"])

    every, only_x = (True, True, True), (True, False, False)
    add("forward", 2, lambda: partial(gpu.forward, x, *rest))
    add("backward", 3, lambda: partial(gpu.backward, grad, x, *rest, every))
    add("backward, of x alone", 3, lambda: partial(gpu.backward, grad, x, *rest, only_x))
    add("backward, and y again", 4, lambda: partial(gpu.backward_and_forward, grad, x, *rest, every))
    add("GELU, forward", 2, lambda: partial(functional.gelu, x))
    add("GELU, backward", 3, lambda: partial(torch.ops.aten.gelu_backward, grad, x))
    peer = torch.compile(reference.rational)
    add("compiled reference, forward", 2, lambda: no_grad(partial(peer, x, *rest)))
    add("compiled reference, backward", 3, lambda: slopes(peer, grad, (x, numerator, denominator), rest[2:]))
    if run.flashkat is not None:
        wide = x.float(), numerator.expand(8, -1).contiguous(), denominator  # its adapter converts to float32
        add("FlashKAT in float32, forward", 2, lambda: partial(run.flashkat.rational_fwd_triton, *wide))
        add("FlashKAT in float32, backward", 3, lambda: partial(run.flashkat.rational_bwd_triton, grad.float(), *wide))
    run.report.text(f"The share is that of the copy's bandwidth, for the fewest bytes that {str(dtype)[6:]} needs.")
    run.report.table(["what", "ms", "TB/s", "share"], rows)


def no_grad(call: Callable[[], Any]) -> Callable[[], Any]:
    def without() -> Any:
        with torch.no_grad():
            return call()

    return without


def slopes(function: Callable[..., Tensor], grad: Tensor, tensors: tuple[Tensor, ...], rest: Any) -> Callable[[], Any]:
    leaves = [t.detach().requires_grad_() for t in tensors]
    with torch._functorch.config.patch(donated_buffer=False):  # the graph is kept, to be walked again
        y = function(*leaves, *rest)
    return partial(torch.autograd.grad, y, leaves, grad, retain_graph=True)


def training(run: Run) -> None:
    """Images a second and memory of training steps."""
    run.report.text("## Training")
    try:
        import timm

        import superpose.vision  # noqa: F401 - enters its models
    except ImportError as failure:
        run.report.text(f"Not measured: {failure}.")
        return
    missing = [kat for kat, _, _ in MODELS.values() if not timm.is_model(kat)]
    if missing:
        run.report.text(f"Not measured: timm knows no {missing[0]}.")
        return
    rows = []
    for size in run.given.models[: 1 if run.given.quick else None]:
        kat, vit, batch = MODELS[size]
        for mode in MODES:
            speeds: dict[str, float] = {}
            for name in (vit, kat):
                if run.is_late():
                    break
                with fresh_graphs():
                    times, memory = step_times(run, timm.create_model(name, num_classes=1000), batch, mode)
                speeds[name] = 1000 * batch / times.median
                share = f"{100 * speeds[name] / speeds[vit]:.1f} %"
                rows.append([name, batch, mode, f"{speeds[name]:.0f}", share, str(times), f"{memory:.1f}"])
    run.report.text(
        "224 x 224 pixels, bfloat16 autocast, AdamW, torch.compile, whose mode reduce-overhead replays a step as one CUDA "
        "graph so that no time of the host is in it; made-up images that lie on the GPU."
    )
    run.report.table(["model", "batch", "mode", "images/s", "of the ViT", "step, ms", "peak GiB"], rows)


@contextlib.contextmanager
def fresh_graphs() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def step_times(run: Run, model: torch.nn.Module, batch: int, mode: str) -> tuple[Times, float]:
    """Milliseconds of training steps, and the most memory they took in GiB."""
    model = model.cuda().train()
    images = torch.randn(batch, 3, 224, 224, device="cuda", generator=run.generator)
    labels = torch.randint(1000, (batch,), device="cuda", generator=run.generator)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    fast = torch.compile(model, mode=mode)

    def step() -> None:
        torch.compiler.cudagraph_mark_step_begin()
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cuda", dtype=torch.bfloat16):
            loss = functional.cross_entropy(fast(images), labels)
        loss.backward()
        optimizer.step()

    step()
    torch.cuda.reset_peak_memory_stats()
    times = run.time(step)
    return times, torch.cuda.max_memory_allocated() / 2**30


def flashkat(folder: Path) -> ModuleType:
    """FlashKAT's kernels, from its file alone."""
    path = folder / "rational_kat" / "kernels" / "flash_rational_triton.py"
    if not path.is_file():
        raise SystemExit(f"there is no {path}; --flashkat takes a checkout of FlashKAT.")
    spec = importlib.util.spec_from_file_location("flash_rational_triton", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def triton_version() -> str:
    import triton

    return triton.__version__


if __name__ == "__main__":
    main()
