"""From images without labels to a classifier: tasks, recipes, and a whole run of both."""

import contextlib
import io

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import timm
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file

from superpose.cli import main
from superpose.data.views import Batch
from superpose.train import recipes
from superpose.train.config import read
from superpose.train.pretraining import Decoder, FineTuning, Pretraining, save_encoder

TINY = {"img_size": 8, "patch_size": 2, "embed_dim": 16, "depth": 2, "num_heads": 2}
MODEL = "kernel_vit_nano_patch4_32"
PAIRS = ("paper", "repaired", "strong", "small")


def pretraining(**more):
    return Pretraining(MODEL, model_arguments=TINY, decoder=Decoder(12, 1, 2), **more)


def batch(count, generator):
    return Batch(torch.randn(count, 3, 8, 8, generator=generator), torch.arange(count) % 3)


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.fixture(scope="module")
def shades(tmp_path_factory):
    """64 training and 30 test images of 8 x 8 pixels, each one shade of the colour that is its class."""
    root = tmp_path_factory.mktemp("shades")
    draw = np.random.default_rng(0)
    for split, size in (("train", 64), ("test", 30)):
        images = []
        for n in range(size):
            pixels = np.full((8, 8, 3), draw.integers(0, 100), np.uint8)
            pixels[..., n % 3] += 100
            file = io.BytesIO()
            Image.fromarray(pixels + draw.integers(0, 20, pixels.shape, np.uint8)).save(file, "PNG")
            images.append({"bytes": file.getvalue(), "path": None})
        pq.write_table(pa.table({"image": images, "label": np.arange(size) % 3}), root / f"{split}.parquet")
    return root


@pytest.fixture
def configured(shades, tmp_path):
    """Writes the configuration of a task on these images, and gives its path."""

    def make(name, kind, task, **optimization):
        settings = {
            "task": {"class_path": f"superpose.train.pretraining.{kind}", "init_args": task},
            "data": {"class_path": "SmallImages", "init_args": {"root": str(shades), "batch_size": 16}},
            "optimization": {"epochs": 4, "lr": 3e-3, **optimization},
            "machine": {"accelerator": "cpu", "devices": 1},
            "records": {"folder": str(tmp_path / "runs"), "name": name, "log_every": 1},
        }
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(settings))
        return str(path)

    return make


def test_a_judgement_depends_on_the_weights_alone(generator):
    task = pretraining()
    images = batch(6, generator)
    values = []
    for _ in range(2):
        torch.rand(3)  # the global state moves on
        task.judge(images)
        values.append(task.metrics.compute()["loss"])
        task.metrics.reset()
    assert values[0] == values[1]
    assert task.loss(images)["loss"] != task.loss(images)["loss"]


def test_batches_count_by_their_size(generator):
    task = pretraining()
    parts = batch(5, generator), batch(1, generator)
    losses = []
    for part in parts:
        task.judge(part)
        losses.append(task.metrics.compute()["loss"])
        task.metrics.reset()
    for part in parts:
        task.judge(part)
    torch.testing.assert_close(task.metrics.compute()["loss"], (5 * losses[0] + losses[1]) / 6)


@pytest.mark.parametrize("positions", ["fixed", "learned"])
def test_positions(positions):
    model = pretraining(positions=positions).model
    assert model.encoder.pos_embed.requires_grad == model.decoder_positions.requires_grad == (positions == "learned")


def test_a_saved_encoder_is_a_checkpoint_of_timm(tmp_path):
    task = pretraining()
    file = tmp_path / "encoder.safetensors"
    save_encoder(task.model, file)
    shape = {**TINY, "num_classes": 0}
    model = timm.create_model(MODEL, checkpoint_path=str(file), **shape)
    for name, value in task.model.encoder.state_dict().items():
        assert torch.equal(model.state_dict()[name], value)
    timm.create_model(MODEL, **shape).load_state_dict(load_file(file))


def test_fine_tuning_begins_with_the_encoder_or_raises(tmp_path):
    task = pretraining()
    file = tmp_path / "best.safetensors"
    save_file(task.model.state_dict(), file)
    for place in (file, tmp_path):
        tuned = FineTuning(MODEL, 3, encoder=str(place), model_arguments=TINY)
        assert torch.equal(tuned.model.blocks[1].attn.qkv.weight, task.model.encoder.blocks[1].attn.qkv.weight)
        assert torch.equal(tuned.model.patch_embed.proj.weight, task.model.encoder.patch_embed.proj.weight)
    assert FineTuning(MODEL, 3, encoder="scratch", model_arguments=TINY).model.head.out_features == 3
    with pytest.raises(ValueError, match=r"best\.safetensors cannot be fine-tuned as kernel_vit.*blocks\.1\.norm1"):
        FineTuning(MODEL, 3, encoder=str(file), model_arguments={**TINY, "depth": 1})
    with pytest.raises(ValueError, match=r"of another shape: .*blocks\.0\.attn\.qkv\.weight"):
        FineTuning(MODEL, 3, encoder=str(file), model_arguments={**TINY, "attention": "softmax"})
    with pytest.raises(ValueError, match=r"there is no file .*gone"):
        FineTuning(MODEL, 3, encoder=str(tmp_path / "gone"), model_arguments=TINY)


