"""Runs: what they write, and that they can be killed, continued, shared and interrupted."""

import io
import json
import os
import signal
import socket
import time
from functools import partialmethod
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from rich.console import Console
from safetensors.torch import load_file
from torch import nn

from superpose.train.config import read
from superpose.train.run import new_folder, train

RANDOM = {"model_arguments": {"img_size": 8, "patch_size": 4, "embed_dim": 16, "depth": 2, "num_heads": 2}}
RANDOM["model_arguments"] |= {"drop_rate": 0.1, "drop_path_rate": 0.1}
RANDOM |= {"smoothing": 0.1, "mixing": {"mixup": 0.8, "cutmix": 1.0}}
"""A task that leaves much to chance."""
FORKS = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
"""Newer Pythons warn that a forked process has one thread; ours needs no more."""


def forked(path, console, *, environment=None, **more):
    """Start a run in a process that has everything imported already."""

    def go():
        os.environ.update(environment or {})
        run(path, console, **more)

    process = get_context("fork").Process(target=go, daemon=True)
    process.start()
    return process


def run(path, console, *more, resume=None, callback=None):
    """A run in this process, and its table."""
    chosen = read(["--config", str(path), *more])
    chosen.callbacks += [callback] if callback else []
    folder = train(chosen, console, resume)
    return folder, table(folder) if (folder / "metrics.csv").exists() else None


def table(folder):
    return pd.read_csv(folder / "metrics.csv")


def test_a_run_leaves_a_folder_that_says_all(config, console):
    folder, rows = run(config(optimization={"epochs": 3, "ema": 0.8, "clip": 1.0}), console)
    names = {path.name.split(".")[0] for path in folder.iterdir()}
    assert names == {"config", "env", "metrics", "events", "last", "best"}
    losses = rows["train/loss"].dropna()
    assert len(losses) == 18
    assert losses.iloc[-4:].mean() < losses.iloc[:4].mean() - 0.1
    assert rows["step"].tolist() == sorted(rows["step"])
    assert rows.loc[rows["val/top1"].notna(), "step"].tolist() == [6, 12, 18]
    assert "torch" in json.loads((folder / "env.json").read_text())["versions"]
    again = read(["--config", str(folder / "config.yaml")])
    assert again.text == (folder / "config.yaml").read_text()
    last = torch.load(folder / "last.ckpt", weights_only=True)
    assert last["global_step"] == 18
    assert again.task.model.load_state_dict(load_file(folder / "best.safetensors")).missing_keys == []
    printed = console.file.getvalue()
    assert "epoch 3/3  train/loss" in printed
    assert "val/top1" in printed
    assert "images/s" in printed
    assert "left 0:00:00" in printed


class Slow(Callback):
    """Leaves time to be killed in the second epoch."""

    def on_train_batch_end(self, trainer, *_):
        time.sleep(0.5 if trainer.global_step > 8 else 0)


@FORKS
def test_a_killed_run_goes_on_as_if_nothing_had_been(config, console, tmp_path):
    settings = {"task": RANDOM, "optimization": {"epochs": 3, "ema": 0.8, "clip": 1.0}}
    whole, expected = run(config(**settings, records={"name": "whole"}), console)
    path = config(**settings, records={"name": "cut", "save_every": 2})
    process = forked(path, console, callback=Slow())
    try:
        folder = wait_for(tmp_path / "runs" / "cut", rows=10)
    finally:
        process.kill()
        process.join()
    assert process.exitcode == -signal.SIGKILL
    assert torch.load(folder / "last.ckpt", weights_only=True)["global_step"] == 8
    continued, rows = run(path, console, resume=folder)
    assert continued == folder
    pd.testing.assert_frame_equal(rows, expected, check_exact=True)
    kept, best = (load_file(each / "best.safetensors") for each in (folder, whole))
    assert all(torch.equal(kept[name], best[name]) for name in best)


