"""Is it worth anything to learn from images before their labels? A masked autoencoder on few images, then fine-tuning.

A small transformer (4 blocks, width 64) learns from 10,000 images of CIFAR-10: first without labels, then with them. Its
test accuracy stands beside that of logistic regression on the raw pixels, and of the same network with the same epochs of
labels alone, of the same images. Accuracies are those after the last epoch: nothing is chosen by the test images. The
penalty of the logistic regressions is the best of three on a fifth of the training images held out.

    python benchmarks/kernel_attention/pretrain_small.py --data FOLDER --attention softmax param_fusion gaussian_mhsa

FOLDER holds CIFAR-10 (by default `cifar10` in the folder SUPERPOSE_DATA).
"""

import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from superpose.data.chance import seeded
from superpose.data.images import open_images
from superpose.data.views import Augmentation, Batch, InMemory, decode_all
from superpose.train.optimization import Optimization, lr_factor, parameter_groups
from superpose.train.pretraining import Decoder, FineTuning, Pretraining
from superpose.train.task import Task
from superpose.vision.kernel_vit import KINDS
from superpose.vision.probes import Labelled, extract, knn_probe, linear_probe
from superpose.vision.transfer import load_encoder_

sys.path.insert(0, str(Path(__file__).parents[1]))
from report import MEANS, Report, mean, options

MEAN, STD = (0.491, 0.482, 0.447), (0.247, 0.244, 0.262)
PENALTIES = (1e-5, 1e-4, 1e-3)
MODEL = "kernel_vit_nano_patch4_32"


@dataclass(frozen=True)
class Budget:
    """How much is learned from what."""

    images: int = 10_000
    test: int = 10_000
    patch: int = 4
    batch: int = 100
    pretraining: int = 40
    finetuning: int = 30
    lr: float = 1e-3


class Data(NamedTuple):
    """Images to learn from, augmented or as they are, and images to judge by."""

    augmented: InMemory
    train: Batch
    test: Batch


def main(args: Sequence[str] | None = None) -> None:
    parser = options(__doc__, seeds=1)
    parser.add_argument("--data", default="cifar10", help="folder of CIFAR-10 (default cifar10, in SUPERPOSE_DATA)")
    parser.add_argument("--attention", nargs="+", choices=KINDS, default=["param_fusion"])
    for name, kind in (("patch", int), ("images", int), ("pretraining", int), ("finetuning", int), ("lr", float)):
        parser.add_argument(f"--{name}", type=kind, default=getattr(Budget, name), help=f"({getattr(Budget, name)})")
    given = parser.parse_args(args)
    budget = Budget(given.images, 10_000, given.patch, 100, given.pretraining, given.finetuning, given.lr)
    if given.quick:
        budget = Budget(64, 32, 8, 32, 1, 1)
    report = Report(
        "kernel_attention/pretrain_small",
        "Masked autoencoders on few images of CIFAR-10",
        given,
        MEANS,
    )
    report.text(
        f"{budget.images:,} images; {MODEL} with patch {budget.patch}; {budget.pretraining} epochs without labels (3 of 4 "
        f"patches hidden, decoder of 2 blocks and width 64), {budget.finetuning} with; batches of {budget.batch}; AdamW, lr "
        f"{budget.lr:g}, one tenth of the epochs warm-up, cosine to 0, weight decay 0.05, gradient clipped at 1, flips and crops, "
        "label smoothing 0.1."
    )
    data = noise(budget) if given.quick else cifar(given.data, budget)
    pixels = Labelled(data.train.images.flatten(1), data.train.labels)
    pixel_test = Labelled(data.test.images.flatten(1), data.test.labels)
    base, penalty = probe(pixels, pixel_test)
    report.text(f"Logistic regression on raw pixels: {100 * base:.2f} % of the test images (C = {penalty:g}).")
    rows = [
        {"attention": attention, "seed": seed, **one(attention, seed, budget, data)}
        for seed in range(given.seeds)
        for attention in given.attention
    ]
    columns = ("scratch", "finetuned", "linear", "knn")
    report.table(
        ["attention", "parameters", "labels alone", "pretrained, then labels", "above raw pixels", "pretrained: linear",
         "pretrained: 20 neighbours", "s without labels", "s with"],
        [line(attention, [row for row in rows if row["attention"] == attention], columns, base)
         for attention in given.attention],
    )  # fmt: skip
    report.text(
        f"Test accuracy in percent, over {budget.test:,} images (standard error of one about 0.5); mean and, after the ±, "
        "standard error over the seeds. The last two accuracies are of a frozen encoder: its class token, by logistic regression "
        "and by a weighted vote. Seconds are those of a machine that may have done other things as well."
    )
    report.close()


