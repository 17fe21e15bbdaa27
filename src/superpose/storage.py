"""Networks in files: safetensors with the configuration inside, so that loading one runs no code.

The header holds one string of ours, JSON: the format, the version that wrote it, the class and widths, the basis and the
base (or activation) of every layer, the user's metadata, and the digest of all these and of the tensors, so that a
damaged file is an error and never a slightly different network. Equal networks give equal files.
"""

import hashlib
import inspect
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

import superpose
from superpose import bases
from superpose.bases import Basis
from superpose.layers import KANLinear
from superpose.models import KAN, MLP
from superpose.models.mlp import Dense

FORMAT = 3
"""The newest format. Format 1 held the coefficients as (outputs, inputs, functions); it is still read."""
WITHOUT_PRODUCTS = 2
"""Format of a network whose nodes are sums, as before there were products: an older superpose reads it too."""
# fmt: off
ACTIVATIONS = (
    "CELU", "ELU", "GELU", "Hardshrink", "Hardsigmoid", "Hardswish", "Hardtanh", "Identity", "LeakyReLU", "LogSigmoid",
    "Mish", "PReLU", "ReLU", "ReLU6", "SELU", "SiLU", "Sigmoid", "Softplus", "Softshrink", "Softsign", "Tanh",
    "Tanhshrink",
)
# fmt: on
"""Modules of `torch.nn` that a file may name as base or activation."""

_WAY_OUT = "save model.state_dict() with safetensors instead, and build the network in code before loading it"


def save(model: KAN | MLP, path: str | os.PathLike[str], metadata: Mapping[str, Any] | None = None) -> None:
    """Write a network to one safetensors file, whole or not at all.

    Args:
        model: A `KAN` or `MLP` on any device and of any float dtype.
        path: The file; one that exists is replaced.
        metadata: Anything JSON can hold, for `read_metadata`; tuples come back as lists.

    Raises:
        ValueError: If a basis or module of the network is not one a file can name, or a value is NaN or infinite: a
            file is for a network that somebody will trust.
        TypeError: If the model is not a network of ours, or the metadata is not JSON.
        FileNotFoundError: If the folder does not exist.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     save(KAN((2, 5, 1)), f"{folder}/model.safetensors", {"columns": ["x", "y"]})
        ...     read_metadata(f"{folder}/model.safetensors")
        {'columns': ['x', 'y']}
    """
    config = _describe(model)
    state = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in model.state_dict().items()}
    _check_state(state, _build(config).state_dict())
    written = FORMAT if "arities" in config else WITHOUT_PRODUCTS
    document = {"format": written, "version": superpose.__version__, **config, "metadata": _check_metadata(metadata)}
    text = json.dumps({**document, "sha256": _digest(document, state)})
    write_whole(Path(path), to_bytes(state, {"superpose": text}))


