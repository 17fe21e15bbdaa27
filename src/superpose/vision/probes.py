"""How good features are, without training what made them: a linear classifier, and the nearest neighbours."""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import normalize


class Labelled(NamedTuple):
    """Features of samples, and the numbers of their classes."""

    features: Float[Tensor, "samples features"]
    labels: Int[Tensor, " samples"]


@torch.no_grad()
def extract(
    model: nn.Module, images: Float[Tensor, "samples channels height width"], batch_size: int = 256
) -> Float[Tensor, "samples features"]:
    """What a network of timm gives to its classifier, in evaluation mode and on the device of its parameters.

    Args:
        model: The network; afterwards it and each of its parts are in the mode they were in.
        images: As they were prepared for training.
        batch_size: How many images at a time.

    Example:
        >>> import timm
        >>> extract(timm.create_model("test_vit"), torch.zeros(3, 3, 160, 160)).shape
        torch.Size([3, 64])
    """
    network: Any = model
    device, modes = next(model.parameters()).device, [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        parts = [
            network.forward_head(network.forward_features(part.to(device)), pre_logits=True).to(images.device)
            for part in images.split(batch_size)
        ]
    finally:
        for module, mode in modes:
            module.training = mode
    return torch.cat(parts)


def linear_probe(train: Labelled, test: Labelled, *, C: float = 1.0, max_iter: int = 1000) -> float:
    """Accuracy of multinomial logistic regression on standardised features.

    Args:
        train: What it is fitted to.
        test: What it is judged on.
        C: Inverse of the strength of the penalty, as scikit-learn has it. Choose it on held-out samples, not on `test`.
        max_iter: Most iterations of L-BFGS.

    Raises:
        ValueError: If features and labels do not go together.

    Example:
        >>> x = torch.tensor([[-2.0], [-1.0], [1.0], [2.0]])
        >>> linear_probe(Labelled(x, torch.tensor([0, 0, 1, 1])), Labelled(3 * x, torch.tensor([0, 0, 1, 1])))
        1.0
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    _check(train, test)
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=C, max_iter=max_iter))
    classifier.fit(_as_array(train.features), train.labels.cpu().numpy())
    return float(classifier.score(_as_array(test.features), test.labels.cpu().numpy()))


def knn_probe(train: Labelled, test: Labelled, *, k: int = 20, temperature: float = 0.07) -> float:
    """Accuracy of a vote of the nearest neighbours by cosine, see `neighbours`.

    Args:
        train: The neighbours.
        test: What is judged.
        k: How many of them vote.
        temperature: A vote counts exp(cosine / temperature).

    Raises:
        ValueError: If features and labels do not go together, or a number is out of its range.

    Example:
        >>> x = torch.tensor([[1.0, 0.1], [1.0, -0.1], [0.1, 1.0]])
        >>> knn_probe(Labelled(x, torch.tensor([0, 0, 1])), Labelled(x, torch.tensor([0, 0, 1])), k=1)
        1.0
    """
    _check(train, test)
    predicted = neighbours(train, test.features, k=k, temperature=temperature)
    return float((predicted == test.labels.to(predicted.device)).double().mean())


@torch.no_grad()
def neighbours(
    train: Labelled, features: Float[Tensor, "samples features"], *, k: int = 20, temperature: float = 0.07
) -> Int[Tensor, " samples"]:
    """The class with the most votes of the k nearest neighbours of each sample.

    Near is what has a large cosine, and a vote counts exp(cosine / temperature), as in DINO (Caron et al. 2021, arXiv
    2104.14294, appendix F.1, after Wu et al. 2018).

    Raises:
        ValueError: If k or the temperature is out of its range.
    """
    if not 1 <= k <= len(train.labels) or not temperature > 0:
        raise ValueError(
            f"k should lie between 1 and {len(train.labels)}, the samples to choose from, and temperature above 0; got "
            f"{k} and {temperature}."
        )
    known, classes = normalize(train.features), int(train.labels.max()) + 1
    predicted = []
    for part in normalize(features).split(1024):
        cosines, nearest = (part @ known.T).topk(k)
        votes = ((cosines - cosines[:, :1]) / temperature).exp()  # only ratios count, and the nearest has 1
        counts = votes.new_zeros(len(part), classes).scatter_add(1, train.labels[nearest], votes)
        predicted.append(counts.argmax(1))
    return torch.cat(predicted)


def _as_array(features: Tensor) -> Any:
    """Features for scikit-learn, which knows no bfloat16: in float32, or float64 if they are."""
    return features.cpu().to(torch.promote_types(features.dtype, torch.float32)).numpy()


def _check(train: Labelled, test: Labelled) -> None:
    for name, (features, labels) in (("train", train), ("test", test)):
        if features.ndim != 2 or len(features) != len(labels) or not len(labels):
            raise ValueError(
                f"{name} should have features of shape (samples, features) and as many labels, got "
                f"{tuple(features.shape)} and {tuple(labels.shape)}."
            )
        if not bool(features.isfinite().all()):
            raise ValueError(f"the features of {name} are not finite; look at the network that made them.")
    if train.features.shape[1] != test.features.shape[1]:
        raise ValueError(f"train has {train.features.shape[1]} features, test {test.features.shape[1]}.")
