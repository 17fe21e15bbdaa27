"""Tests for the task of finding things."""

import pytest
import torch
from timm.models import VisionTransformer
from torch import nn

from superpose.data.joint import detection_transforms
from superpose.data.shapes import Shapes
from superpose.train.detection import AveragePrecision, Detection
from superpose.vision.detection import mask_rcnn, retinanet


class Told(nn.Module):
    """A detector that finds what it has been told."""

    def __init__(self, found):
        super().__init__()
        self.found = found

    def forward(self, images):
        return self.found


def boxed(*boxes, size=(40, 100)):
    """Masks that fill their boxes."""
    masks = torch.zeros(len(boxes), *size)
    for mask, (left, top, right, bottom) in zip(masks, boxes, strict=True):
        mask[top:bottom, left:right] = 1
    return {"boxes": torch.tensor(boxes).float().view(-1, 4), "masks": masks}


def judged(found, wanted, **options):
    scores = torch.tensor(found.pop("scores"))
    found = found | {"scores": scores, "labels": torch.ones(len(scores), dtype=torch.int64)}
    wanted = {"labels": torch.ones(len(wanted["boxes"]), dtype=torch.int64)} | wanted
    found["masks"] = found["masks"][:, None] * 0.9
    task = Detection(Told([found]), **options).eval()
    task.judge(([torch.zeros(3, 40, 100)], [wanted]))
    return {name: value.item() for name, value in task.metrics.compute().items()}


def test_average_precision_is_that_computed_by_hand():
    # Two things. The best guess is half of the first (IoU 0.5), the second guess is nothing, the third the second thing.
    wanted = boxed((0, 0, 20, 20), (50, 0, 60, 20))
    found = boxed((0, 0, 20, 10), (80, 0, 90, 10), (50, 0, 60, 20)) | {"scores": [0.9, 0.8, 0.7]}
    scores = judged(found, wanted)
    # At 0.5: precision 1 to recall 1/2, then 2/3 to recall 1; COCO takes the mean over the recalls 0, 0.01, ..., 1.
    half = (51 * 1 + 50 * 2 / 3) / 101
    # Above 0.5: right is the third guess alone: precision 1/3 to recall 1/2, then nothing.
    more = 51 * (1 / 3) / 101
    for kind in ("box", "mask"):
        assert scores[f"{kind}_AP50"] == pytest.approx(half, abs=1e-5)
        assert scores[f"{kind}_AP75"] == pytest.approx(more, abs=1e-5)
        assert scores[f"{kind}_AP"] == pytest.approx((half + 9 * more) / 10, abs=1e-5)
        assert scores[f"{kind}_APm"] == -1  # both are smaller than 32 x 32


def test_masks_and_boxes_are_judged_apart():
    wanted = boxed((0, 0, 20, 20))
    found = boxed((0, 0, 20, 20)) | {"scores": [0.9]}
    found["masks"][:, 12:] = 0
    found["masks"][:, 12, :4] = 1  # 0.61 of the thing
    scores = judged(found, wanted)
    assert scores["box_AP"] == pytest.approx(1)
    assert scores["mask_AP"] == pytest.approx(0.3)  # at 0.5, 0.55 and 0.6 of ten thresholds
    assert sorted(judged(boxed((0, 0, 20, 20)) | {"scores": [0.9]}, wanted, masks=False)) == sorted(
        f"box_{name}" for name in AveragePrecision.NAMES.values()
    )


def test_what_is_found_in_a_crowd_is_no_mistake():
    wanted = boxed((0, 0, 20, 20), (50, 0, 90, 30))
    found = boxed((0, 0, 20, 20), (60, 0, 70, 20)) | {"scores": [0.8, 0.9]}
    assert judged(dict(found), wanted)["box_AP50"] < 0.6
    crowd = wanted | {"iscrowd": torch.tensor([0, 1])}
    assert judged(dict(found), crowd)["box_AP50"] == pytest.approx(1)


@pytest.mark.parametrize("build", [mask_rcnn, retinanet])
def test_a_few_steps_lower_the_loss(build):
    torch.manual_seed(0)  # noqa: TID251, layers and samplers draw from the global state
    vit = VisionTransformer(
        img_size=64, patch_size=8, embed_dim=32, depth=2, num_heads=2, num_classes=0, dynamic_img_size=True
    )
    masks = build is mask_rcnn
    fewer = {"rpn_post_nms_top_n_train": 100, "rpn_post_nms_top_n_test": 100} if masks else {}
    task = Detection(build(vit, 3, channels=16, min_size=64, max_size=64, **fewer), masks=masks)
    data, transforms = Shapes(4, 64), detection_transforms(False)
    batch = data.collate([transforms(*data[index]) for index in range(4)])
    optimizer = torch.optim.AdamW(task.parameters(), 2e-3)
    losses = []
    for _ in range(8):
        optimizer.zero_grad()
        parts = task.loss(batch)
        assert torch.isclose(parts["loss"], sum(value for name, value in parts.items() if name != "loss"))
        parts["loss"].backward()
        optimizer.step()
        losses.append(parts["loss"].item())
    assert losses[-1] < 0.7 * losses[0]
    task.eval()
    task.judge(batch)
    assert 0 <= task.metrics.compute()[Detection.monitor] <= 1


def test_judging_in_training_mode_raises():
    with pytest.raises(ValueError, match=r"task.eval\(\)"):
        Detection(Told([])).judge(([], []))


@pytest.mark.parametrize("build", [mask_rcnn, retinanet])
def test_half_precision_trains_and_judges(build):
    vit = VisionTransformer(img_size=32, patch_size=8, embed_dim=16, depth=1, num_heads=2, dynamic_img_size=True)
    task = Detection(build(vit, 3, channels=8, min_size=32), masks=build is mask_rcnn)
    data, transforms = Shapes(2, 32), detection_transforms(False)
    batch = data.collate([transforms(*data[index]) for index in range(2)])
    with torch.autocast("cpu", torch.bfloat16):
        task.loss(batch)["loss"].backward()
        task.eval()
        task.judge(batch)
    assert task.metrics.compute()["box_AP"] >= 0
    assert all(bool(parameter.grad.isfinite().all()) for parameter in task.parameters())
