"""Memory, time and exactness of kernel attention: features and fused attention against the tensor of all pairs.

One layer, forward and backward, at the shape of the published experiments: 100 images of 65 tokens, width 256, 8 heads;
and a step of training of the published transformer, which has 8 such layers.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median

import timm
import torch
from timm.layers.attention import Attention
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1]))
from peers.rounds import Call, Company, interleaved, settle_allocator, threads
from report import Report, options, spread

from superpose import vision as vision  # registers the transformers with timm
from superpose.layers import KernelAttention

WIDTH, HEADS, TOKENS, BATCH = 256, 8, 65, 100
FEW = 4
"""Images for which the tensor of all pairs fits, forward and backward."""
MEMORY, TIME, FASTER, ERROR, STEP = 1.5, 2.5, 30, 1e-6, 0.9
PSEUDO = ("semi_fusion", "param_fusion")
VITS = ("softmax", *PSEUDO, "gaussian_mhsa")
STANDARD, PUBLISHED, NAIVE = "standard (timm)", "Gaussian, published", "Gaussian, all pairs"


class AllPairs(nn.Module):
    """The published Gaussian attention as its formula stands, with the layer's own parameters."""

    def __init__(self, layer: KernelAttention) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z, _, _ = self.layer.heads(x)
        weights = (self.layer.scale * all_pairs(z)).softmax(-1)
        return self.layer.proj(torch.einsum("bhsr,brhd->bshd", weights, z).flatten(2))


def all_pairs(z: torch.Tensor) -> torch.Tensor:
    z = z.transpose(1, 2)
    return torch.exp(-((z[:, :, :, None, :, None] - z[:, :, None, :, None, :]) ** 2) / 2).sum((-1, -2))


LAYERS: dict[str, Callable[[], nn.Module]] = {
    STANDARD: partial(Attention, WIDTH, HEADS, qkv_bias=True),
    PUBLISHED: partial(KernelAttention.gaussian_mhsa, WIDTH, HEADS, paper_compat=True),
    "Gaussian, repaired": partial(KernelAttention.gaussian_mhsa, WIDTH, HEADS),
    "Semi-Fusion": partial(KernelAttention.semi_fusion, WIDTH, HEADS),
    "Param-Fusion": partial(KernelAttention.param_fusion, WIDTH, HEADS),
    "cubic spline, repaired": partial(KernelAttention.spline_mhsa, WIDTH, HEADS),
    "whole vectors": partial(KernelAttention.full_vector_gaussian, WIDTH, HEADS, qkv_bias=True),
    NAIVE: lambda: AllPairs(KernelAttention.gaussian_mhsa(WIDTH, HEADS, paper_compat=True)),
}


def step(layer: nn.Module, x: torch.Tensor) -> None:
    layer.zero_grad(set_to_none=True)
    layer(x).sum().backward()


def tokens(batch: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, TOKENS, WIDTH, generator=generator).requires_grad_()


def peak(name: str, batch: int) -> None:
    """What one step adds to this process at most, in bytes; the process does nothing else."""
    known = 2**26
    before = resident("VmRSS")
    torch.ones(known, dtype=torch.uint8)
    if not 0.9 < (resident("VmHWM") - before) / known < 1.1:
        raise RuntimeError(
            f"a tensor of {known} bytes is seen as {resident('VmHWM') - before}: memory cannot be measured."
        )
    layer, x = LAYERS[name](), tokens(batch)
    step(layer, tokens(1))  # what PyTorch sets up once
    x.grad = torch.zeros_like(x)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = resident("VmRSS")
    step(layer, x)
    print(resident("VmHWM") - before)


def resident(which: str) -> int:
    """Bytes that this process has in memory, or had at most. (`ru_maxrss` would count those of its parent before `exec`.)"""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[which].split()[0]) * 1024


def peaks(given: argparse.Namespace, name: str, batch: int) -> list[float]:
    """Mebibytes, each from a fresh process."""
    command = [sys.executable, __file__, "--peak", name, "--batch", str(batch), "--threads", str(given.threads)]
    runs = 1 if given.quick else 3
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}  # the same superpose as here
    return [int(subprocess.run(command, check=True, capture_output=True, env=env).stdout) / 2**20 for _ in range(runs)]


