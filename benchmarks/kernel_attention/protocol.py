"""The published comparison of attentions on CIFAR-10, and the same without its mistakes: pretrained, then fine-tuned.

Runs are those of `superpose pretrain cifar10_pretrain_paper` and `superpose finetune cifar10_finetune_paper`, or of another
pair of recipes, with each attention in encoder and decoder. A tenth of the training images is held out, and chooses the
weights that are judged by the test images. The published accuracies, 81.62 % for standard attention and 82.43 % for
Semi-Fusion, are of one seed each and were chosen by the test images (arXiv 2503.23038).

    python benchmarks/kernel_attention/protocol.py --data FOLDER                     # all of it: 1600 and 800 epochs, for a GPU
    python benchmarks/kernel_attention/protocol.py --data FOLDER --pretraining 100 --finetuning 50 --batch 1000 --lr 3e-3 \
        --precision bf16-mixed                                                       # what fits into hours of a GPU
    python benchmarks/kernel_attention/protocol.py --data FOLDER --epochs 2 --seeds 1        # how long an epoch takes

FOLDER holds CIFAR-10 (by default `cifar10` in the folder SUPERPOSE_DATA). Runs are kept in the folder --runs; what was
interrupted goes on where it was.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from PIL import Image
from rich.console import Console
from scipy.stats import t as student

sys.path.insert(0, str(Path(__file__).parents[1]))
from report import Report, options

from superpose.storage import write_whole
from superpose.train import recipes
from superpose.train.checkpoints import LAST
from superpose.train.config import read
from superpose.train.evaluation import evaluate, find_weights
from superpose.train.run import train

ATTENTION: dict[str, Any] = {
    "standard": "softmax",
    "Semi-Fusion": {"kind": "semi_fusion", "qkv_bias": False},
    "Param-Fusion": "param_fusion",
    "Gaussian, published": {"kind": "gaussian_mhsa", "paper_compat": True},
    "Gaussian, repaired": "gaussian_mhsa",
}
PUBLISHED = {"standard": 81.62, "Semi-Fusion": 82.43}
STAGES = ("pretrain", "finetune")
PROTOCOLS = ("paper", "repaired", "strong", "small")
TINY = {"embed_dim": 16, "num_heads": 2}


class Clock(Callback):
    """Seconds of every epoch, with what is measured after it."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._began = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.seconds.append(time.perf_counter() - self._began)


def recipe(name: str, protocol: str) -> dict[str, Any]:
    """What a stage of a protocol does by itself."""
    return yaml.safe_load(recipes.find(f"cifar10_{name}_{protocol}").read_text())


def stage(name: str, protocol: str, given: argparse.Namespace, attention: Any, seed: int, folder: Path) -> Path:
    """The file with the configuration of one of the `STAGES`."""
    config = recipe(name, protocol)
    task, plan = config["task"]["init_args"], config["optimization"]
    arguments = task.setdefault("model_arguments", {})
    arguments["attention"] = attention
    if given.patch is not None:
        arguments["patch_size"] = given.patch
    if name == "pretrain":
        task.setdefault("decoder", {})["attention"] = attention
    if given.quick:
        arguments.update(TINY)
        if name == "pretrain":
            task["decoder"].update(dim=16, depth=1, heads=2)
    data = config["data"]["init_args"]
    data["root"] = given.data
    epochs = 1 if given.quick else given.pretraining if name == "pretrain" else given.finetuning
    if epochs is not None:
        plan["warmup_epochs"] = plan.get("warmup_epochs", 0) / plan["epochs"] * epochs
        plan["epochs"] = epochs
    if given.batch is not None:
        data["batch_size"] = given.batch
    if given.lr is not None:
        plan["lr"] = given.lr
    machine = config.setdefault("machine", {})
    machine.update({"devices": 1, "accelerator": given.accelerator, "precision": given.precision})
    config["seed"], config["records"] = seed, {"folder": str(folder), "name": name}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def learn(path: Path, console: Console, *more: str) -> tuple[Path, list[float]]:
    """Do a stage, or what is left of it: the folder of the run, and the seconds of its epochs."""
    config = read(["--config", str(path), *more])
    clock = Clock()
    config.callbacks.append(clock)
    begun = sorted((path.parent / path.stem).glob(f"*/{LAST}"))
    run = train(config, console, begun[-1].parent if begun else None)
    return run, clock.seconds