def load(path: str | os.PathLike[str]) -> KAN | MLP:
    """The network in a file, on the CPU, equal bit for bit to the one that was saved.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged, holds no network of ours, or was written by a newer superpose.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     save(KAN((2, 5, 1)), f"{folder}/model.safetensors")
        ...     load(f"{folder}/model.safetensors").widths
        (2, 5, 1)
    """
    document, state = _read(Path(path))
    try:
        model = _build(document)
        model.load_state_dict(state, assign=True)
    except (AttributeError, LookupError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{path} describes a network that cannot be built: {error}") from error
    return model


def read_metadata(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What was given to `save` as metadata, or an empty dictionary.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged, holds no network of ours, or was written by a newer superpose.
    """
    document, _ = _read(Path(path))
    return document["metadata"]


def _describe(model: KAN | MLP) -> dict[str, Any]:
    """The configuration from which `_build` makes a network of the same shape."""
    if type(model) not in (KAN, MLP):
        raise TypeError(f"save takes a KAN or an MLP, got {type(model).__name__}; for any other module, {_WAY_OUT}.")
    layers: list[Any] = list(model.layers)
    expected = KANLinear if isinstance(model, KAN) else Dense
    for n, layer in enumerate(layers):
        if type(layer) is not expected:
            raise ValueError(f"layer {n} is a {type(layer).__name__}, not a {expected.__name__}; {_WAY_OUT}.")
    used = [layer.base if expected is KANLinear else layer.activation for layer in layers]
    modules = list(dict.fromkeys(used))  # layers that share a module keep sharing it
    described: list[dict[str, Any]] = [{"module": modules.index(module)} for module in used]
    if expected is KANLinear:
        described = [{"basis": _describe_basis(layer.basis), **d} for layer, d in zip(layers, described, strict=True)]
        described = [
            d if layer.mask is None else {**d, "pruned": True} for layer, d in zip(layers, described, strict=True)
        ]
    products = {}
    if isinstance(model, KAN) and any(max(row) > 1 for row in model.arities):
        products = {"arities": [list(row) for row in model.arities]}
    return {
        "class": type(model).__name__,
        "widths": list(model.widths),
        **products,
        "dtypes": sorted({str(tensor.dtype).removeprefix("torch.") for tensor in model.state_dict().values()}),
        "modules": [_describe_module(module) for module in modules],
        "layers": described,
    }


def _describe_basis(basis: Basis) -> dict[str, Any]:
    family = type(basis).__name__
    if getattr(bases, family, None) is not type(basis):
        raise ValueError(f"the basis {family} is not one of superpose.bases, so a file cannot name it; {_WAY_OUT}.")
    return {"class": family, "arguments": basis.config()}


def _describe_module(module: nn.Module) -> dict[str, Any]:
    """Name and arguments of an activation; those of `torch.nn` keep their arguments as attributes of the same name."""
    name = type(module).__name__
    if name not in ACTIVATIONS or type(module) is not getattr(nn, name):
        raise ValueError(f"the module {name} is none of torch.nn's {', '.join(ACTIVATIONS)}; {_WAY_OUT}.")
    known = [argument for argument in inspect.signature(type(module)).parameters if hasattr(module, argument)]
    return {"class": name, "arguments": {argument: getattr(module, argument) for argument in known}}


def _build(config: Mapping[str, Any]) -> KAN | MLP:
    """A network of the described shape; its numbers mean nothing yet."""
    widths, layers = config["widths"], config["layers"]
    modules = [_build_module(described) for described in config["modules"]]
    if config["class"] == "MLP":
        mlp = MLP(widths, generator=torch.Generator())
        for layer, described in zip(mlp.layers, layers, strict=True):
            layer.activation = modules[described["module"]]
        return mlp
    if config["class"] != "KAN":
        raise ValueError(f"the class is {config['class']!r}, not KAN or MLP.")
    kan = KAN([widths[0], *config.get("arities", widths[1:])], init=_leave)
    if list(kan.widths) != widths:
        raise ValueError(f"the widths are {widths}, but the arities are those of {list(kan.widths)}.")
    for n, described in zip(range(len(kan.layers)), layers, strict=True):
        shape, base = (kan.layers[n].in_features, kan.layers[n].out_features), modules[described["module"]]
        kan.layers[n] = KANLinear(*shape, _build_basis(described["basis"]), base=base, init=_leave)
        if described.get("pruned"):
            kan.layers[n].mask = torch.ones(shape[1], shape[0], dtype=torch.bool)
    return kan


def _leave(layer: KANLinear, generator: torch.Generator | None) -> None:
    """Initialise nothing."""


def _build_basis(described: Mapping[str, Any]) -> Basis:
    family = getattr(bases, described["class"], None)
    if not (isinstance(family, type) and issubclass(family, Basis)):
        raise ValueError(f"{described['class']!r} is not one of superpose.bases.")
    return family(**described["arguments"])


def _build_module(described: Mapping[str, Any]) -> nn.Module:
    if described["class"] not in ACTIVATIONS:
        raise ValueError(f"{described['class']!r} is not an activation that a file may name.")
    return getattr(nn, described["class"])(**described["arguments"])


def _check_state(state: Mapping[str, Tensor], rebuilt: Mapping[str, Tensor]) -> None:
    """What is written can be read back, and is worth it."""
    for name in sorted(state.keys() | rebuilt.keys()):
        if name not in state or name not in rebuilt or state[name].shape != rebuilt[name].shape:
            raise ValueError(f"{name} does not fit the network that its own configuration describes; {_WAY_OUT}.")
        bad = int((~state[name].isfinite()).sum())
        if bad:
            raise ValueError(
                f"{name} holds {bad} values that are NaN or infinite, which no model should; fit it again, or {_WAY_OUT}."
            )


def _check_metadata(metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    try:
        return json.loads(json.dumps(dict(metadata or {}), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise TypeError(f"metadata must be a dictionary of what JSON can hold: {error}.") from error


def _digest(document: Mapping[str, Any], state: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(json.dumps(document).encode())
    for name in sorted(state):
        tensor = state[name]
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def write_whole(path: Path, data: bytes) -> None:
    """Write beside the file and rename, so that a reader sees the old file or the new one and never half of one."""
    if not path.parent.is_dir():
        raise FileNotFoundError(f"the folder {path.parent} does not exist.")
    beside = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        with beside.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The checked configuration and tensors of a file."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}.")
    try:
        with safe_open(path, framework="pt") as file:
            document = json.loads((file.metadata() or {}).get("superpose", "null"))
            state = {name: file.get_tensor(name).clone() for name in file.keys()} if document else {}  # noqa: SIM118
    except (SafetensorError, AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{path} {_guess(path)} ({error}).") from error
    if not isinstance(document, dict):
        raise ValueError(f"{path} holds tensors but no network of superpose; read it with safetensors.")
    written = document.get("format")
    if isinstance(written, int) and written > FORMAT:
        raise ValueError(
            f"{path} has format {written}, written by superpose {document.get('version')}; this is "
            f"{superpose.__version__}, which reads format {FORMAT}: upgrade superpose."
        )
    if document.pop("sha256", None) != _digest(document, state):
        raise ValueError(f"{path} is damaged: its contents do not match the digest written with them.")
    if written == 1:
        old = [name for name in state if name.endswith(".coef")]
        state |= {name: state[name].permute(1, 2, 0).contiguous() for name in old}
    return document, state


def _guess(path: Path) -> str:
    """What a file that cannot be read seems to be."""
    with path.open("rb") as file:
        start = file.read(9)
    if start[:2] != b"PK" and (start[:1] != b"\x80" or start[8:] == b"{"):
        return "is not a safetensors file, or is damaged"
    return "looks like a pickle or archive, which can run code and is never opened; superpose.save writes safetensors"
