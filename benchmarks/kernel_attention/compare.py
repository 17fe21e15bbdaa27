"""What kernel attention is worth on CIFAR-10, from scratch: one thing changes at a time, all else is the same.

    E1  is the published gain of Semi-Fusion real? dropout and parameters matched
    E2  is Gaussian attention more than taking the mean of all tokens?
    E3  weights of the pairs of coordinates: all ones, one for each coordinate, low rank, any
    E4  kernels, whole vectors, and other normalisations
    E5  linear and Gaussian attention in different blocks, in different heads, and mixed
    E7  smaller patches (with pretraining: the recipes cifar10_*_repaired, and pretrain_small.py)

The recipe is that of kat_ablation.py. The learning rate is one for all, and was chosen for the standard transformer on
images held out of the training set (`--choose`). Test accuracy is that after the last epoch: nothing is selected by it.

    python benchmarks/kernel_attention/compare.py --data FOLDER --experiment E2   # small: two cores, under half an hour
    python benchmarks/kernel_attention/compare.py --data FOLDER --size full       # for a GPU; prints what a run will take

FOLDER holds CIFAR-10 (by default `cifar10` in the folder SUPERPOSE_DATA). Runs are kept in a file of lines, so that an
interrupted benchmark continues where it was.
"""

import argparse
import os
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import log
from pathlib import Path
from typing import Any

import torch
from timm.layers import Mlp
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1]))
from kat_ablation import RATES, Data, Size, predict, rows, train
from report import MEANS, Report, mean, options

from superpose.bases import BSpline
from superpose.data.chance import seeded
from superpose.layers import KernelAttention
from superpose.layers.kernels import (
    BasisKernel,
    CubicSplineKernel,
    Gated,
    GaussianKernel,
    LaplaceKernel,
    LinearKernel,
    PerHead,
    SpectralKernel,
)
from superpose.vision.kernel_vit import attention_layer


@dataclass(frozen=True)
class Shape(Size):
    """As the paper has it, an MLP is twice as wide as the tokens."""

    mlp_ratio: float = 2


SIZES = {
    "quick": Shape(32, 1, 8, 16, 2, 2, 32, 1e-3, test=32),
    "small": Shape(10_000, 10, 8, 64, 4, 4, 100, 2e-3),
    "full": Shape(50_000, 100, 4, 256, 6, 8, 500, 1e-3),
}
ENTROPY = 500
"""Images whose attention is looked at."""


@dataclass(frozen=True)
class Variant:
    """A transformer: its attention in every block, or in each, and what else is not the standard."""

    attention: Any
    drop: float = 0.0
    twice: bool = False
    residual: bool = True
    dim: int | None = None
    patch: int | None = None


class DroppedTwice(Mlp):
    """What follows the published attentions: the block drops out once more what the MLP has dropped out."""

    def forward(self, x: Tensor) -> Tensor:
        return self.drop2(super().forward(x))


