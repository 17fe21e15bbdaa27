"""A vision transformer becomes a Kolmogorov-Arnold transformer: how nearly does it compute the same?

A small transformer of timm learns CIFAR-10 for some minutes, and `kat_from_vit` converts it, without any training after
that. Then the same with the inputs of all activations multiplied, so that they leave the interval of the fits: what the
converted network is compared with is always the original with the same weights.

    python benchmarks/kat_from_vit.py --data FOLDER

FOLDER holds CIFAR-10 (by default `cifar10` in the folder SUPERPOSE_DATA).
"""

import argparse
from collections.abc import Sequence
from copy import deepcopy

import numpy as np
import torch
from report import Report, options, shown, timed
from torch import Tensor, nn
from torch.nn import functional

from superpose.data.chance import seeded
from superpose.data.images import open_images
from superpose.data.views import Augmentation, InMemory, decode_all
from superpose.train.optimization import Optimization, lr_factor, parameter_groups
from superpose.vision import kat_from_vit

MEAN, STD = (0.491, 0.482, 0.447), (0.247, 0.244, 0.262)
BATCH = 125
FACTORS = (1, 2, 4)
FITS = {
    "±8, degrees (5, 4)": {},
    "calibrated, (5, 4)": {"images": True},
    "calibrated, (9, 8)": {"images": True, "degrees": (9, 8)},
}


def cifar(given: argparse.Namespace) -> tuple[InMemory, Tensor, Tensor]:
    """Images to learn from, and those to judge by with their labels; noise with --quick."""
    if given.quick:
        images = torch.randint(256, (BATCH, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        parts = [(images, torch.arange(BATCH) % 10)] * 2
    else:
        sources = [open_images(given.data, split) for split in ("train", "test")]
        parts = [decode_all(source, np.arange(len(source))) for source in sources]
    train, test = (InMemory(images, labels, MEAN, STD, Augmentation()) for images, labels in parts)
    judged = InMemory(*parts[1], MEAN, STD).__getitems__([(0, n) for n in range(len(test))])
    return train, judged.images, judged.labels


def trained(data: InMemory, steps: int, seed: int) -> nn.Module:
    """A plain vision transformer after that many steps of AdamW."""
    from timm.models import VisionTransformer

    with seeded(seed, 0):
        model = VisionTransformer(
            img_size=32, patch_size=4, embed_dim=64, depth=4, num_heads=4, num_classes=10, class_token=False,
            global_pool="avg",
        )  # fmt: skip
    plan = Optimization(1, lr=2e-3, warmup_epochs=0.1)
    optimizer = torch.optim.AdamW(parameter_groups(model, plan), plan.lr, fused=True)
    rng = np.random.default_rng(seed)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = plan.lr * lr_factor(step, plan, steps)
        batch = data.__getitems__([(step, int(i)) for i in rng.choice(len(data), BATCH, replace=False)])
        loss = functional.cross_entropy(model(batch.images), batch.labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 200 == 0:
            print(f"... step {step}: loss {float(loss.detach()):.3f}", flush=True)
    return model.eval()


def stressed(model: nn.Module, factor: float) -> nn.Module:
    """The model with the inputs of all activations multiplied."""
    model = deepcopy(model)
    with torch.no_grad():
        for block in model.blocks:
            block.mlp.fc1.weight.mul_(factor)
            block.mlp.fc1.bias.mul_(factor)
    return model


@torch.no_grad()
def logits(model: nn.Module, images: Tensor) -> Tensor:
    return torch.cat([model(part) for part in images.split(500)])


@torch.no_grad()
def reach(model: nn.Module, images: Tensor) -> Tensor:
    """All inputs of the activations."""
    seen = []
    hooks = [
        block.mlp.fc1.register_forward_hook(lambda *given: seen.append(given[2].flatten())) for block in model.blocks
    ]
    model(images)
    for hook in hooks:
        hook.remove()
    return torch.cat(seen)


def check(model: nn.Module, images: Tensor) -> None:
    """What is measured is right: with the exact activation in place of its fit the logits are the same."""
    converted = kat_from_vit(model)
    for block in converted.blocks:
        block.mlp.act2 = nn.GELU()
    torch.testing.assert_close(logits(converted, images), logits(model, images), atol=1e-4, rtol=1e-4)


def compared(
    model: nn.Module, images: Tensor, noise: Tensor, labels: Tensor, calibration: Tensor
) -> list[list[object]]:
    """A row for each way to fit."""
    original, random = logits(model, images), logits(model, noise)
    inputs = reach(model, images[:500])
    within = f"{inputs.min():.1f} to {inputs.max():.1f} ({float((inputs.abs() > 8).double().mean()):.1e} beyond ±8)"
    rows = []
    for name, how in FITS.items():
        converted = kat_from_vit(model, **how | ({"images": calibration} if "images" in how else {}))
        found, scattered = logits(converted, images), logits(converted, noise)
        error = (found - original) / original.std()
        rows.append([
            within, name, max(block.mlp.act2.fit.max_error for block in converted.blocks),
            float(error.square().mean().sqrt()), float(error.abs().max()),
            f"{_agreement(found, original):.2f}", f"{_agreement(scattered, random):.2f}",
            f"{_agreement(original, functional.one_hot(labels)):.2f} / {_agreement(found, functional.one_hot(labels)):.2f}",
        ])  # fmt: skip
    return rows


def _agreement(one: Tensor, other: Tensor) -> float:
    """Percent of rows with the same largest entry."""
    return 100 * float((one.argmax(1) == other.argmax(1)).double().mean())


def main(argv: Sequence[str] | None = None) -> None:
    parser = options(__doc__, seeds=1)
    parser.add_argument("--data", default="cifar10", help="folder of CIFAR-10 (default cifar10, in SUPERPOSE_DATA)")
    parser.add_argument("--steps", type=int, default=1500, help=f"steps of training, {BATCH} images each")
    given = parser.parse_args(argv)
    given.steps = 2 if given.quick else given.steps
    report = Report("kat_from_vit", "A vision transformer converted to a Kolmogorov-Arnold transformer", given)
    data, images, labels = cifar(given)
    noise = torch.randn(len(images) // 5, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    rows = []
    for seed in range(given.seeds):
        with timed() as clock:
            model = trained(data, given.steps, seed)
        print(f"... trained in {clock.seconds:.0f} s", flush=True)
        check(model, images[:100])
        calibration = data.__getitems__([(0, n) for n in range(min(500, len(data)))]).images
        for factor in FACTORS:
            part = slice(None if factor == 1 else len(images) // 5)  # the stressed ones are looked at more briefly
            found = compared(stressed(model, factor), images[part], noise, labels[part], calibration)
            rows += [[seed, factor, *row] for row in found]
    report.text(
        f"timm's VisionTransformer, patch 4, dim 64, depth 4, 4 heads, GELU, {given.steps} steps of {BATCH} CIFAR-10 images; "
        f"{len(images):,} test images (the first {len(images) // 5:,} where inputs are multiplied) and {len(noise):,} of normal noise; calibration on 500 training images. Errors of "
        "logits are in units of the standard deviation of the original's logits on the test images."
    )
    columns = [
        "seed", "inputs ×", "inputs of the activations", "fit", "largest error of an activation", "logits: RMS error",
        "largest", "same class, test images, %", "noise, %", "accuracy before / after, %",
    ]  # fmt: skip
    report.table(columns, [[shown(cell) for cell in row] for row in rows])
    report.close()


if __name__ == "__main__":
    main()
