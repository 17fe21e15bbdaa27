"""How good a trained network is."""

import pytest
import torch
from scipy.stats import binomtest

from superpose.train.checkpoints import MODEL
from superpose.train.config import read
from superpose.train.evaluation import evaluate, find_weights, read_weights, wilson
from superpose.train.run import train


@pytest.mark.parametrize(("right", "count"), [(0, 10), (7, 9), (950, 1000), (30, 30)])
def test_the_interval_is_that_of_wilson(right, count):
    expected = binomtest(right, count).proportion_ci(0.95, "wilson")
    assert wilson(right / count, count) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_a_run_is_judged_on_the_test_images_with_its_best_or_last_weights(config, console):
    path = str(config(optimization={"epochs": 8}))
    folder = train(read(["--config", path]), console)
    chosen = read(["--config", path])
    scores, count = evaluate(chosen, find_weights(folder))
    assert count == 30
    chosen.data.setup("test")
    images, labels = (chosen.data.test_set().__getitems__([(0, n) for n in range(30)]))[:2]
    with torch.no_grad():
        right = float((chosen.task.model.eval()(images).argmax(1) == labels).float().mean())
    assert scores["top1"].value == pytest.approx(right)
    assert right > 0.6
    assert scores["top1"].interval == pytest.approx(wilson(right, 30))
    assert scores["loss"].interval is None
    last, _ = evaluate(read(["--config", path]), find_weights(folder / "last.ckpt"))
    assert last.keys() == scores.keys()


def test_weights_that_do_not_fit_raise(config, tmp_path):
    with pytest.raises(ValueError, match=r"there is no file .*best\.safetensors"):
        find_weights(tmp_path)
    torch.save({"state_dict": {f"{MODEL}x": torch.zeros(1)}}, tmp_path / "other.ckpt")
    with pytest.raises(ValueError, match="does not fit the network of the configuration"):
        evaluate(read(["--config", str(config())]), tmp_path / "other.ckpt")


@pytest.mark.parametrize("name", ["env.json", "config.yaml", "metrics.csv", "best.safetensors", "last.ckpt"])
@pytest.mark.parametrize("content", ['{"a": 1}', "task: {}", "step,loss", ""])
def test_a_file_without_weights_raises(name, content, tmp_path):
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=rf"{name} holds no weights of a run.* name the folder of a run"):
        read_weights(tmp_path / name)


def test_a_file_with_other_things_raises(tmp_path):
    torch.save([1, 2], tmp_path / "numbers.ckpt")
    with pytest.raises(ValueError, match=r"numbers\.ckpt holds no weights of a run"):
        read_weights(tmp_path / "numbers.ckpt")
