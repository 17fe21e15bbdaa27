"""Weights from one vision transformer to another, all of them or an error."""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

ENCODER = "encoder."
"""What the names of the encoder's weights begin with in a masked autoencoder."""


def encoder_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of the encoder of a masked autoencoder, as the encoder's own `state_dict` has them.

    Args:
        state: The `state_dict` of the autoencoder; that of another network comes back as it is.

    Example:
        >>> import torch
        >>> list(encoder_weights({"encoder.norm.weight": torch.ones(2), "mask_token": torch.ones(2)}))
        ['norm.weight']
    """
    mine = {name.removeprefix(ENCODER): value for name, value in state.items() if name.startswith(ENCODER)}
    return mine or dict(state)


def load_encoder_(model: nn.Module, state: Mapping[str, Tensor], leave_out: Sequence[str] = ()) -> nn.Module:
    """Give a network the weights of a pretrained encoder. Each weight has its place, and each place its weight.

    Only the classifier, timm's `head`, keeps the weights it has, with what `leave_out` names.

    Args:
        model: A network of timm, with the architecture of the encoder.
        state: The `state_dict` of the encoder, or of a `superpose.vision.mae.MaskedAutoencoder`.
        leave_out: Parts neither to take from `state` nor to expect there, by the beginnings of their names up to a dot:
            `("blocks.6", "blocks.7")` for a network of six blocks from an encoder of eight.

    Returns:
        The model itself.

    Raises:
        ValueError: If a weight is missing, or has no place, or has another shape; or if a part to leave out exists on
            neither side. The model is then as before.

    Example:
        >>> import timm
        >>> encoder = timm.create_model("test_vit", num_classes=0)
        >>> model = load_encoder_(timm.create_model("test_vit", num_classes=10), encoder.state_dict())
        >>> bool((model.cls_token == encoder.cls_token).all())
        True
    """
    given, wanted = encoder_weights(state), model.state_dict()
    unknown = [part for part in leave_out if not any(_is_of(name, [part]) for name in (*given, *wanted))]
    if unknown:
        raise ValueError(f"leave_out names {', '.join(unknown)}, which neither the network nor the weights have.")
    parts = [*leave_out, "head"]
    given = {name: value for name, value in given.items() if not _is_of(name, parts)}
    needed = {name: value for name, value in wanted.items() if not _is_of(name, parts)}
    _check(given, needed)
    model.load_state_dict({**wanted, **given})
    return model


def _is_of(name: str, parts: Sequence[str]) -> bool:
    return any(f"{name}.".startswith(f"{part}.") for part in parts)


def _check(given: Mapping[str, Tensor], needed: Mapping[str, Tensor]) -> None:
    """Raise what does not fit."""
    shapes = [
        f"{name} {tuple(given[name].shape)} instead of {tuple(needed[name].shape)}"
        for name in needed.keys() & given.keys()
        if given[name].shape != needed[name].shape
    ]
    wrong = {
        "missing": [name for name in needed if name not in given],
        "without a place": [name for name in given if name not in needed],
        "of another shape": sorted(shapes),
    }
    if any(wrong.values()):
        said = "; ".join(f"{what}: {', '.join(names)}" for what, names in wrong.items() if names)
        raise ValueError(
            f"the weights are not those of this network: {said}. Make the network as the encoder was made (for another "
            "size of images call its set_input_size afterwards), or name what shall stay as it is in leave_out."
        )
