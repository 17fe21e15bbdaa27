"""What each part of the Kolmogorov-Arnold Transformer is worth: one change at a time, everything else the same.

Small transformers of timm learn CIFAR-10 from scratch; only what stands in place of the MLP differs. The GELU row is the
plain vision transformer, the twin of `KAT` in size, recipe, data order and budget. The learning rate is one for all, and
was chosen for the plain transformer on images held out of the training set (`--choose`). Test accuracy is that after the
last epoch: nothing is selected by it.

    python benchmarks/kat_ablation.py --data FOLDER             # small: two cores, about 20 minutes
    python benchmarks/kat_ablation.py --data FOLDER --size full # for a GPU

FOLDER holds CIFAR-10 (by default `cifar10` in the folder SUPERPOSE_DATA). Runs are kept in a file of lines, so that an
interrupted benchmark continues where it was.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from report import MEANS, Report, mean, options
from torch import Tensor, nn
from torch.nn import functional

from superpose.data.chance import seeded
from superpose.data.images import open_images
from superpose.data.views import Augmentation, InMemory, decode_all
from superpose.layers import GroupRational, RationalMlp
from superpose.layers.rational_init import kat_release, variance_preserving
from superpose.train.optimization import Optimization, lr_factor, parameter_groups

MEAN, STD = (0.491, 0.482, 0.447), (0.247, 0.244, 0.262)
INITS = {"variance_preserving": variance_preserving, "kat_release": kat_release}
RATES = (5e-4, 1e-3, 2e-3, 4e-3)


@dataclass(frozen=True)
class Size:
    """A transformer, and how long it learns from how many images."""

    images: int
    epochs: int
    patch: int
    dim: int
    depth: int
    heads: int
    batch: int
    lr: float
    test: int = 10_000
    image: int = 32


SIZES = {
    "quick": Size(64, 1, 8, 16, 1, 2, 32, 1e-3, test=64),
    "small": Size(10_000, 10, 8, 64, 4, 4, 100, 1e-3),
    "full": Size(50_000, 100, 4, 192, 9, 3, 500, 1e-3),
}


@dataclass(frozen=True)
class Variant:
    """What stands in place of the MLP: a plain activation, or group-rational layers."""

    plain: str | None = None
    starts: tuple[str, str] = ("identity", "silu")
    groups: int = 8
    degrees: tuple[int, int] = (5, 4)
    form: str = "sum_abs"
    init: str = "variance_preserving"
    decay: bool = True
    frozen: bool = False


BASE = "KAT: 8 groups, (5, 4), sum of abs"
TWIN = "GELU: the ViT"
VARIANTS = {
    BASE: Variant(),
    TWIN: Variant(plain="gelu", init="kat_release"),
    "SiLU, a ViT": Variant(plain="silu", init="kat_release"),
    "GELU, variance preserved": Variant(plain="gelu"),
    "SiLU, variance preserved": Variant(plain="silu"),
    "1 group (shared rational)": Variant(groups=1),
    "4 groups": Variant(groups=4),
    "16 groups": Variant(groups=16),
    "degrees (3, 2)": Variant(degrees=(3, 2)),
    "degrees (7, 6)": Variant(degrees=(7, 6)),
    "abs of sum (the paper's Q)": Variant(form="abs_sum"),
    "init of the release": Variant(init="kat_release"),
    "coefficients do not decay": Variant(decay=False),
    "starts as identity, GELU": Variant(starts=("identity", "gelu")),
    "starts as SiLU, SiLU": Variant(starts=("silu", "silu")),
    "coefficients frozen": Variant(frozen=True),
}


def network(variant: Variant, size: Size) -> nn.Module:
    """The transformer; its random numbers come from the global state."""
    from timm.layers import Mlp
    from timm.models.vision_transformer import VisionTransformer

    mlp: Any = Mlp
    if variant.plain is None:
        mlp = partial(
            RationalMlp, activations=variant.starts, groups=variant.groups, degrees=variant.degrees, form=variant.form,
            init=INITS[variant.init],
        )  # fmt: skip
    shape = {"img_size": size.image, "patch_size": size.patch, "num_classes": 10}
    model = VisionTransformer(
        **shape, embed_dim=size.dim, depth=size.depth, num_heads=size.heads,
        act_layer=variant.plain or "gelu", mlp_layer=mlp,
    )  # fmt: skip
    for block in model.blocks:  # timm has drawn all linear maps anew, with a standard deviation of 0.02
        mlp, init = block.mlp, INITS[variant.init]
        if variant.plain is None:
            mlp.draw_(init)
            mlp.act1.requires_grad_(not variant.frozen)
            mlp.act2.requires_grad_(not variant.frozen)
        else:
            init(mlp.fc1, GroupRational(size.dim), None)
            init(mlp.fc2, GroupRational(mlp.fc2.in_features, activation=variant.plain), None)
    return model


@dataclass(frozen=True)
class Data:
    """Images to learn from, and images to judge by."""

    train: InMemory
    images: Tensor
    labels: Tensor


def cifar(root: str, size: Size, held_out: bool, device: str) -> Data:
    """Training images, and those of the test set, or others of the training set instead."""
    if root == "noise":
        made = torch.Generator().manual_seed(0)
        images = torch.randint(256, (size.images + size.test, 3, 32, 32), dtype=torch.uint8, generator=made)
        labels = torch.randint(10, (size.images + size.test,), generator=made)
        split = (images[: size.images], labels[: size.images]), (images[size.images :], labels[size.images :])
    else:
        source = open_images(root, "train")
        order = np.random.default_rng(0).permutation(len(source))
        judges = order[-5000:] if held_out else np.arange(size.test)
        split = (
            decode_all(source, order[: size.images]),
            decode_all(source if held_out else open_images(root, "test"), judges),
        )
    (images, labels), (others, truths) = split
    train = InMemory(images.to(device), labels.to(device), MEAN, STD, Augmentation())
    judged = InMemory(others.to(device), truths.to(device), MEAN, STD).__getitems__(
        [(0, n) for n in range(len(truths))]
    )
    return Data(train, judged.images, judged.labels)


def learn(variant: Variant, size: Size, data: Data, seed: int) -> dict[str, Any]:
    """Train once; gives accuracy in percent, losses, seconds, and what went wrong, if anything."""
    with seeded(seed, 0):
        model = network(variant, size).to(data.images.device)
    return train(model, size, data, seed, decay_coefficients=variant.decay)


def train(model: nn.Module, size: Size, data: Data, seed: int, **options: Any) -> dict[str, Any]:
    """The recipe of all transformers here, and how good the model is after it."""
    began = time.perf_counter()
    plan = Optimization(size.epochs, lr=size.lr, warmup_epochs=size.epochs / 10, **options)
    optimizer = torch.optim.AdamW(parameter_groups(model, plan), plan.lr, fused=True)
    steps = len(data.train) // size.batch
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: lr_factor(step, plan, steps * size.epochs))
    loss = torch.zeros(())
    for epoch in range(size.epochs):
        order = np.random.default_rng([seed, epoch]).permutation(len(data.train))
        for n in range(steps):
            keys = [(seed * 1000 + epoch, int(i)) for i in order[n * size.batch : (n + 1) * size.batch]]
            batch = data.train.__getitems__(keys)
            with seeded(seed, 1, epoch, n):  # what is dropped
                loss = functional.cross_entropy(model(batch.images), batch.labels, label_smoothing=0.1)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            scheduler.step()
        if not loss.isfinite():
            return {"accuracy": None, "error": f"the loss was {float(loss)} in epoch {epoch}"}
        if epoch == 0:
            took = time.perf_counter() - began
            print(
                f"... the first epoch took {took:.1f} s, so all take about {took * size.epochs / 60:.1f} min",
                flush=True,
            )
    found = predict(model, data.images)
    return {
        "accuracy": float((found.argmax(1) == data.labels).float().mean()) * 100,
        "loss": float(functional.cross_entropy(found, data.labels)),
        "train_loss": float(loss.detach()),
        "parameters": sum(p.numel() for p in model.parameters()),
        "seconds": time.perf_counter() - began,
    }


@torch.no_grad()
def predict(model: nn.Module, images: Tensor) -> Tensor:
    model.eval()
    return torch.cat([model(part) for part in images.split(1000)])


def rows(
    given: argparse.Namespace,
    size: Size,
    jobs: Iterable[tuple[str, Any, int]],
    learn: Callable[[Any, Any, Data, int], dict[str, Any]] | None = learn,
) -> list[dict[str, Any]]:
    """Run what the file of rows does not hold yet, unless nothing shall run, and give all that was asked for."""
    known = [json.loads(line) for line in given.rows_file.read_text().splitlines()] if given.rows_file.exists() else []
    asked, data = [], None
    for name, variant, seed in jobs:
        key = {"name": name, "seed": seed, "size": asdict(size), "held_out": given.choose}
        found = next((row for row in known if all(row[k] == v for k, v in key.items())), None)
        if found is None and learn is None:
            continue
        if found is None:
            torch.set_num_threads(given.threads)
            data = data or cifar(given.data, size, given.choose, given.device)
            found = key | learn(variant, size, data, seed)
            if given.rows_file != Path(os.devnull):
                with given.rows_file.open("a") as file:
                    file.write(json.dumps(found) + "\n")
            print(f"... {name}, seed {seed}: {found['accuracy']}", flush=True)
        asked.append(found)
    return asked


def table(report: Report, found: Sequence[dict[str, Any]], seeds: int) -> list[tuple[str, list[float]]]:
    """Accuracy of every variant, and its paired difference to the base."""
    by = {
        name: {row["seed"]: row for row in found if row["name"] == name}
        for name in dict.fromkeys(r["name"] for r in found)
    }
    lines, drawn = [], []
    for name, runs in by.items():
        scores = [row["accuracy"] for row in runs.values() if row["accuracy"] is not None]
        pairs = [
            row["accuracy"] - by[BASE][seed]["accuracy"]
            for seed, row in runs.items()
            if row["accuracy"] is not None and by.get(BASE, {}).get(seed, {}).get("accuracy") is not None
        ]
        drawn.append((name, scores))
        first = next(iter(runs.values()))
        lines.append([
            name, mean(scores), "-" if name == BASE else mean(pairs), len(runs) - len(scores),
            first.get("parameters", "-"), f"{statistics.median(r.get('seconds', 0) for r in runs.values()):.0f}",
        ])  # fmt: skip
    report.table(
        ["in place of the MLP", "test accuracy, %", "against the first row, paired", "diverged", "parameters", "s"],
        lines,
    )
    report.text(
        f"Mean over {seeds} seeds and, after the ±, the standard error of the mean. A test set of 10,000 images alone "
        "leaves an error of about 0.5 points in every accuracy, which the paired differences share in part. One change "
        "at a time: interactions are not looked at. Seconds are those of a machine that did other things as well."
    )
    return drawn


def draw(path: Path, drawn: Sequence[tuple[str, list[float]]]) -> None:
    """Every run as a point, every mean as a line."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 0.32 * len(drawn) + 1.2), layout="constrained")
    axes = figure.subplots()
    for row, (name, scores) in enumerate(drawn):
        colour = "C0" if name == BASE else "C1" if name == TWIN else "0.35"
        axes.plot(scores, [row] * len(scores), "o", color=colour, markersize=4, alpha=0.7)
        if scores:
            axes.plot([statistics.fmean(scores)] * 2, [row - 0.3, row + 0.3], color=colour, linewidth=2)
            if name == BASE:
                axes.axvline(statistics.fmean(scores), color=colour, linewidth=0.6, linestyle=":", zorder=0)
    axes.set_yticks(range(len(drawn)), [name for name, _ in drawn])
    axes.invert_yaxis()
    axes.set_xlabel("test accuracy, % (points: seeds; bars: means)")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)