def one(protocol: str, attention: str, seed: int, given: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Pretrain, fine-tune, and judge by the test images; what is finished is read."""
    budget = [given.patch, given.pretraining, given.finetuning, given.batch, given.lr, given.precision]
    name = "-".join("recipe" if part is None else str(part) for part in (protocol, attention, *budget, seed))
    folder = given.runs / name.replace(", ", "-")
    done = folder / "row.json"
    if done.is_file():
        return json.loads(done.read_text())
    console.print(f"{protocol}, {attention}, seed {seed}")
    encoder, before = learn(stage("pretrain", protocol, given, ATTENTION[attention], seed, folder), console)
    path = stage("finetune", protocol, given, ATTENTION[attention], seed, folder)
    run, after = learn(path, console, "--task.encoder", str(encoder))
    config = read(["--config", str(path), "--task.encoder", "scratch"])
    scores, images = evaluate(config, find_weights(run))
    row = {
        "accuracy": 100 * next(score.value for key, score in scores.items() if "top1" in key),
        "images": images,
        "parameters": sum(parameter.numel() for parameter in config.task.model.parameters()),
        "seconds": [statistics.median(part) if part else None for part in (before, after)],
    }
    console.print(f"... {protocol}, {attention}, seed {seed}: {row}", soft_wrap=True)
    write_whole(done, json.dumps(row).encode())
    return row


def line(protocol: str, attention: str, rows: dict[int, dict[str, Any]], base: dict[int, dict[str, Any]]) -> list[str]:
    """A row of the table: accuracy, against standard attention and what is published, and how long it takes."""
    scores = [row["accuracy"] for row in rows.values()]
    pairs = [row["accuracy"] - base[seed]["accuracy"] for seed, row in rows.items() if seed in base]
    known = PUBLISHED.get(attention)
    timed = [row for row in rows.values() if None not in row["seconds"]]
    each = [statistics.median(row["seconds"][n] for row in timed) for n in (0, 1)] if timed else []
    whole = [recipe(stage, protocol)["optimization"]["epochs"] for stage in STAGES]
    return [
        attention,
        interval(scores),
        "-" if rows is base or not pairs else interval(pairs),
        "-" if known is None else f"{known:.2f}",
        str(len(scores)),
        f"{next(iter(rows.values()))['parameters']:,}",
        " + ".join(f"{seconds:.2f}" for seconds in each) or "-",
        f"{sum(a * b for a, b in zip(each, whole, strict=True)) / 3600:.2f}" if each else "-",
    ]


def interval(values: Sequence[float]) -> str:
    """Mean and half the width of its 95 % interval, by Student's t."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return f"{mean:.2f}"
    half = float(student.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / len(values) ** 0.5
    return f"{mean:.2f} ± {half:.2f}"


def pictures(folder: Path) -> str:
    """A few images of noise in folders by class, for --quick."""
    draw = np.random.default_rng(0)
    for split in ("train", "test"):
        for n in range(40):
            path = folder / split / str(n % 10) / f"{n}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(draw.integers(0, 256, (32, 32, 3), np.uint8)).save(path)
    return str(folder)


def main(args: Sequence[str] | None = None) -> None:
    parser = options(__doc__, seeds=5)
    parser.add_argument("--data", default="cifar10", help="folder of CIFAR-10 (default cifar10, in SUPERPOSE_DATA)")
    parser.add_argument("--protocol", nargs="+", choices=PROTOCOLS, default=["paper", "repaired"])
    parser.add_argument("--attention", nargs="+", choices=ATTENTION, default=list(ATTENTION))
    parser.add_argument("--pretraining", type=int, help="epochs without labels (default: the recipe's)")
    parser.add_argument("--finetuning", type=int, help="epochs with labels (default: the recipe's)")
    parser.add_argument("--epochs", type=int, help="both")
    parser.add_argument("--patch", type=int, help="pixels of a patch's side (default: the model's, 4)")
    parser.add_argument("--batch", type=int, help="images of a step (default: the recipe's)")
    parser.add_argument("--lr", type=float, help="learning rate of both stages (default: the recipe's)")
    parser.add_argument("--precision", default="32-true", help="of the machine, such as bf16-mixed (default 32-true)")
    parser.add_argument("--accelerator", default="auto")
    parser.add_argument("--runs", type=Path, default=Path("runs/protocol"), help="folder of the runs")
    given = parser.parse_args(args)
    if given.epochs is not None:
        given.pretraining = given.finetuning = given.epochs
    with tempfile.TemporaryDirectory() as spare:
        if given.quick:
            given.runs, given.data = Path(spare) / "runs", pictures(Path(spare) / "pictures")
            given.attention, given.seeds, given.batch = given.attention[:2], 2, 16
        measure(given)


def measure(given: argparse.Namespace) -> None:
    """All runs, seed by seed, and the report."""
    report = Report(
        "kernel_attention/protocol",
        "The published comparison of attentions, and the same repaired",
        given,
        "means over the seeds, with half their 95 % interval after the ±",
    )
    console = Console()
    found: dict[str, dict[str, dict[int, dict[str, Any]]]] = {
        protocol: {attention: {} for attention in given.attention} for protocol in given.protocol
    }
    for seed in range(given.seeds):
        for protocol, rows in found.items():
            for attention, by_seed in rows.items():
                by_seed[seed] = one(protocol, attention, seed, given, console)
    images = next(row["images"] for by in found.values() for rows in by.values() for row in rows.values())
    report.text(
        f"Recipes cifar10_pretrain_* and cifar10_finetune_*, {'as they are' if budget(given) == '' else budget(given)}. Accuracy "
        f"on {images:,} test images in percent: mean over the seeds and, after the ±, its 95 % interval by Student's t; `paired` "
        "is the difference to the first row with the same seed. The weights are those of the epoch that held-out images chose. "
        "Seconds of an epoch without and with labels, validation included, are medians; the hours are what all epochs of the "
        "recipes take at that speed."
    )
    for protocol, rows in found.items():
        report.text(f"## {protocol}")
        base = next(iter(rows.values()))
        report.table(
            [
                "attention",
                "test accuracy, %",
                "paired",
                "published",
                "seeds",
                "parameters",
                "s of an epoch",
                "hours of the recipe",
            ],
            [line(protocol, attention, by_seed, base) for attention, by_seed in rows.items()],
        )
    if path := report.figure("kernel_attention_protocol.png"):
        draw(path, found)
    report.close()


def budget(given: argparse.Namespace) -> str:
    """What differs from the recipes, in words."""
    changed = {
        "patch": given.patch,
        "epochs without labels": given.pretraining, "with labels": given.finetuning, "images a step": given.batch,
        "lr": given.lr, "precision": None if given.precision == "32-true" else given.precision,
    }  # fmt: skip
    said = ", ".join(f"{name} {value}" for name, value in changed.items() if value is not None)
    return said and f"but for: {said}"


def draw(path: Path, found: dict[str, dict[str, dict[int, dict[str, Any]]]]) -> None:
    """Every run as a point, a panel for each protocol, and what is published as a line."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.5 * len(found), 0.4 * len(next(iter(found.values()))) + 1.2), layout="constrained")
    panels = figure.subplots(1, len(found), sharey=True, squeeze=False)[0]
    for axes, (protocol, rows) in zip(panels, found.items(), strict=True):
        for place, (attention, by_seed) in enumerate(rows.items()):
            scores = [row["accuracy"] for row in by_seed.values()]
            axes.plot(scores, [place] * len(scores), "o", color="0.35", markersize=4, alpha=0.7)
            axes.plot([statistics.fmean(scores)] * 2, [place - 0.3, place + 0.3], color="C0", linewidth=2)
            if attention in PUBLISHED:
                axes.plot([PUBLISHED[attention]] * 2, [place - 0.4, place + 0.4], color="C3", linestyle=":")
        axes.set_yticks(range(len(rows)), list(rows))
        axes.set_xlabel("test accuracy, % (dotted: published)")
        axes.set_title(protocol)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].invert_yaxis()
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