def wait_for(runs, rows, seconds=120):
    """The folder of the only run, once its table has so many rows."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for path in runs.glob("*/metrics.csv"):
            if path.read_text().count("\n") > rows:
                return path.parent
        time.sleep(0.01)
    raise TimeoutError(f"no run in {runs} after {seconds} s")


def test_a_finished_run_goes_on_to_more_epochs(config, console):
    # With a constant rate, two epochs and a third are three.
    constant = {"warmup_epochs": 0, "min_lr": 3e-3}
    _, expected = run(config(task=RANDOM, optimization=constant), console)
    folder, _ = run(config(task=RANDOM, optimization={**constant, "epochs": 2}), console)
    _, rows = run(config(task=RANDOM, optimization=constant), console, resume=folder)
    pd.testing.assert_frame_equal(rows, expected, check_exact=True)


class Failing(Callback):
    """Does not survive its first step."""

    def on_train_batch_start(self, *_):
        raise MemoryError("too large a batch")


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_run_that_cannot_go_on_is_left_as_it_was(config, console):
    folder, _ = run(config(optimization={"epochs": 1, "warmup_epochs": 0}), console)
    before, longer = contents(folder), {"optimization": {"epochs": 2}}
    with pytest.raises(ValueError, match=r"no data in .*nowhere"):
        run(config(data={"root": "nowhere"}, **longer), console, resume=folder)
    assert contents(folder) == before
    with pytest.raises(RuntimeError, match="size mismatch"):
        model = {"img_size": 8, "patch_size": 4, "embed_dim": 32, "depth": 2, "num_heads": 2}
        run(config(task={"model_arguments": model}, **longer), console, resume=folder)
    assert contents(folder) == before
    with pytest.raises(MemoryError):
        run(config(data={"batch_size": 16}, **longer), console, resume=folder, callback=Failing())
    kept = {"config.yaml", "env.json", "last.ckpt", "best.safetensors", "metrics.csv"}
    assert {name: contents(folder)[name] for name in kept} == {name: before[name] for name in kept}
    run(config(**longer), console, resume=folder)
    assert b"epochs: 2" in contents(folder)["config.yaml"]


def test_a_finished_run_that_has_nothing_to_do_is_left_as_it_was(config, console):
    path = config(optimization={"epochs": 1, "warmup_epochs": 0})
    folder, _ = run(path, console)
    before = contents(folder)
    run(path, console, "--seed", "3", resume=folder)
    assert contents(folder) == before


def test_a_new_run_that_fails_in_its_first_step_says_what_it_was(config, console, tmp_path):
    with pytest.raises(MemoryError):
        run(config(), console, callback=Failing())
    (folder,) = (tmp_path / "runs" / "run").iterdir()
    assert {"config.yaml", "env.json"} <= contents(folder).keys()


def test_runs_that_start_at_once_have_folders_of_their_own(config):
    chosen = read(["--config", str(config())])
    assert len({new_folder(chosen) for _ in range(5)}) == 5


def test_a_line_shows_the_last_loss_of_its_epoch_however_seldom_it_is_written(config, console):
    _, rows = run(config(), Console(file=io.StringIO(), width=200))
    _, seldom = run(config(records={"log_every": 50}), console)
    assert seldom["train/loss"].notna().sum() == 1
    lines = [line.split() for line in console.file.getvalue().splitlines() if line.startswith("epoch")]
    shown = [float(words[words.index("train/loss") + 1]) for words in lines]
    assert shown == pytest.approx(rows["train/loss"].dropna().to_numpy()[5::6], rel=1e-3)


def test_nothing_is_saved_before_the_first_step_is_whole(config, console, tmp_path):
    class InTheMiddle(Callback):
        def on_train_batch_start(self, trainer, module, batch, batch_idx):
            if batch_idx == 2:
                raise MemoryError

    with pytest.raises(MemoryError):
        run(config(machine={"accumulate": 4}), console, callback=InTheMiddle())
    (folder,) = (tmp_path / "runs" / "run").iterdir()
    assert not (folder / "last.ckpt").exists()


def test_accumulated_batches_learn_the_same(config, console):
    one, four = (config(machine={"precision": "64-true", "accumulate": n}) for n in (1, 4))
    (_, expected), (_, rows) = run(one, console), run(four, console)
    np.testing.assert_allclose(rows.fillna(0), expected.fillna(0), atol=1e-6)


@FORKS
@pytest.mark.parametrize("strategy", ["ddp", pytest.param("fsdp2", marks=pytest.mark.slow)])
def test_two_processes_learn_what_one_does(strategy, config, console, tmp_path):
    optimization = {"epochs": 2, "clip": 0.5, "ema": 0.9 if strategy == "ddp" else None}
    whole, expected = run(config(optimization=optimization, records={"name": "one"}), console)
    path = config(optimization=optimization, records={"name": "two"}, machine={"devices": 2, "strategy": strategy})
    together(path, console)
    (folder,) = (tmp_path / "runs" / "two").iterdir()
    np.testing.assert_allclose(table(folder).fillna(0), expected.fillna(0), atol=1e-6)
    kept, best = (load_file(each / "best.safetensors") for each in (folder, whole))
    assert kept.keys() == best.keys()
    assert all(torch.allclose(kept[name], best[name], atol=1e-4) for name in best)


@FORKS
@pytest.mark.slow
def test_a_sharded_run_goes_on(config, console, tmp_path):
    constant = {"warmup_epochs": 0, "min_lr": 3e-3}
    _, expected = run(config(optimization={**constant, "epochs": 2}, records={"name": "one"}), console)
    machine = {"devices": 2, "strategy": "fsdp2"}
    together(config(optimization={**constant, "epochs": 1}, records={"name": "two"}, machine=machine), console)
    (folder,) = (tmp_path / "runs" / "two").iterdir()
    path = config(optimization={**constant, "epochs": 2}, records={"name": "two"}, machine=machine)
    together(path, console, resume=folder)
    np.testing.assert_allclose(table(folder).fillna(0), expected.fillna(0), atol=1e-5)


def together(path, console, **more):
    """Two processes, as torchrun starts them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "test"}
    shared |= {"GROUP_RANK": "0", "LOCAL_WORLD_SIZE": "2"}
    processes = [forked(path, console, environment={**shared, "RANK": n, "LOCAL_RANK": n}, **more) for n in "01"]
    for process in processes:
        process.join(300)
    assert [process.exitcode for process in processes] == [0, 0]


