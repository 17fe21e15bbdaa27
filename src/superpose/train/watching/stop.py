"""A callback that stops at the first value that is not finite, and says where it comes from."""

import io
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.seed import isolate_rng
from lightning.pytorch.utilities.signature_utils import is_param_in_hook_signature
from torch import Tensor
from torch.optim import Optimizer

from superpose.layers.statistics import tensors_in
from superpose.storage import write_whole
from superpose.train.watching.layers import gradient_norm, network_of
from superpose.train.watching.search import Finding, NonFiniteError, examine, find_nonfinite


@dataclass(frozen=True)
class Part:
    """One batch of a step, as it was before the step: a copy, and the states that randomness came from."""

    batch: Any
    batch_idx: int
    chance: dict[str, Any]


class StopAtNonFinite(Callback):
    """Stops before the update of the first step whose loss or gradients are not finite, and names where that began.

    It computes such a step once more, uncompiled and with hooks on every module, raises `NonFiniteError` with the first
    tensor that is not finite, and saves what is needed to see it again. Until then a step costs a copy of its batch, a
    pass over the gradients, and that the host waits for the device once, before the update.

    With a scale for float16, gradients that overflow are no error: the step is computed once more only to see whether
    a layer or the loss itself overflows, and if not, the scale is lowered as always. Once the scale is below 1 they are
    an error. Infinite activations that neither the loss nor a gradient shows, as those of masks, are none.

    In several processes all stop together, with what the first of them has found. Sharded networks are not supported.

    The file has, for `torch.load`, `step`, `epoch`, `state` (the state dict of the LightningModule), and `parts`, a list
    of the batches of the step, each with `batch` (dictionaries in place of named tuples), `batch_idx` and `chance` (the
    states of the random numbers). To look again:

        saved = torch.load(path)
        module.load_state_dict(saved["state"])
        images, labels = saved["parts"][0]["batch"].values()
        with the_chance(saved["parts"][0]["chance"]):
            print(find_nonfinite(module, lambda: cross_entropy(module(images), labels)))

    Args:
        folder: Where the file is written; if None, where the first logger with a folder writes.

    Raises:
        NonFiniteError: In a fit, if something is not finite.
        ValueError: When a fit starts, if the module optimizes by hand, so that a step cannot be computed again.
    """

    def __init__(self, folder: str | None = None) -> None:
        self._folder = folder
        self._parts: list[Part] = []
        self._losses: list[Tensor] = []

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse what cannot be repeated."""
        if not pl_module.automatic_optimization:
            raise ValueError(
                "StopAtNonFinite computes a bad step again, which changes the weights where a LightningModule optimizes by "
                "hand; use automatic optimization or leave the callback out."
            )
        self._clear()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Keep the batch as it is before the step, which may mix images in place."""
        self._parts.append(Part(copied(batch), batch_idx, chance()))

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        """Keep the loss, without waiting for it."""
        self._losses.append(loss.detach())

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Look at all losses and gradients of the step, while the weights are still those that made them."""
        largest = torch.stack([*(each.abs().max().float() for each in self._losses), _largest_gradient(pl_module)])
        bad = trainer.strategy.reduce((~torch.isfinite(largest)).sum().float(), reduce_op="sum")
        if bool(bad):
            self._stop(trainer, pl_module)
        self._clear()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Keep no batch."""
        self._clear()

    def _clear(self) -> None:
        self._parts, self._losses = [], []

    def _stop(self, trainer: Trainer, module: LightningModule) -> None:
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        forgiving = scaler is not None and scaler.get_scale() >= 1
        everyone = gathered(self._find(trainer, module, backward=not forgiving))
        if forgiving and not any(everyone):
            return
        first = next((rank for rank, finding in enumerate(everyone) if finding), 0)
        folder = Path(self._folder or logs_of(trainer))
        path = folder / f"nonfinite-step{trainer.global_step}-rank{first}.pt"
        if trainer.global_rank == first:
            folder.mkdir(parents=True, exist_ok=True)
            write_whole(path, self._saved(trainer, module))
        raise NonFiniteError(everyone[first], trainer.global_step, path)

    def _find(self, trainer: Trainer, module: LightningModule, *, backward: bool) -> Finding | None:
        """Compute the step once more. All parts run in all processes, for they may wait for each other."""
        scaler, found = getattr(trainer.precision_plugin, "scaler", None), None
        buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}

        def back(loss: Tensor) -> None:
            loss = loss / trainer.accumulate_grad_batches
            (loss if scaler is None else scaler.scale(loss)).backward()

        for part in self._parts:
            bad = [examine("batch", name or "batch", value) for name, value in tensors_in(part.batch)]
            with unheard(trainer, module), the_chance(part.chance):
                loss = partial(step, module, part)
                again = find_nonfinite(network_of(module), loss, back if backward else None)
            found = found or next(filter(None, bad), again)
        for name, buffer in module.named_buffers():
            buffer.copy_(buffers[name])
        return found

    def _saved(self, trainer: Trainer, module: LightningModule) -> bytes:
        parts = [{"batch": plain(p.batch), "batch_idx": p.batch_idx, "chance": p.chance} for p in self._parts]
        file = io.BytesIO()
        position = {"step": trainer.global_step, "epoch": trainer.current_epoch}
        torch.save({**position, "parts": parts, "state": module.state_dict()}, file)
        return file.getvalue()


