"""The sentence says what the scores say."""

import numpy as np
import pytest

from superpose.tabular.verdict import score, score_baselines, verdict

ROWS = 200
NOISE = np.random.default_rng(0).standard_normal(ROWS)
TRUTH = np.linspace(-1, 1, ROWS)


def regression(name, noise):
    return score(name, TRUTH + noise * NOISE, TRUTH, 0.0)


NAIVE = score("always the mean", np.zeros(ROWS), TRUTH, 0.0)


@pytest.mark.parametrize(
    ("own", "ridge", "trees", "start", "end"),
    [
        (0.01, 0.2, 0.3, "Very good: it explains 99.9 %", "clearly better than ridge and trees."),
        (0.2, 0.2, 0.3, "Good: it explains 89 %", "clearly better than trees and about as good as ridge."),
        (0.3, 0.01, 0.3, "Good: it explains 7", "about as good as trees, but clearly worse than ridge; ridge is the one to use."),
        (0.9, 0.1, 0.9, "Of no use", "but ridge does; use that."),
        (0.9, 0.9, 0.9, "Of no use", "these columns say little about y."),
    ],
)  # fmt: skip
def test_numbers(own, ridge, trees, start, end):
    said = verdict(regression("KAN", own), [NAIVE, regression("ridge", ridge), regression("trees", trees)], "y")
    assert said.startswith(start)
    assert said.endswith(end)
    assert said.count(". ") == 0


def test_classes():
    y = np.arange(ROWS) % 2
    sure = np.eye(2)[y] * 0.8 + 0.1
    coin = np.full((ROWS, 2), 0.5)
    said = verdict(score("KAN", sure, y, 0.0), [score("always the most common class", coin, y, 0.0)] * 2, "y")
    assert said.startswith(
        "Very good: it names the right class for 100 of 100 rows it has not seen (answering the most"
    )
    assert score("KAN", sure, y, 0.0).measures == pytest.approx({"accuracy": 1, "log loss": -np.log(0.9)})


def test_few_rows_call_for_care():
    few = [score(name, TRUTH[:12], TRUTH[:12] + 0.1, 0.0) for name in ("KAN", "always the mean", "ridge")]
    assert verdict(few[0], few[1:], "y").endswith("Only 12 rows judge this, so the next ones may say otherwise.")


@pytest.mark.parametrize("classes", [0, 2])
def test_baselines_find_what_is_there(classes):
    generator = np.random.default_rng(0)
    x = generator.standard_normal((90, 3))
    y = (x[:, 0] > 0).astype(int) if classes else x[:, 0]
    scores = score_baselines(x, y, np.arange(90) % 3 == 0, classes, 0)
    assert [len(each.losses) for each in scores] == [30, 30, 30]
    assert scores[1].losses.mean() < 0.1 * scores[0].losses.mean()


def test_baselines_never_see_the_held_out_targets():
    held = np.arange(90) % 3 == 0
    y = np.where(held, np.nan, 1.0 * np.arange(90))  # a fit would refuse NaN
    for each in score_baselines(np.arange(90)[:, None], y, held, 0, 0):
        assert np.isnan(each.losses).all()
