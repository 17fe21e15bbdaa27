"""Learning from images without labels, and from there to a classifier."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import timm
import torch
from safetensors.torch import save as to_bytes
from torch import Tensor
from torchmetrics import MeanMetric, MetricCollection

from superpose.data.views import Batch
from superpose.storage import write_whole
from superpose.train.classification import Classification
from superpose.train.task import Task
from superpose.vision.mae import MaskedAutoencoder, fix_positions_
from superpose.vision.transfer import load_encoder_

MASKS = 38
"""Chooses the masks that judge: the same ones after each epoch and in all runs."""
SCRATCH = "scratch"
"""What is given in place of an encoder to begin without one; nothing begins so by mistake."""


@dataclass(frozen=True)
class Decoder:
    """The smaller transformer that guesses what is hidden; it is thrown away afterwards.

    Args:
        dim: Its width.
        depth: Number of its blocks.
        heads: Number of its heads.
        attention: Kind of attention, or a list of one for each block, see `superpose.vision.kernel_vit`.
        arguments: Further arguments of timm's `Block`, such as `mlp_ratio` or `proj_drop`.
    """

    dim: int = 512
    depth: int = 8
    heads: int = 16
    attention: Any = "softmax"
    arguments: dict[str, Any] | None = None


class Pretraining(Task):
    """A masked autoencoder, see `superpose.vision.mae`, and the mean squared error in hidden patches.

    What it leaves behind, `best.safetensors`, is what `FineTuning` begins with.

    Args:
        model: Name of a vision transformer that timm knows; `kernel_vit_...` are ours.
        model_arguments: More arguments of `timm.create_model`, such as `attention` or `img_size`.
        decoder: What guesses.
        ratio: Share of the patches that is hidden.
        norm_pix: Whether the pixels of each patch are normalised before they are guessed.
        positions: `fixed` sines and cosines, or `learned` ones.

    Raises:
        ValueError: If timm knows no such model, or the parts do not fit each other.

    Example:
        >>> task = Pretraining("kernel_vit_nano_patch4_32", decoder=Decoder(32, 1, 4))
        >>> sorted(task.loss(Batch(torch.zeros(2, 3, 32, 32), torch.tensor([3, 4]))))
        ['loss']
    """

    model: MaskedAutoencoder

    def __init__(
        self,
        model: str,
        *,
        model_arguments: dict[str, Any] | None = None,
        decoder: Decoder = Decoder(),
        ratio: float = 0.75,
        norm_pix: bool = True,
        positions: Literal["fixed", "learned"] = "fixed",
    ) -> None:
        super().__init__()
        if not timm.is_model(model):
            raise ValueError(f"timm knows no model {model!r}; timm.list_models() has all of them.")
        try:
            encoder = timm.create_model(model, **{"num_classes": 0, **(model_arguments or {})})
            self.model = MaskedAutoencoder(
                fix_positions_(encoder) if positions == "fixed" else encoder,
                decoder.dim,
                decoder.depth,
                decoder.heads,
                attention=decoder.attention,
                ratio=ratio,
                norm_pix=norm_pix,
                **(decoder.arguments or {}),
            )
        except TypeError as error:
            raise ValueError(
                f"{model} with the arguments {model_arguments} and {decoder} does not do: {error}"
            ) from error
        self.metrics = MetricCollection({"loss": MeanMetric()})

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The error in patches hidden at random."""
        return {"loss": self.model.loss(batch.images, self.model.draw(batch.images))}

    def judge(self, batch: Batch) -> None:
        """The error with masks that are the same each time, so that it falls only if the network has learned."""
        visible = self.model.draw(batch.images, torch.Generator().manual_seed(MASKS))
        self.metrics.update(self.model.loss(batch.images, visible), weight=len(batch.images))


class FineTuning(Classification):
    """Classification by a network that begins as a pretrained encoder. All of its weights are learned further.

    Args:
        model: Name of a model that timm knows, the architecture of the encoder.
        num_classes: Number of classes.
        encoder: Folder of a run of `Pretraining`, or a file of weights. Every weight must have its place and every
            place but the classifier's its weight. `scratch` stands for none; `--task.encoder scratch` also lets a
            finished run be judged whose encoder is no longer to be found.
        leave_out: Parts of the network to begin from scratch, and parts of the encoder to drop, by the beginnings of
            their names, see `superpose.vision.transfer.load_encoder_`.
        **classification: Arguments of `Classification`.

    Raises:
        ValueError: If the encoder is not that of the model.
    """

    def __init__(
        self,
        model: str,
        num_classes: int,
        *,
        encoder: str,
        leave_out: Sequence[str] = (),
        **classification: Any,
    ) -> None:
        super().__init__(model, num_classes, **classification)
        if encoder == SCRATCH:
            return
        from superpose.train.evaluation import find_weights, read_weights  # which know all tasks

        if not Path(encoder).exists():
            raise ValueError(
                f"there is no file {encoder} to take the encoder from; give the run of superpose pretrain, or a file of "
                "weights, by --task.encoder (superpose finetune also takes --encoder). "
                f"--task.encoder {SCRATCH} begins without one, and is enough to continue or judge a run of fine-tuning."
            )
        path = find_weights(Path(encoder))
        try:
            load_encoder_(self.model, read_weights(path), leave_out)
        except ValueError as error:
            raise ValueError(f"{path} cannot be fine-tuned as {model}: {error}") from error


def save_encoder(mae: MaskedAutoencoder, path: str | Path) -> None:
    """Write the weights of a pretrained encoder, for `timm.create_model(..., num_classes=0, checkpoint_path=path)`.

    Args:
        mae: The autoencoder.
        path: The file, by custom `*.safetensors`; written whole or not at all.
    """
    weights = {name: value.detach().cpu().contiguous() for name, value in mae.encoder.state_dict().items()}
    write_whole(Path(path), to_bytes(weights))