def test_from_images_without_labels_to_a_judged_classifier(configured, tmp_path, capsys):
    task = {"model": MODEL, "model_arguments": TINY, "decoder": {"dim": 12, "depth": 1, "heads": 2}, "norm_pix": False}
    assert main(["pretrain", configured("without", "Pretraining", task, ema=0.5)]) == 0
    (first,) = (tmp_path / "runs" / "without").iterdir()
    losses = pd.read_csv(first / "metrics.csv")["val/loss"].dropna().tolist()
    assert len(losses) == 4
    assert losses[-1] < losses[0]
    path = configured(
        "with", "FineTuning", {"model": MODEL, "num_classes": 3, "model_arguments": TINY}, epochs=12, lr=0.01
    )
    assert main(["finetune", path, "--encoder", str(first), "--optimization.layer_decay", "0.9"]) == 0
    (second,) = (tmp_path / "runs" / "with").iterdir()
    capsys.readouterr()
    assert main(["eval", str(second), "--task.encoder", "scratch"]) == 0
    (top1,) = (line for line in capsys.readouterr().out.splitlines() if "top1" in line)
    assert float(top1.split()[1]) > 0.5  # by chance 0.33


def test_a_fine_tuning_without_an_encoder_says_so(configured, capsys):
    path = configured("with", "FineTuning", {"model": MODEL, "num_classes": 3, "model_arguments": TINY})
    with contextlib.suppress(SystemExit):
        assert main(["finetune", path]) == 2
    assert "encoder" in capsys.readouterr().err


@pytest.mark.as_shipped
def test_what_an_object_has_against_its_arguments_is_one_sentence(configured, capsys):
    path = configured("with", "FineTuning", {"model": MODEL, "num_classes": 3, "model_arguments": TINY})
    assert main(["finetune", path, "--encoder", "nowhere"]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("superpose: there is no file nowhere to take the encoder from; give the run")


@pytest.mark.parametrize("name", PAIRS)
def test_recipes_fit_each_other(name, tmp_path):
    pretrained = read(["--config", str(recipes.find(f"cifar10_pretrain_{name}"))])
    file = tmp_path / "best.safetensors"
    save_file(pretrained.task.model.state_dict(), file)
    tuning = str(recipes.find(f"cifar10_finetune_{name}"))
    tuned = read(["--config", tuning, "--task.encoder", str(file), "--seed", "7"])
    assert pretrained.data.pixels == tuned.data.pixels
    learned, given = tuned.task.model.state_dict(), pretrained.task.model.encoder.state_dict()
    dropped = {"patch_embed.proj.weight", "patch_embed.proj.bias"} if name == "paper" else set()
    assert {key for key, value in learned.items() if key in given and not torch.equal(value, given[key])} == dropped


def test_the_papers_recipe_is_the_papers_model():
    """Whole autoencoder and six-block classifier with Semi-Fusion, counted in arXiv 2503.23038's code."""
    first = read(["--config", str(recipes.find("cifar10_pretrain_paper"))])
    assert count(first.task.model) == 4_786_371 - 3 + 48  # a bias for each pixel and channel, not for each channel
    assert first.task.model.hidden == 38
    second = read(["--config", str(recipes.find("cifar10_finetune_paper")), "--task.encoder", "scratch"])
    assert count(second.task.model) == 2_502_410


def test_bad_arguments_raise():
    with pytest.raises(ValueError, match="timm knows no model 'vit_of_mine'"):
        Pretraining("vit_of_mine")
    with pytest.raises(
        ValueError, match=r"with the arguments \{'colour': 'red'\} .*unexpected keyword argument 'colour'"
    ):
        Pretraining(MODEL, model_arguments={"colour": "red"})
    with pytest.raises(ValueError, match="fc_norm would have no part in pretraining"):
        Pretraining(MODEL, model_arguments={**TINY, "global_pool": "avg"})
    for positions in ("fixed", "learned"):
        with pytest.raises(ValueError, match=r"test_resnet .*needs a VisionTransformer of timm, got ResNet"):
            Pretraining("test_resnet", positions=positions)


def test_an_encoder_that_is_not_there_says_how_to_give_one():
    with pytest.raises(ValueError, match=r"there is no file RUN .* by --task\.encoder .* --task\.encoder scratch"):
        FineTuning("kernel_vit_nano_patch4_32", 10, encoder="RUN")
