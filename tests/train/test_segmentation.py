"""Tests for the task of telling the class of every pixel."""

import pytest
import torch
from timm.models import VisionTransformer
from torch import nn
from torch.nn import functional as F

from superpose.data.joint import segmentation_transforms
from superpose.data.shapes import Shapes
from superpose.train.segmentation import Segmentation
from superpose.vision.segmentation import UPerNet


class Told(nn.Module):
    """A network whose logits are the colours of the image."""

    def forward(self, images):
        return {"out": images, "aux": 2 * images}


def test_miou_is_that_of_the_counts_of_the_whole_data():
    task = Segmentation(Told(), 4).eval()
    classes = [torch.tensor([[0, 0, 0, 1]]), torch.tensor([[2, 2, 255, 1]])]
    found = [torch.tensor([[0, 0, 1, 1]]), torch.tensor([[2, 0, 0, 1]])]
    for wanted, guess in zip(classes, found, strict=True):
        task.judge((F.one_hot(guess, 4).movedim(-1, 0)[None].float(), wanted[None]))
    scores = {name: value.item() for name, value in task.metrics.compute().items()}
    # Class 0: 2 of 4; 1: 2 of 3; 2: 1 of 2; 3 does not occur, and the ignored pixel counts for nothing.
    assert scores == pytest.approx({"mIoU": (2 / 4 + 2 / 3 + 1 / 2) / 3, "accuracy": 5 / 7})


def test_the_loss_is_the_mean_over_pixels_that_count():
    task = Segmentation(Told(), 3)
    images, classes = torch.randn(2, 3, 4, 5), torch.randint(0, 3, (2, 4, 5))
    classes[0, :2] = 255
    parts = task.loss((images, classes))
    logits = images.movedim(1, -1)[classes != 255]
    right = classes[classes != 255][:, None]
    one = -(logits.log_softmax(-1).gather(1, right)).mean()
    two = -((2 * logits).log_softmax(-1).gather(1, right)).mean()
    torch.testing.assert_close(parts, {"loss": one + 0.4 * two, "out": one, "aux": two})
    assert task.loss((images, torch.full_like(classes, 255)))["loss"] == 0


def test_predictions_are_judged_at_the_size_of_the_map():
    task = Segmentation(Told(), 3).eval()
    classes = torch.randint(0, 3, (1, 3, 4)).repeat_interleave(8, 1).repeat_interleave(8, 2)
    images = F.one_hot(classes[:, ::2, ::2], 3).movedim(-1, 1).float()
    task.judge((images, classes))
    alone = task.metrics.compute()
    assert alone["accuracy"] > 0.95
    task.metrics.reset()
    task.judge(([images[0]], [classes[0]]))
    assert task.metrics.compute() == alone


def test_large_images_are_judged_crop_by_crop():
    seen = []

    class Watched(Told):
        def forward(self, images):
            seen.append(tuple(images.shape[-2:]))
            return super().forward(images)

    task = Segmentation(Watched(), 3, crop=9).eval()
    images = torch.randn(1, 3, 12, 20)
    torch.testing.assert_close(task.predict(images), images)
    assert (task.stride, set(seen), len(seen)) == (6, {(9, 9)}, 6)


def test_a_few_steps_lower_the_loss():
    torch.manual_seed(0)  # noqa: TID251, layers draw from the global state
    vit = VisionTransformer(img_size=64, patch_size=8, embed_dim=32, depth=4, num_heads=2, num_classes=0)
    task = Segmentation(UPerNet(vit, 4, channels=16), 4)
    data, transforms = Shapes(4, 64, semantic=True), segmentation_transforms(False, 64)
    batch = data.collate([transforms(*data[index]) for index in range(4)])
    optimizer = torch.optim.AdamW(task.parameters(), 5e-3)
    losses = []
    for _ in range(15):
        optimizer.zero_grad()
        loss = task.loss(batch)["loss"]
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]
    task.eval()
    task.judge(batch)
    assert 0 <= task.metrics.compute()[Segmentation.monitor] <= 1