def one(attention: str, seed: int, budget: Budget, data: Data) -> dict[str, Any]:
    """Pretrain, probe, fine-tune, and train from scratch."""
    shape = {"img_size": data.test.images.shape[-1], "patch_size": budget.patch, "attention": attention}
    with seeded(seed, 0):
        pretraining = Pretraining(MODEL, model_arguments=shape, decoder=Decoder(64, 2, 4))
        scratch = FineTuning(MODEL, 10, encoder="scratch", model_arguments=shape, smoothing=0.1)
        finetuning = FineTuning(MODEL, 10, encoder="scratch", model_arguments=shape, smoothing=0.1)
    before = learn(pretraining, budget.pretraining, budget, data, seed)
    encoder = pretraining.model.encoder
    frozen = [Labelled(extract(encoder, part.images), part.labels) for part in (data.train, data.test)]
    load_encoder_(finetuning.model, pretraining.model.state_dict())
    after = learn(finetuning, budget.finetuning, budget, data, seed)
    print(f"... {attention}, seed {seed}, pretrained: {accuracy(finetuning.model, data.test)}", flush=True)
    learn(scratch, budget.finetuning, budget, data, seed)
    row = {
        "parameters": sum(p.numel() for p in scratch.model.parameters()),
        "scratch": accuracy(scratch.model, data.test),
        "finetuned": accuracy(finetuning.model, data.test),
        "linear": probe(*frozen)[0],
        "knn": knn_probe(*frozen, k=min(20, budget.images)),
        "before": before,
        "after": after,
    }
    print(f"... {attention}, seed {seed}: {row}", flush=True)
    return row


def learn(task: Task, epochs: int, budget: Budget, data: Data, seed: int) -> float:
    """Train a task; gives the seconds it took."""
    began = time.perf_counter()
    plan = Optimization(epochs, lr=budget.lr, warmup_epochs=epochs / 10)
    optimizer = torch.optim.AdamW(parameter_groups(task.model, plan), plan.lr, fused=True)
    steps = len(data.augmented) // budget.batch
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: lr_factor(step, plan, steps * epochs))
    task.train()
    for epoch in range(epochs):
        order = np.random.default_rng([seed, epoch]).permutation(len(data.augmented))
        for n in range(steps):
            batch = data.augmented.__getitems__(
                [(seed * 1000 + epoch, int(i)) for i in order[n * budget.batch : (n + 1) * budget.batch]]
            )
            with seeded(seed, 1, epoch, n):
                loss = task.loss(batch)["loss"]
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(task.model.parameters(), 1.0)
            optimizer.step()
            scheduler.step()
        print(f"... {type(task).__name__}, epoch {epoch + 1} of {epochs}: {float(loss.detach()):.4f}", flush=True)
    return time.perf_counter() - began


@torch.no_grad()
def accuracy(model: nn.Module, test: Batch) -> float:
    model.eval()
    found: Tensor = torch.cat([model(part).argmax(1) for part in test.images.split(500)])
    return float((found == test.labels).double().mean())


def probe(train: Labelled, test: Labelled) -> tuple[float, float]:
    """Accuracy of logistic regression, with the penalty that is best on a fifth of the training samples held out."""
    cut = len(train.labels) * 4 // 5
    kept, held = (Labelled(*(part[where] for part in train)) for where in (slice(cut), slice(cut, None)))
    best = max(PENALTIES, key=lambda C: linear_probe(kept, held, C=C))
    return linear_probe(train, test, C=best), best


def line(attention: str, rows: list[dict[str, Any]], columns: Sequence[str], base: float) -> list[Any]:
    by = {name: [100 * row[name] for row in rows] for name in columns}
    above = [value - 100 * base for value in by["finetuned"]]
    seconds = [f"{statistics.median(row[name] for row in rows):.0f}" for name in ("before", "after")]
    shown = [mean(values) for values in (by["scratch"], by["finetuned"], above, by["linear"], by["knn"])]
    return [attention, f"{rows[0]['parameters']:,}", *shown, *seconds]


def cifar(root: str, budget: Budget) -> Data:
    source, judges = open_images(root, "train"), open_images(root, "test")
    order = np.random.default_rng(0).permutation(len(source))[: budget.images]
    return prepared(decode_all(source, order), decode_all(judges, range(min(budget.test, len(judges)))))


def noise(budget: Budget) -> Data:
    made = torch.Generator().manual_seed(0)
    sizes = (budget.images, budget.test)
    images = [torch.randint(256, (size, 3, 32, 32), dtype=torch.uint8, generator=made) for size in sizes]
    return prepared(*((part, torch.arange(len(part)) % 10) for part in images))


def prepared(train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor]) -> Data:
    plain = [InMemory(*part, MEAN, STD).__getitems__([(0, n) for n in range(len(part[1]))]) for part in (train, test)]
    return Data(InMemory(*train, MEAN, STD, Augmentation()), *plain)


if __name__ == "__main__":
    main()
