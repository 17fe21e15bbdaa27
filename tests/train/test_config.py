"""Configurations: typed, overridden, and those that come with superpose."""

import pytest

from superpose.train import recipes
from superpose.train.config import parser, read


def test_overrides_come_after_the_file_and_reach_the_objects(config):
    chosen = read(["--config", str(config()), "--data.batch_size", "6", "--optimization.ema", "0.5", "--seed", "3"])
    assert (chosen.data.batch_size, chosen.optimization.ema, chosen.seed, chosen.data.seed) == (6, 0.5, 3, 3)
    assert "batch_size: 6" in chosen.text


def test_the_first_weights_depend_on_the_seed_alone(config):
    first, again, other = (read(["--config", str(config()), "--seed", seed]).task.model.head.weight for seed in "001")
    assert first.equal(again)
    assert not first.equal(other)


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (["--optimization.lrr", "1"], "optimization.lrr"),
        (["--optimization.epoch", "1"], "optimization.epoch"),
        (["--task.smothing", "1"], "'smothing' is not accepted"),
        (["--data.batch_size", "many"], "many"),
        (["--task", "Clasification"], "Clasification"),
    ],
)
def test_a_typo_exits_and_is_named(option, words, config, capsys):
    with pytest.raises(SystemExit):
        read(["--config", str(config()), *option])
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("name", recipes.names())
def test_recipes_are_valid(name):
    chosen = parser().parse_args(["--config", str(recipes.find(name))])
    assert chosen.records.name == name
    assert chosen.optimization.warmup_epochs < chosen.optimization.epochs


def test_the_recipe_of_kat_is_the_published_one():
    chosen = parser().parse_args(["--config", str(recipes.find("imagenet_kat_tiny"))])
    task, data, optimization = chosen.task.init_args, chosen.data.init_args, chosen.optimization
    assert (task.mixing.mixup, task.mixing.cutmix, task.mixing.switch, task.smoothing) == (0.8, 1.0, 0.5, 0.1)
    assert task.model_arguments == {"drop_path_rate": 0.1}
    assert (data.batch_size, data.crop, data.augmentation.erasing) == (1024, 0.875, 0.25)
    assert data.augmentation.auto_augment == "rand-m9-mstd0.5"
    assert (optimization.optimizer, optimization.lr, optimization.weight_decay) == ("adamw", 1e-3, 0.05)
    assert (optimization.epochs, optimization.warmup_epochs, optimization.ema) == (300, 5, 0.9999)
    assert optimization.decay_coefficients
    assert optimization.clip is None
    assert chosen.machine.precision == "16-mixed"


def test_a_recipe_that_is_not_there_raises_the_names_of_those_that_are():
    with pytest.raises(ValueError, match=r"there is no file kat; .* cifar10_kat, .*imagenet_kat_tiny"):
        recipes.find("kat")