def step(module: LightningModule, part: Part) -> Tensor | None:
    """The loss of a batch, as the Trainer computes it, but past what wraps the module."""
    takes_index = is_param_in_hook_signature(module.training_step, "batch_idx", min_args=2)
    batch = copied(part.batch)
    arguments = (batch, part.batch_idx) if takes_index else (batch,)
    with module.trainer.precision_plugin.train_step_context():
        output = module.training_step(*arguments)
    return output["loss"] if isinstance(output, dict) else output


@contextmanager
def unheard(trainer: Trainer, module: LightningModule) -> Iterator[None]:
    """Log nothing of what happens here."""
    loggers = trainer.loggers
    trainer.loggers = []
    for name in ("log", "log_dict"):
        object.__setattr__(module, name, lambda *_, **__: None)
    try:
        yield
    finally:
        trainer.loggers = loggers
        for name in ("log", "log_dict"):
            object.__delattr__(module, name)


def chance() -> dict[str, Any]:
    """The states of the global random numbers, of this process and its device."""
    name, keys, *rest = np.random.get_state()  # noqa: NPY002  what other people's code draws from
    gpu = torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None
    numpy = [name, torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest]
    return {"python": random.getstate(), "numpy": numpy, "cpu": torch.get_rng_state(), "gpu": gpu}


@contextmanager
def the_chance(states: dict[str, Any]) -> Iterator[None]:
    """Draw as after `chance` was called, and afterwards as if nothing had been drawn here."""
    name, keys, *rest = states["numpy"]
    with isolate_rng(include_cuda=torch.cuda.is_initialized()):
        random.setstate(states["python"])
        np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002  given back
        torch.set_rng_state(states["cpu"])
        if states["gpu"] is not None:
            torch.cuda.set_rng_state(states["gpu"])
        yield


def gathered(finding: Finding | None) -> list[Finding | None]:
    """What all processes have found."""
    distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    everyone: list[Finding | None] = [finding] * (torch.distributed.get_world_size() if distributed else 1)
    if distributed:
        torch.distributed.all_gather_object(everyone, finding)
    return everyone


def logs_of(trainer: Trainer) -> str:
    """The folder of the first logger that has one, or where the Trainer writes."""
    folders = (getattr(logger, "log_dir", None) for logger in trainer.loggers)
    return next(filter(None, folders), trainer.default_root_dir)


def copied(value: Any) -> Any:
    """The same batch with tensors of its own."""
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, dict):
        return {key: copied(part) for key, part in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*map(copied, value))
    return type(value)(map(copied, value)) if isinstance(value, list | tuple) else value


def plain(value: Any) -> Any:
    """The same with dictionaries in place of named tuples, whose types a file should not need."""
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return {key: plain(part) for key, part in zip(value._fields, value, strict=True)}
    return type(value)(map(plain, value)) if isinstance(value, list | tuple) else value


def _largest_gradient(module: LightningModule) -> Tensor:
    """The maximum norm overflows in no precision."""
    return gradient_norm(module, float("inf")).to(module.device, torch.float32)
