"""superpose attention as somebody at a terminal meets it."""

from importlib import resources

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("lightning")

from superpose.cli import main

pytestmark = pytest.mark.as_shipped


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    Image.fromarray(np.arange(40 * 50 * 3, dtype=np.uint8).reshape(40, 50, 3)).save("cat.png")
    (tmp_path / "notes.txt").write_text("no image")
    return tmp_path


def test_an_untrained_model_is_drawn_and_said_to_be(here, capsys):
    command = ["attention", "kernel_vit_nano_patch4_32", "cat.png", "--out", "maps.png", "--untrained"]
    assert main([*command, "--token", "mean"]) == 0
    assert "These weights are untrained" in capsys.readouterr().out
    assert np.asarray(Image.open("maps.png")).std() > 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["no_such", "cat.png"], "no_such is neither a run of superpose train nor a model of timm"),
        (["kernel_vit_nano_patch4_32", "cat.png"], "nobody has published weights of kernel_vit_nano_patch4_32"),
        (["kernel_vit_nano_patch4_32", "dog.png", "--untrained"], "dog.png cannot be read as an image"),
        (["kernel_vit_nano_patch4_32", "notes.txt", "--untrained"], "notes.txt cannot be read as an image"),
        (["kernel_vit_nano_patch4_32", "cat.png", "--untrained", "--token", "99"], "query is 99"),
        (["notes.txt", "cat.png"], "there is no config.yaml"),
        (["kernel_vit_nano_patch4_32", "cat.png", "--out", "no/maps.png"], "the folder no for --out does not exist"),
    ],
)
def test_wrong_input_is_one_sentence_and_exit_code_2(arguments, words, here, capsys):
    assert main(["attention", *arguments]) == 2
    assert words in capsys.readouterr().err
    assert not (here / "maps.png").exists()


def test_a_file_without_weights_is_one_sentence(here, capsys):
    run = here / "run"
    run.mkdir()
    recipe = resources.files("superpose.train.recipes") / "cifar10_kat.yaml"
    (run / "config.yaml").write_text(recipe.read_text())
    (run / "best.safetensors").write_text("none")
    assert main(["attention", "run", "cat.png"]) == 2
    assert "holds no weights of a run" in capsys.readouterr().err
