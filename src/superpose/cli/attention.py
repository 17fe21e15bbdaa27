"""superpose attention: where every head of a vision transformer looks in an image."""

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from superpose.cli.printing import checked_out, refuse, size, terminal

if TYPE_CHECKING:
    from jsonargparse import Namespace


def run(chosen: "Namespace") -> None:
    """Draw the maps of all layers and heads."""
    out = checked_out(chosen.out, chosen.image)
    assert out is not None
    try:
        with terminal(stderr=True).status("starting ..."):  # PyTorch, Lightning and timm take seconds
            model, transform = _of_run(Path(chosen.model)) if Path(chosen.model).exists() else _of_timm(chosen)
            picture = _draw(model, transform(_opened(chosen.image)), chosen.token)
    except ModuleNotFoundError as error:
        refuse(f"superpose attention needs {error.name}: pip install 'superpose[vision]'.")
    except (TypeError, ValueError) as error:
        refuse(str(error))
    from superpose.storage import write_whole

    try:
        write_whole(out, picture)
    except OSError as error:
        refuse(f"{out} cannot be written: {error.strerror or error}.")
    console = terminal()
    if chosen.untrained:
        console.print("These weights are untrained: the maps show what attention is before anything is learned.")
    console.print(f"Wrote {out} ({size(out)}).", soft_wrap=True)


def _draw(model: Any, image: Any, token: str | None) -> bytes:
    """The picture as a PNG file."""
    from superpose.plotting import plot_attention
    from superpose.plotting.canvas import figure_of
    from superpose.vision.attention_maps import attention_maps

    maps = attention_maps(model, image.unsqueeze(0))
    default = "class" if maps.class_token else "mean"
    query: Any = default if token is None else int(token) if token.isdecimal() else token
    file = io.BytesIO()
    figure_of(plot_attention(maps, image, query=query)).savefig(file, format="png", dpi=150)
    return file.getvalue()


def _opened(path: str) -> Any:
    from PIL import Image, UnidentifiedImageError

    try:
        return Image.open(path).convert("RGB")
    except (OSError, UnidentifiedImageError) as error:
        refuse(f"{path} cannot be read as an image: {error}.")


def _of_run(path: Path) -> tuple[Any, Any]:
    """The network of a run of superpose train or pretrain, and what makes its input of an image."""
    from superpose.train.config import read
    from superpose.train.evaluation import find_weights, read_weights

    weights = find_weights(path)
    file = weights.parent / "config.yaml"
    if not file.is_file():
        refuse(f"there is no {file}; name the folder of a run, which has the configuration beside the weights.")
    # The weights hold all that was learned: the run that fine-tuning began with may be gone.
    more = ["--task.encoder", "scratch"] if "FineTuning" in file.read_text("utf-8") else []
    config = read(["--config", str(file), *more])
    model: Any = config.task.model
    try:
        state = read_weights(weights)
    except ValueError as error:
        refuse(str(error))
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        refuse(f"{weights} does not fit the network of {file}: {error}")
    model = getattr(model, "encoder", model)  # of a masked autoencoder
    pixels = getattr(config.data, "pixels", None)
    if pixels is None or not hasattr(model, "patch_embed"):
        refuse(f"{path} is not a run with a vision transformer for whole images.")
    height, width = model.patch_embed.img_size
    crop = getattr(config.data, "crop", 1.0)
    return model, _transform((pixels.channels, height, width), pixels.mean, pixels.std, crop)


def _of_timm(chosen: "Namespace") -> tuple[Any, Any]:
    """A model by the name that timm knows it by."""
    import timm

    from superpose import vision as vision  # registers our models

    name = chosen.model
    if not timm.is_model(name):
        refuse(f"{name} is neither a run of superpose train nor a model of timm; timm.list_models() has all of them.")
    if not chosen.untrained and not timm.models.is_model_pretrained(name):
        refuse(f"nobody has published weights of {name}; name a run, or add --untrained to see its first weights.")
    try:
        model = timm.create_model(name, pretrained=not chosen.untrained)
    except (OSError, RuntimeError) as error:
        refuse(f"the weights of {name} cannot be had: {error}")
    config = timm.data.resolve_model_data_config(model)
    return model, _transform(config["input_size"], config["mean"], config["std"], config["crop_pct"])


def _transform(shape: Any, mean: Any, std: Any, crop: float) -> Any:
    from timm.data import create_transform

    return create_transform(
        input_size=tuple(shape), interpolation="bicubic", mean=tuple(mean), std=tuple(std), crop_pct=crop
    )