def main(args: Sequence[str] | None = None) -> None:
    parser = options(__doc__, seeds=3)
    parser.add_argument("--data", default="cifar10", help="folder of CIFAR-10 (default cifar10, in SUPERPOSE_DATA)")
    parser.add_argument("--size", choices=["small", "full"], default="small")
    parser.add_argument("--only", nargs="+", metavar="WORD", help="variants whose names hold one of these words")
    parser.add_argument("--choose", action="store_true", help="compare learning rates on held-out training images")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--rows-file", type=Path, help="file of finished runs (default: beside the report)")
    given = parser.parse_args(args)
    size = SIZES["quick" if given.quick else given.size]
    given.data = "noise" if given.quick else given.data
    given.rows_file = Path(os.devnull) if given.quick else given.rows_file or Path("kat_ablation.jsonl")
    report = Report(
        "kat_ablation",
        "What the parts of the Kolmogorov-Arnold Transformer are worth on CIFAR-10",
        given,
        MEANS,
    )
    report.text(
        f"{size.images:,} images, {size.epochs} epochs, batches of {size.batch}; patch {size.patch}, dim {size.dim}, depth "
        f"{size.depth}, {size.heads} heads; AdamW, lr {size.lr:g}, one tenth of the epochs warm-up, cosine to 0, weight decay "
        "0.05, label smoothing 0.1, gradient clipped at 1, flips and crops."
    )
    if given.choose:
        seeds = range(given.seeds)
        rates = [asdict(size) | {"lr": rate} for rate in RATES]
        found = [row for rate in rates for row in rows(given, Size(**rate), [(TWIN, VARIANTS[TWIN], s) for s in seeds])]
        report.table(
            ["lr", "accuracy on held-out images, %"],
            [[r["lr"], mean([row["accuracy"] for row in found if row["size"]["lr"] == r["lr"]])] for r in rates],
        )
        report.close()
        return
    names = [name for name in VARIANTS if not given.only or any(word in name for word in given.only)]
    names = names[:3] if given.quick else names
    found = rows(given, size, [(name, VARIANTS[name], seed) for seed in range(given.seeds) for name in names])
    drawn = table(report, found, given.seeds)
    if path := report.figure("kat_ablation.png"):
        draw(path, drawn)
    report.close()


if __name__ == "__main__":
    main()