class NoSecondResidual(Block):
    """The published Gaussian block: nothing passes by the MLP."""

    def forward(self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
        x = x + self.attn(self.norm1(x), attn_mask=attn_mask, is_causal=is_causal)
        return self.mlp(self.norm2(x))


def network(variant: Variant, size: Shape) -> VisionTransformer:
    """The transformer; its random numbers come from the global state."""
    kinds = variant.attention if isinstance(variant.attention, list) else [variant.attention] * size.depth
    base = Block if variant.residual else NoSecondResidual

    def block(**arguments: Any) -> nn.Module:
        return base(**{**arguments, "attn_layer": attention_layer(kinds[arguments["depth"]])})

    return VisionTransformer(
        img_size=size.image, patch_size=variant.patch or size.patch, num_classes=10, embed_dim=variant.dim or size.dim,
        depth=size.depth, num_heads=size.heads, mlp_ratio=size.mlp_ratio, pos_drop_rate=variant.drop,
        proj_drop_rate=variant.drop, mlp_layer=DroppedTwice if variant.twice else Mlp, block_fn=block,
        weight_init="reset",  # every layer draws its own weights: timm's default would undo how these attentions begin
    )  # fmt: skip


def experiments(size: Shape) -> dict[str, dict[str, Variant]]:
    """The variants of every experiment by name; a name is the same network everywhere, and the first one the base."""
    heads, width = size.heads, size.dim // size.heads
    radius = (width - 1) ** 0.5
    normal = partial(nn.LayerNorm, elementwise_affine=False)
    gaussian = GaussianKernel(1.0, eps=1e-3, radius=radius)
    learned = GaussianKernel(1.0, learn=(0.25, 2.0), eps=1e-3, radius=6.0)
    even = partial(KernelAttention, kernel=LinearKernel(), weights="identity", coordinates=nn.LayerNorm, scale=0.0)

    def kernel(kernel: Any, weights: Any = 2, **options: Any) -> Variant:
        return Variant(partial(KernelAttention, kernel=kernel, weights=weights, **options))

    def published(sigma: float = 1.0, **options: Any) -> Variant:
        return Variant({"kind": "gaussian_mhsa", "paper_compat": True, "sigma": sigma}, **options)

    vit = {"ViT": Variant("standard")}
    semi = {"kind": "semi_fusion", "qkv_bias": False}
    linear, rank2 = kernel(LinearKernel(), coordinates=normal), kernel(gaussian)
    early, late = linear.attention, rank2.attention
    half, rest = size.depth // 2, size.depth - size.depth // 2
    drop = {"drop": 0.1}
    return {
        "E1": {
            "ViT, dropout": Variant("standard", **drop),
            "ViT, double dropout": Variant("standard", twice=True, **drop),
            "Semi-Fusion, double dropout (published)": Variant(semi, twice=True, **drop),
            "Semi-Fusion, dropout": Variant(semi, **drop),
            "Param-Fusion, dropout": Variant("param_fusion", **drop),
            "Param-Fusion, double dropout (published)": Variant("param_fusion", twice=True, **drop),
            "Param-Fusion, scores not divided, dropout": Variant({"kind": "param_fusion", "scale": 1.0}, **drop),
            "ViT, narrower, dropout": Variant("standard", dim=narrower(size, semi), **drop),
        },
        "E2": {
            "even attention": Variant(even),
            "even attention, no second residual": Variant(even, residual=False),
            "Gaussian, published": published(residual=False),
            "Gaussian, sigma 1": published(),
            "Gaussian, learned sigma": kernel(learned, "ones", coordinates=nn.LayerNorm),
            "Gaussian, repaired": Variant("gaussian_mhsa"),
            **vit,
            "Gaussian, sigma 0.25": published(0.25),
            "Gaussian, sigma 0.5": published(0.5),
            "Gaussian, sigma 2": published(2.0),
        },
        "E3": {
            "all ones": kernel(gaussian, "ones"),
            "diagonal": kernel(gaussian, "diag"),
            "rank 1": kernel(gaussian, 1),
            "rank 2": rank2,
            "rank 4": kernel(gaussian, 4),
            "full": kernel(gaussian, "full"),
            "rank 1, untied": kernel(gaussian, 1, tie_qk=False),
            "rank 2, untied": kernel(gaussian, 2, tie_qk=False),
            **vit,
        },
        "E4": {
            "linear, rank 2": linear,
            "rank 2": rank2,
            "Laplace, rank 2": kernel(LaplaceKernel(1.0, radius=radius)),
            "cubic spline, rank 2": kernel(CubicSplineKernel()),
            "B-spline, rank 2": kernel(BasisKernel(BSpline(intervals=8, degree=3, extrapolation="clamp"))),
            "free spectrum, rank 2": kernel(SpectralKernel(radius=radius)),
            "whole vectors": Variant("full_vector_gaussian"),
            "gka": Variant("gka"),
            "rank 2, sigmoid": kernel(gaussian, normalize="sigmoid"),
            "all ones, divided by sums": kernel(gaussian, "ones", normalize="kernel"),
            "identity, divided by sums": kernel(gaussian, "identity", normalize="kernel"),
            **vit,
        },
        "E5": {
            "linear, rank 2": linear,
            "rank 2": rank2,
            "linear, then Gaussian": Variant([early] * half + [late] * rest),
            "Gaussian, then linear": Variant([late] * half + [early] * rest),
            "in turns": Variant([late if n % 2 else early for n in range(size.depth)]),
            "half the heads each": kernel(PerHead((LinearKernel(), heads // 2), (gaussian, heads - heads // 2))),
            "learned gate": kernel(Gated(gaussian, LinearKernel())),
        },
        "E7": {
            f"{name}, patch {patch}": replace(variant, patch=patch)
            for patch in (size.patch, size.patch // 2)
            for name, variant in {**vit, "Param-Fusion": Variant("param_fusion"), "Gaussian, rank 2": rank2}.items()
        },
    }  # fmt: skip


def narrower(size: Shape, other: Any) -> int:
    """The width at which the standard transformer has as many parameters as with this attention, as nearly as heads allow."""
    with torch.device("meta"), seeded(0):
        aim = count(network(Variant(other), size))
        widths = range(size.heads, size.dim + 1, size.heads)
        return min(widths, key=lambda dim: abs(count(network(Variant("standard", dim=dim), size)) - aim))


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def learn(variant: Variant, size: Shape, data: Data, seed: int) -> dict[str, Any]:
    """Train once, and look at the attention that was learned."""
    with seeded(seed, 0):
        model = network(variant, size).to(data.images.device)
    row = train(model, size, data, seed)
    if row["accuracy"] is None:
        return row
    entropies = [entropy(*seen) for seen in watched(model, data.images[:ENTROPY])]
    layers = [layer for layer in model.modules() if isinstance(layer, KernelAttention)]
    evened = None
    if all(layer.normalize == "softmax" for layer in layers):
        for layer in layers:
            layer.scale = 0.0
        evened = float((predict(model, data.images).argmax(1) == data.labels).float().mean()) * 100
    return row | {"entropy": entropies, "evened": evened}


def watched(model: nn.Module, images: Tensor) -> list[tuple[KernelAttention, Tensor]]:
    """Every layer of attention with the tokens it gets."""
    seen: list[tuple[KernelAttention, Tensor]] = []
    hooks = [
        layer.register_forward_pre_hook(lambda layer, given: seen.append((layer, given[0])))
        for layer in model.modules()
        if isinstance(layer, KernelAttention)
    ]
    predict(model, images)
    for hook in hooks:
        hook.remove()
    return seen


@torch.no_grad()
def entropy(layer: KernelAttention, x: Tensor) -> float:
    """Mean entropy of the attention weights, made to sum to one, over that of even weights."""
    q, k, _ = layer.heads(x)
    left, right = layer.features(q, k)
    scores = torch.einsum("bshf,brhf->bhsr", left, right)
    if layer.normalize == "kernel":
        weights = scores / scores.sum(-1, keepdim=True)
    elif layer.normalize == "sigmoid":
        weights = (scores * layer.scale - log(x.shape[1])).sigmoid()
        weights = weights / weights.sum(-1, keepdim=True)
    else:
        weights = (scores * layer.scale).softmax(-1)
    return float(torch.special.entr(weights).sum(-1).mean()) / log(x.shape[1])


Runs = dict[str, dict[int, dict[str, Any]]]
"""The rows of every variant by seed."""


def table(report: Report, runs: Runs) -> None:
    """Accuracy of every variant, its paired difference to the first, and how even its attention is."""
    base = next(iter(runs))
    lines = []
    for name, by_seed in runs.items():
        done = {seed: row for seed, row in by_seed.items() if row["accuracy"] is not None}
        pairs = [
            row["accuracy"] - runs[base][seed]["accuracy"]
            for seed, row in done.items()
            if runs[base].get(seed, {}).get("accuracy") is not None
        ]
        evened = [row["evened"] for row in done.values() if row["evened"] is not None]
        lines.append([
            name, mean([row["accuracy"] for row in done.values()]), "-" if name == base else mean(pairs), mean(evened),
            blocks(done), len(by_seed), len(by_seed) - len(done), next((f"{row['parameters']:,}" for row in done.values()), "-"),
            f"{statistics.median(row.get('seconds', 0) for row in by_seed.values()):.0f}",
        ])  # fmt: skip
    report.table(
        ["attention", "test accuracy, %", f"against {base}, paired", "evened afterwards", "entropy, first to last block",
         "seeds", "diverged", "parameters", "s"],
        lines,
    )  # fmt: skip
    minutes = sum(row.get("seconds", 0) for by_seed in runs.values() for row in by_seed.values()) / 60
    report.text(f"One after the other these runs took {minutes:.0f} minutes.")


def blocks(done: dict[int, dict[str, Any]]) -> str:
    """Entropies of the blocks, each the mean over the seeds."""
    columns = zip(*(row["entropy"] for row in done.values()), strict=True)
    return ", ".join(f"{statistics.fmean(column):.3f}" for column in columns) or "-"


def draw(path: Path, runs: Runs) -> None:
    """Every run as a point: its accuracy, with the mean as a line, and the entropies of its blocks."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 0.36 * len(runs) + 1.2), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    for place, by_seed in enumerate(runs.values()):
        done = [row for row in by_seed.values() if row["accuracy"] is not None]
        scores = [row["accuracy"] for row in done]
        colour = "C0" if place == 0 else "0.35"
        left.plot(scores, [place] * len(scores), "o", color=colour, markersize=4, alpha=0.7)
        if scores:
            left.plot([statistics.fmean(scores)] * 2, [place - 0.3, place + 0.3], color=colour, linewidth=2)
            if place == 0:
                left.axvline(statistics.fmean(scores), color=colour, linewidth=0.6, linestyle=":", zorder=0)
        for row in done:
            shades = [str(0.75 - 0.65 * n / max(1, len(row["entropy"]) - 1)) for n in range(len(row["entropy"]))]
            right.scatter(row["entropy"], [place] * len(shades), c=shades, s=12)
    left.set_yticks(range(len(runs)), list(runs))
    left.invert_yaxis()
    left.set_xlabel("test accuracy, % (points: seeds; bars: means)")
    right.set_xlabel("entropy / that of even attention\n(points: blocks, last darkest)")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)


def choose(report: Report, given: argparse.Namespace, size: Shape) -> None:
    """Accuracies on held-out images; the standard transformer's choose, and the others' tell what that costs them."""
    shown = {"ViT": "E2", f"Param-Fusion, patch {size.patch}": "E7", "rank 2": "E3", "whole vectors": "E4"}
    known = experiments(size)
    variants = {name: known[experiment][name] for name, experiment in shown.items()}
    lines = []
    for rate in RATES:
        cells = []
        for name, variant in variants.items():
            jobs = [(name, variant, seed) for seed in range(given.seeds)]
            found = rows(given, replace(size, lr=rate), jobs, None if given.finished else learn)
            cells.append(mean([row["accuracy"] for row in found]))
        lines.append([f"{rate:g}", *cells])
    report.table(["lr", *variants], lines)
    report.text("Accuracy on held-out images in percent. The first column chooses.")


def compare(report: Report, given: argparse.Namespace, size: Shape) -> None:
    report.text(
        "`against`: the mean difference to the first row with the same seed. `evened afterwards`: test accuracy when the "
        "attention of the trained network is replaced by even weights. `entropy`: of the attention weights over that of even "
        f"weights, mean over {ENTROPY} test images, heads and queries; 1 is a mean over all tokens. Means over "
        f"seeds and, after the ±, standard errors of the means. The {size.test:,} test images leave an error of about 0.5 "
        "points in every accuracy, which the paired differences share in part. Seconds are those of a machine that may have done "
        "other things as well."
    )
    known = experiments(size)
    for experiment in given.experiment:
        variants = known[experiment]
        chosen = [name for name in variants if not given.only or any(word in name for word in given.only)]
        jobs = [(name, variants[name], seed) for seed in range(given.seeds) for name in chosen]
        found = rows(given, size, jobs, None if given.finished else learn)
        runs: Runs = {row["name"]: {} for row in found}
        for row in found:
            runs[row["name"]][row["seed"]] = row
        if not runs:
            continue
        report.text(f"## {experiment}")
        table(report, runs)
        if path := report.figure(f"kernel_attention_{experiment}.png"):
            draw(path, runs)


def main(args: Sequence[str] | None = None) -> None:
    parser = options(__doc__, seeds=3)
    names = list(experiments(SIZES["small"]))
    parser.add_argument("--experiment", nargs="+", choices=names, default=names)
    parser.add_argument("--data", default="cifar10", help="folder of CIFAR-10 (default cifar10, in SUPERPOSE_DATA)")
    parser.add_argument("--size", choices=["small", "full"], default="small")
    parser.add_argument("--only", nargs="+", metavar="WORD", help="variants whose names hold one of these words")
    parser.add_argument("--choose", action="store_true", help="compare learning rates on held-out training images")
    parser.add_argument("--finished", action="store_true", help="report the runs in the file of rows, and make none")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--rows-file", type=Path, default=Path("kernel_attention.jsonl"), help="file of finished runs")
    given = parser.parse_args(args)
    size = SIZES["quick" if given.quick else given.size]
    if given.quick:
        given.data, given.rows_file = "noise", Path(os.devnull)
    elif given.out is None and given.choose:
        given.out = Path(__file__).parents[1] / "results/kernel_attention_choose.md"
    report = Report(
        "kernel_attention/compare",
        "What kernel attention is worth on CIFAR-10, from scratch",
        given,
        MEANS,
    )
    rate = "as below" if given.choose else f"{size.lr:g} for all"
    report.text(
        f"{size.images:,} images, {size.epochs} epochs, batches of {size.batch}; patch {size.patch}, dim {size.dim}, depth "
        f"{size.depth}, {size.heads} heads, MLPs {size.mlp_ratio:g} times as wide; AdamW, lr {rate}, one tenth "
        "of the epochs warm-up, cosine to 0, weight decay 0.05, label smoothing 0.1, gradient clipped at 1, flips and crops; "
        f"every layer draws its own weights; {given.threads} threads for each run, on {given.device}."
    )
    (choose if given.choose else compare)(report, given, size)
    report.close(timed=not given.finished)


if __name__ == "__main__":
    main()
