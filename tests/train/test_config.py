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


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (["--optimization.weight_decay", "-1"], "weight_decay should be at least 0, got -1"),
        (["--optimization.warmup_lr", "-1"], "warmup_lr should be at least 0, got -1"),
        (["--optimization.min_lr", ".nan"], "min_lr should be at least 0, got nan"),
        (["--optimization.clip", "0"], "clip should be a norm above 0, or null for no limit; got 0"),
        (["--optimization.ema", "1"], "ema should be above 0 and below 1, or null for no average; got 1"),
        (["--optimization.layer_decay", "1.5"], "layer_decay should be above 0 and at most 1, or null .* got 1.5"),
        (["--machine.accumulate", "0"], "accumulate should be at least 1, got 0"),
        (["--records.log_every", "0"], "log_every and save_every should be at least 1, got 0 and 1000"),
        (["--records.save_every", "-3"], "log_every and save_every should be at least 1, got 1 and -3"),
        (["--data.pixels.std", "[0.2, 0, 0.2]"], "std should be above 0"),
        (["--data.augmentation.crop", "-1"], "crop should be a number of pixels from 0, got -1"),
        (["--data.augmentation.rand_augment", "31"], "rand_augment should be from 0 to 30, or null .* got 31"),
        (["--task.smoothing", "1"], "smoothing should be at least 0 and below 1, got 1"),
        (["--task.num_classes", "1"], "num_classes should be at least 2, for there must be a choice; got 1"),
        (["--task.mixing.mixup", "-0.1"], "mixup and cutmix should be at least 0, got -0.1 and 0.0"),
        (["--task.mixing.switch", "2"], "switch and probability should lie between 0 and 1, got 2.0 and 1.0"),
    ],
)
def test_a_number_out_of_its_range_raises(option, words, config):
    with pytest.raises(ValueError, match=words):
        read(["--config", str(config()), *option])


@pytest.mark.parametrize("name", recipes.names())
def test_recipes_are_valid(name):
    path = recipes.find(name)
    more = ["--task.encoder", "runs/any"] if "--task.encoder RUN" in path.read_text() else []  # what only a user knows
    chosen = parser().parse_args(["--config", str(path), *more])
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
