"""Do detection and segmentation learn? Small Kolmogorov-Arnold Transformers find discs, squares and triangles on noise.

Mask R-CNN and RetinaNet on a simple feature pyramid, with attention in windows in half of the blocks, and UPerNet, each
from new weights. A network that works learns its few images nearly by heart, and finds shapes on new ones better than
before it learned and than one that always says the same.
"""

import time
from dataclasses import dataclass
from functools import partial

import torch
from report import Report, options, spread
from timm.models import VisionTransformer

from superpose.data.chance import seeded
from superpose.data.joint import JointViews, detection_transforms, segmentation_transforms
from superpose.data.shapes import Shapes
from superpose.layers import RationalMlp
from superpose.train.detection import Detection
from superpose.train.segmentation import Segmentation
from superpose.vision.detection import mask_rcnn, retinanet
from superpose.vision.segmentation import UPerNet
from superpose.vision.windows import WindowedViT

BATCH, LR = 8, 2e-3


@dataclass
class Budget:
    count: int
    steps: int
    size: int


def kat(size, windows):
    """A KAT of width 64 and four blocks for patches of 8 pixels."""
    model = VisionTransformer(
        img_size=size, patch_size=8, embed_dim=64, depth=4, num_heads=4, num_classes=0, class_token=False,
        global_pool="avg", mlp_layer=RationalMlp, dynamic_img_size=True,
    )  # fmt: skip
    return WindowedViT(model, 4, 2) if windows else model


def detector(build, size, masks, **more):
    return Detection(build(kat(size, windows=True), 3, channels=32, min_size=size, max_size=size, **more), masks=masks)


def tasks(size):
    fewer = {"rpn_post_nms_top_n_train": 200, "rpn_post_nms_top_n_test": 200, "box_batch_size_per_image": 64}
    return {
        "Mask R-CNN": (
            partial(detector, mask_rcnn, size, masks=True, **fewer),
            ("box_AP50", "box_AP", "mask_AP50", "mask_AP"),
        ),
        "RetinaNet": (partial(detector, retinanet, size, masks=False), ("box_AP50", "box_AP")),
        "UPerNet": (lambda: Segmentation(UPerNet(kat(size, windows=False), 4, channels=32), 4), ("mIoU", "accuracy")),
    }


def data(name, budget, seed, device):
    """Batches of the images to learn and of as many new ones."""
    semantic = name == "UPerNet"
    transforms = (
        segmentation_transforms(train=False, size=budget.size) if semantic else detection_transforms(train=False)
    )
    for part in (2 * seed, 2 * seed + 1):
        shapes = Shapes(budget.count, budget.size, seed=part, semantic=semantic)
        views = JointViews(shapes, range(budget.count), transforms, seed)
        items = [views[0, index] for index in range(budget.count)]
        yield [moved(views.collate(items[i : i + BATCH]), device) for i in range(0, budget.count, BATCH)]


def moved(value, device):
    if isinstance(value, torch.Tensor):
        return torch.as_tensor(value).to(device)
    if isinstance(value, dict):
        return {name: moved(part, device) for name, part in value.items()}
    return type(value)(moved(part, device) for part in value) if isinstance(value, list | tuple) else value


def learn(task, batches, steps):
    optimizer = torch.optim.AdamW(task.parameters(), LR, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LR, total_steps=steps)
    task.train()
    for step in range(steps):
        optimizer.zero_grad()
        task.loss(batches[step % len(batches)])["loss"].backward()
        torch.nn.utils.clip_grad_norm_(task.parameters(), 1.0)
        optimizer.step()
        schedule.step()


def judged(task, batches):
    task.eval()
    task.metrics.reset()
    for batch in batches:
        task.judge(batch)
    return {name: float(value) for name, value in task.metrics.compute().items()}


def constant(batches):
    """Measures of a network that calls every pixel ground."""
    classes = torch.cat([classes.flatten() for _, classes in batches])
    share = float((classes == 0).float().mean())
    return {"mIoU": share / len(classes.unique()), "accuracy": share}


def main(arguments=None):
    parser = options(__doc__, seeds=1)
    parser.add_argument("--device", default="cpu", help="where to learn (default cpu)")
    chosen = parser.parse_args(arguments)
    budget = Budget(count=8, steps=2, size=48) if chosen.quick else Budget(count=32, steps=200, size=64)
    report = Report("dense", "Detection and segmentation learn", chosen)
    where = torch.cuda.get_device_name() if chosen.device == "cuda" else "the CPU"
    report.text(
        f"On {where}: {budget.count} images of {budget.size} pixels, {budget.steps} steps of {BATCH} images, AdamW with a "
        f"highest rate of {LR}, no augmentation. KAT of width 64 with 4 blocks and patches of 8 pixels. AP is 0 to 1, and -1 where there is nothing to find; "
        "mIoU and accuracy 0 to 1; always ground: what calls every pixel ground."
    )
    rows = []
    for name, (build, measures) in tasks(budget.size).items():
        found, seconds = [], []
        for seed in range(chosen.seeds):
            with seeded(seed):
                known, new = data(name, budget, seed, chosen.device)
                task = build().to(chosen.device)
                before, began = judged(task, new), time.perf_counter()
                learn(task, known, budget.steps)
                seconds.append(time.perf_counter() - began)
                same = constant(new) if name == "UPerNet" else {}
                found.append((before, same, judged(task, known), judged(task, new)))
        for measure in measures:
            cells = [
                spread([each[part][measure] for each in found]) if measure in found[0][part] else ""
                for part in range(4)
            ]
            rows.append([name, measure, *cells, spread(seconds)])
    report.table(
        ["network", "measure", "new images, untrained", "always ground", "learned images", "new images", "seconds"],
        rows,
    )
    report.close()


if __name__ == "__main__":
    main()