def test_a_terminal_shows_a_bar_with_speed_and_time(config, capsys):
    path = config(optimization={"epochs": 1, "warmup_epochs": 0}, machine={"precision": "bf16-mixed"})
    run(path, Console(file=io.StringIO(), force_terminal=True))
    shown = capsys.readouterr().out
    assert "images/s" in shown
    assert "train/loss" in shown


@pytest.mark.slow
def test_a_compiled_network_learns_the_same_and_its_weights_keep_their_names(config, console, monkeypatch):
    _, expected = run(config(), console)
    # Without code for this machine, which takes minutes to compile.
    monkeypatch.setattr(nn.Module, "compile", partialmethod(nn.Module.compile, backend="eager"))
    folder, rows = run(config(machine={"compile": True}), console)
    np.testing.assert_allclose(rows.fillna(0), expected.fillna(0), atol=1e-5)
    chosen = read(["--config", str(folder / "config.yaml")])
    chosen.task.model.load_state_dict(load_file(folder / "best.safetensors"))


class Interrupting(Callback):
    """Somebody presses Ctrl-C in the second epoch."""

    def on_train_batch_start(self, trainer, *_):
        if trainer.global_step == 9:
            raise KeyboardInterrupt


def test_an_interrupted_run_keeps_the_best_so_far(config, console):
    chosen = read(["--config", str(config())])
    chosen.callbacks.append(Interrupting())
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train(chosen, console)
    assert signal.getsignal(signal.SIGINT) is before
    (folder,) = Path(chosen.records.folder, "run").iterdir()
    assert load_file(folder / "best.safetensors")
    assert f"superpose train --resume {folder}" in console.file.getvalue()


def test_a_run_that_is_interrupted_before_its_first_checkpoint_cannot_go_on(config, console):
    class AtOnce(Callback):
        def on_train_batch_start(self, *_):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(config(), console, callback=AtOnce())
    assert "Interrupted." in console.file.getvalue()
    assert "--resume" not in console.file.getvalue()


def test_large_images_are_transformed_one_by_one(config, console):
    data = {"size": 8, "augmentation": {"auto_augment": "rand-m5-mstd0.5", "erasing": 0.5}, "held_out": 0.2}
    path = config(data=data, optimization={"epochs": 1, "warmup_epochs": 0})
    path.write_text(path.read_text().replace("SmallImages", "LargeImages"))
    (_, rows), (_, again) = (run(path, console, "--data.workers", str(n)) for n in (0, 2))
    pd.testing.assert_frame_equal(rows, again, check_exact=True)
    assert rows["train/loss"].notna().sum() == 6


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"data": {"batch_size": 100}}, "54 samples do not fill one batch of 100"),
        ({"task": {"num_classes": 2}}, "has 3 classes, the task 2; give --task.num_classes 3"),
        ({"data": {"root": "nowhere"}}, "no data in .*nowhere"),
        ({"optimization": {"epochs": 2, "warmup_epochs": 2}}, "warmup_epochs below epochs; got epochs 2"),
        ({"optimization": {"ema": 0.9}, "machine": {"precision": "64-true"}}, "neither sharded nor of double"),
        ({"optimization": {"optimizer": "adamwx"}}, "optimizer adamwx .* does not do: .*list_optimizers"),
        ({"optimization": {"arguments": {"bets": 1}}}, "optimizer adamw with the arguments .*'bets'"),
        ({"task": {"mixing": {"mixup": 1.0}}, "data": {"batch_size": 9}}, "batches of 9; take a multiple of 2"),
        (
            {"task": {"mixing": {"cutmix": 1.0}}, "data": {"batch_size": 10}, "machine": {"accumulate": 2}},
            "batches of 5; take a multiple of 4",
        ),
    ],
)
def test_what_cannot_be_trained_raises_and_leaves_nothing_behind(change, words, config, console, tmp_path):
    with pytest.raises(ValueError, match=words):
        run(config(**change), console)
    assert not (tmp_path / "runs").exists()


def test_nothing_to_go_on_from_raises(config, console, tmp_path):
    with pytest.raises(ValueError, match=r"last\.ckpt does not exist, so there is nothing to go on from"):
        run(config(), console, resume=tmp_path)
