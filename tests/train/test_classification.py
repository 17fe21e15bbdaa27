"""The task of classification."""

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss, top_k_accuracy_score
from torch import nn

from superpose.data.views import Batch
from superpose.train.classification import Classification, Mixing

SMALL = {"img_size": 8, "patch_size": 4, "embed_dim": 16, "depth": 1, "num_heads": 2}


@pytest.fixture
def make():
    def make(**options):
        return Classification("vit_tiny_patch16_224", 7, model_arguments=SMALL, **options)

    return make


class Given(nn.Module):
    """Gives back the logits that its images are."""

    def forward(self, images):
        return images.flatten(1)


def given(logits, labels):
    return Batch(torch.from_numpy(logits)[:, :, None, None], torch.from_numpy(labels))


def test_the_metrics_are_those_of_scikit_learn(make):
    task, generator = make(), np.random.default_rng(0)
    task.model = Given()
    logits, labels = generator.standard_normal((50, 7)), generator.integers(0, 7, 50)
    for part in np.array_split(np.arange(50), 4):
        task.judge(given(logits[part], labels[part]))
    values = {name: float(value) for name, value in task.metrics.compute().items()}
    chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    expected = {k: top_k_accuracy_score(labels, logits, k=k) for k in (1, 5)}
    assert values == pytest.approx({"top1": expected[1], "top5": expected[5], "loss": log_loss(labels, chances)})


def test_the_loss_is_the_cross_entropy_to_smoothed_classes(make):
    task, generator = make(smoothing=0.1), np.random.default_rng(1)
    task.model = Given()
    logits, labels = generator.standard_normal((5, 7)), generator.integers(0, 7, 5)
    logs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    smoothed = np.full((5, 7), 0.1 / 7) + 0.9 * np.eye(7)[labels]
    assert float(task.loss(given(logits, labels))["loss"]) == pytest.approx(-(smoothed * logs).sum(1).mean())


def test_mixed_images_are_learned_with_mixed_classes(make):
    task = make(mixing=Mixing(mixup=1.0))
    seen = {}

    class Watching(nn.Module):
        def forward(self, images):
            return seen.setdefault("images", images).flatten(1)[:, :7]

    task.model = Watching()
    images = torch.rand(4, 3, 8, 8)
    loss = task.loss(Batch(images.clone(), torch.tensor([0, 1, 2, 3])))["loss"]
    # mixed = share * images + (1 - share) * images backwards
    backwards = images.flip(0)
    share = ((seen["images"] - backwards) * (images - backwards)).sum() / ((images - backwards) ** 2).sum()
    assert 0 < share < 1
    assert (seen["images"] - share * images - (1 - share) * backwards).abs().max() < 1e-5
    classes = share * torch.eye(7)[:4] + (1 - share) * torch.eye(7)[:4].flip(0)
    logs = seen["images"].flatten(1)[:, :7].log_softmax(1)
    assert float(loss) == pytest.approx(float(-(classes * logs).sum(1).mean()), rel=1e-4)


def test_models_that_do_not_exist_raise(make):
    with pytest.raises(ValueError, match="timm knows no model 'vit_tini'"):
        Classification("vit_tini", 3)
    with pytest.raises(ValueError, match=r"do not suit vit_tiny_patch16_224: .*'deph'"):
        Classification("vit_tiny_patch16_224", 3, model_arguments={"deph": 3})
