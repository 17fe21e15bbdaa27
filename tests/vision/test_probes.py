"""Probes against scikit-learn and loops."""

import numpy as np
import pytest
import timm
import torch
from sklearn.linear_model import LogisticRegression

from superpose.vision.probes import Labelled, extract, knn_probe, linear_probe, neighbours


def blobs(count, generator, classes=3, noise=0.7):
    labels = torch.arange(count) % classes
    centres = torch.randn(classes, 5, generator=torch.Generator().manual_seed(1))
    return Labelled(centres[labels] + noise * torch.randn(count, 5, generator=generator), labels)


def test_neighbours_vote_as_in_a_loop(generator):
    train, test = blobs(60, generator), blobs(25, generator)
    found = neighbours(train, test.features, k=7, temperature=0.2)
    known = train.features.numpy() / np.linalg.norm(train.features.numpy(), axis=1, keepdims=True)
    for n, x in enumerate(test.features.numpy()):
        cosines = known @ (x / np.linalg.norm(x))
        votes = np.zeros(3)
        for index in np.argsort(-cosines)[:7]:
            votes[train.labels[index]] += np.exp(cosines[index] / 0.2)
        assert found[n] == votes.argmax()
    accuracy = knn_probe(train, test, k=7, temperature=0.2)
    assert accuracy == pytest.approx((found == test.labels).double().mean())


def test_a_small_temperature_is_the_nearest_neighbour(generator):
    train, test = blobs(60, generator), blobs(1500, generator)
    nearest = neighbours(train, test.features, k=1)
    assert torch.equal(neighbours(train, test.features, k=20, temperature=1e-6), nearest)


def test_a_linear_probe_is_logistic_regression_on_standardised_features(generator):
    train, test = blobs(200, generator), blobs(100, generator)
    mean, std = train.features.mean(0), train.features.std(0, correction=0)
    oracle = LogisticRegression(C=0.1).fit(((train.features - mean) / std).numpy(), train.labels.numpy())
    expected = oracle.score(((test.features - mean) / std).numpy(), test.labels.numpy())
    assert linear_probe(train, test, C=0.1) == pytest.approx(expected)
    assert expected > 0.6


def test_features_are_what_the_classifier_gets_and_the_mode_stays(generator):
    model = timm.create_model("test_vit", drop_rate=0.5).train()
    images = torch.randn(5, 3, 160, 160, generator=generator)
    features = extract(model, images, batch_size=2)
    assert model.training
    torch.testing.assert_close(model.eval().head(features), model(images), rtol=1e-4, atol=1e-4)


def test_a_part_that_is_frozen_stays_frozen(generator):
    model = timm.create_model("test_vit").train()
    model.blocks[0].eval()
    before = [module.training for module in model.modules()]
    extract(model, torch.randn(2, 3, 160, 160, generator=generator))
    assert [module.training for module in model.modules()] == before


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_a_linear_probe_takes_features_of_any_precision(dtype, generator):
    given = (blobs(count, generator) for count in (60, 30))
    train, test = (Labelled(each.features.to(dtype), each.labels) for each in given)
    plain = (Labelled(each.features.double(), each.labels) for each in (train, test))
    assert linear_probe(train, test) == pytest.approx(linear_probe(*plain))


def test_bad_arguments_raise(generator):
    train, test = blobs(12, generator), blobs(6, generator)
    with pytest.raises(ValueError, match=r"k should lie between 1 and 12.* got 13"):
        neighbours(train, test.features, k=13)
    with pytest.raises(ValueError, match="temperature above 0"):
        knn_probe(train, test, k=2, temperature=0.0)
    with pytest.raises(ValueError, match="as many labels"):
        linear_probe(Labelled(train.features, train.labels[1:]), test)
    with pytest.raises(ValueError, match="not finite"):
        linear_probe(train, Labelled(test.features / 0, test.labels))
    with pytest.raises(ValueError, match="train has 5 features, test 4"):
        knn_probe(train, Labelled(test.features[:, :4], test.labels))