def training_steps(report: Report, given: argparse.Namespace, batch: int) -> None:
    """A step of the whole transformer, with AdamW: what of a layer's time is left of it."""
    size, arguments = ("nano", {"depth": 1}) if given.quick else ("mini", {})
    images = torch.randn(batch, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(batch) % 10
    calls = {}
    for name in VITS:
        model = timm.create_model(f"kernel_vit_{size}_patch4_32", attention=name, **arguments)
        optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
        calls[name] = Call(partial(training_step, model, optimizer, images, labels))
    found = interleaved(calls, max(2, given.repeats // 2))
    base = found["softmax"].median
    report.text(
        f"A step of training (forward, backward, AdamW) of `kernel_vit_{size}_patch4_32` on {batch} images, milliseconds: "
        "medians with the quartiles, in turns."
    )
    report.table(["attention", "ms", "to softmax"], [[name, t.cell(), t.median / base] for name, t in found.items()])
    slowest = max(found[name].median / base for name in PSEUDO)
    report.text(f"Pseudo-MHSA to the standard, at most {STEP}: {verdict(slowest <= STEP)} ({slowest:.2f}).")


def training_step(
    model: nn.Module, optimizer: torch.optim.Optimizer, images: torch.Tensor, labels: torch.Tensor
) -> None:
    optimizer.zero_grad(set_to_none=True)
    nn.functional.cross_entropy(model(images), labels).backward()
    optimizer.step()


def exactness(report: Report, given: argparse.Namespace) -> None:
    rows, width = [], 0.0
    for seed in range(given.seeds):
        layer = LAYERS[PUBLISHED]()
        x = tokens(1, seed)
        z = layer.heads(x)[0].detach().requires_grad_()
        exact_z = z.detach().double().requires_grad_()
        exact = all_pairs(exact_z)
        left, right = layer.features(z, z)
        # Softmax does not see a number of the query's own: it is taken from the exact sums.
        ours = torch.einsum("bshf,brhf->bhsr", left.double(), right.double())
        ours = ours + (exact - ours).mean(-1, keepdim=True).detach()
        scores = ((ours - exact) / exact).abs().max().item()
        direction = torch.randn(exact.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        direction = direction - direction.mean(-1, keepdim=True)
        mine, theirs = (torch.autograd.grad((k * direction).sum(), z)[0] for k, z in ((ours, z), (exact, exact_z)))
        slopes = ((mine - theirs).abs().max() / theirs.abs().max()).item()
        out = layer(x)
        reference = AllPairs(layer.double())(x.double())
        outputs = ((out - reference).abs().max() / reference.abs().max()).item()
        rows.append((scores, slopes, outputs))
        width = left.shape[-1]
    columns = list(zip(*rows, strict=True))
    report.text(
        f"The published Gaussian layer in float32, {width} features for each head, against the double sum over all pairs "
        "in float64, for random tokens: the largest relative error of a score, and the largest errors of gradients of "
        "scores and of the layer's outputs relative to the largest gradient and output."
    )
    report.table(["scores", "gradients", "outputs"], [[spread(column) for column in columns]])
    report.text(f"Scores to {ERROR:g}: {verdict(max(columns[0]) <= ERROR)}.")


def times(report: Report, given: argparse.Namespace, batch: int, names: Sequence[str]) -> dict[str, float]:
    calls = {}
    for name in names:
        layer, x = LAYERS[name](), tokens(batch)
        calls[name] = Call(partial(step, layer, x))
    found = interleaved(calls, given.repeats)
    base = found[names[0]].median
    report.text(f"Time of a step with {batch} images, milliseconds: medians with the quartiles, in turns.")
    report.table(["layer", "ms", f"to {names[0]}"], [[name, t.cell(), t.median / base] for name, t in found.items()])
    return {name: t.median for name, t in found.items()}


def memory(report: Report, given: argparse.Namespace, batch: int, names: Sequence[str]) -> dict[str, float]:
    found = {name: peaks(given, name, batch) for name in names[: 2 if given.quick else None]}
    base = median(found[names[0]])
    report.text(
        f"Peak memory of a step with {batch} images, MiB: what it adds at most to a process of its own that has done a "
        "step with one image. Medians with the range."
    )
    report.table(
        ["layer", "MiB", f"to {names[0]}"],
        [[name, spread(values), median(values) / base] for name, values in found.items()],
    )
    return {name: median(values) for name, values in found.items()}


def verdict(met: bool) -> str:
    return "met" if met else "**missed**"


def run(given: argparse.Namespace) -> None:
    given.out = given.out or (None if given.quick else Path(__file__).parents[1] / "results/kernel_attention_memory.md")
    report = Report("kernel_attention/memory", "Kernel attention: memory, time, exactness", given)
    company = Company()
    settle_allocator()
    batch, few = (4, 1) if given.quick else (BATCH, FEW)
    pairs = 4 * batch * TOKENS**2 * WIDTH**2 / HEADS
    report.text(
        f"One layer, width {WIDTH}, {HEADS} heads, {TOKENS} tokens, float32, forward and backward, without an optimiser. "
        f"With {batch} images the tensor of all pairs of coordinates takes {pairs / 1e9:.3g} GB, and backward needs "
        "several; it is made below only for fewer images."
    )
    report.text("## Exactness")
    exactness(report, given)
    report.text("## At the published shape")
    names = [name for name in LAYERS if name != NAIVE]
    seconds, bytes_ = times(report, given, batch, names), memory(report, given, batch, names)
    time, more = (found[PUBLISHED] / found[STANDARD] for found in (seconds, bytes_))
    report.text(
        f"Published Gaussian to standard: time {time:.2f}, at most {TIME}: {verdict(time <= TIME)}; memory {more:.2f}, at most "
        f"{MEMORY}: {verdict(more <= MEMORY)}."
    )
    report.text("## In a transformer")
    training_steps(report, given, batch)
    report.text("## Against all pairs")
    seconds, _ = times(report, given, few, [PUBLISHED, NAIVE]), memory(report, given, few, [PUBLISHED, NAIVE])
    faster = seconds[NAIVE] / seconds[PUBLISHED]
    report.text(f"{faster:.0f} times faster, at least {FASTER}: {verdict(faster >= FASTER)}.")
    report.text(f"Meanwhile {company}.")
    report.close()


def main(argv: Sequence[str] | None = None) -> None:
    parser = options(__doc__, seeds=3)
    parser.add_argument(
        "--threads", type=int, default=torch.get_num_threads(), help="default: as many as PyTorch takes"
    )
    parser.add_argument("--repeats", type=int, default=30, help="rounds (default 30)")
    parser.add_argument("--peak", choices=LAYERS, help=argparse.SUPPRESS)
    parser.add_argument("--batch", type=int, default=BATCH, help=argparse.SUPPRESS)
    given = parser.parse_args(argv)
    if given.quick:  # one thread, for other tests may run beside this one
        given.repeats, given.threads, given.seeds = 2, 1, 1
    with threads(given.threads):
        if given.peak:
            peak(given.peak, given.batch)
        else:
            run(given)


if __name__ == "__main__":
    main()
