"""What a run leaves behind: `last.ckpt` to go on from, and `best.safetensors` to use."""

from pathlib import Path
from typing import Any

from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint
from safetensors.torch import save as to_bytes

from superpose.storage import write_whole

LAST = "last.ckpt"
BEST = "best"
MODEL = "task.model."
"""What the names of the network's weights begin with in the state of the LightningModule."""


class SaveLast(Checkpoint):
    """Writes `last.ckpt` after each epoch and every so many steps, when all other callbacks have done theirs.

    Args:
        folder: Of the run.
        every: Steps between two checkpoints.
    """

    def __init__(self, folder: Path, every: int) -> None:
        self._path, self._every = folder / LAST, every
        self._saved = -1

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Save in an epoch; at its end that waits for the validation, at its start for all batches of the first step."""
        step = trainer.global_step
        if (
            step > 0
            and step % self._every == 0
            and step != self._saved
            and not trainer.fit_loop.epoch_loop.batch_progress.is_last_batch
        ):
            self._save(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save after an epoch and its validation."""
        self._save(trainer)

    def _save(self, trainer: Trainer) -> None:
        self._saved = trainer.global_step
        trainer.save_checkpoint(self._path)


class SaveBest(ModelCheckpoint):
    """Writes `best.safetensors` whenever a validation is the best so far: the network's weights, averaged if they are.

    Args:
        folder: Of the run.
        metric: What is the best, such as `val/top1`.
        mode: `max` or `min`.
    """

    FILE_EXTENSION = ".safetensors"

    def __init__(self, folder: Path, metric: str, mode: str) -> None:
        super().__init__(folder, BEST, metric, mode=mode, save_top_k=1, enable_version_counter=False)


class Files(TorchCheckpointIO):
    """Writes checkpoints whole or not at all; what ends in `.safetensors` holds the network's weights alone."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write one file."""
        if Path(path).suffix != SaveBest.FILE_EXTENSION:
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        state = checkpoint["state_dict"]
        weights = {k.removeprefix(MODEL): v.contiguous().clone() for k, v in state.items() if k.startswith(MODEL)}
        words = {"epoch": str(checkpoint["epoch"]), "step": str(checkpoint["global_step"])}
        write_whole(Path(path), to_bytes(weights, words))
