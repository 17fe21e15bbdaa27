"""What flows through the layers of a network: moments of their outputs, and what rational functions are given."""

import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from superpose.layers.group_rational import GroupRational
from superpose.ops.rational import rational


@dataclass(frozen=True)
class LayerStatistics:
    """One layer on some data.

    Attributes:
        mean: Of the values it gives.
        variance: Of the same, over everything: samples, positions and channels.
        smallest_q: Smallest denominator of a `GroupRational` at the values it is given; 1 is the least there can be.
        outside: Share of these values outside the interval that its activation was fitted on.
    """

    mean: float
    variance: float
    smallest_q: float = math.inf
    outside: float = 0.0

    @property
    def rms(self) -> float:
        """Root of the mean square of the values it gives."""
        return math.sqrt(self.variance + self.mean**2)


def layers_of(model: nn.Module, patterns: Sequence[str] | None = None) -> dict[str, nn.Module]:
    """Layers of a network by their names, in the order in which the network lists them.

    Args:
        model: The network, compiled or not.
        patterns: Which: names such as `"blocks.3.mlp.fc1"`, where `*` stands for anything. If None, all `GroupRational`
            and what stands in an `nn.Sequential` or `nn.ModuleList`, such as the blocks of a transformer; in a network
            that has neither, all modules with parameters of their own.

    Raises:
        ValueError: If nothing has such a name.

    Example:
        >>> list(layers_of(nn.Sequential(nn.Linear(2, 8), nn.ReLU(), GroupRational(8))))
        ['0', '2']
    """
    named = {name.replace("_orig_mod.", ""): module for name, module in model.named_modules() if name}
    named.pop("_orig_mod", None)
    if patterns is None:
        stacked = {id(child) for m in model.modules() if isinstance(m, nn.Sequential | nn.ModuleList) for child in m}
        found = {
            name: module
            for name, module in named.items()
            if isinstance(module, GroupRational) or (id(module) in stacked and any(True for _ in module.parameters()))
        }
        return found or {name: m for name, m in named.items() if any(True for _ in m.parameters(recurse=False))}
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in named):
            raise ValueError(f"no layer is called {pattern!r}; there are {', '.join(list(named)[:20])}, ...")
    return {name: module for name, module in named.items() if any(fnmatchcase(name, each) for each in patterns)}


class Recorder:
    """Measures layers as they run, between `attach` and `detach`.

    Compiled code runs no hooks that come later: while attached, what has been compiled runs as it was written.

    Args:
        layers: The layers, by name.
    """

    FIELDS = 5
    """Of a measurement: how many values, their mean and variance, the smallest Q, the share outside."""

    def __init__(self, layers: Mapping[str, nn.Module]) -> None:
        self._layers = dict(layers)
        self._parts: dict[str, list[Tensor]] = {name: [] for name in layers}
        self._undo: Any = None

    def attach(self) -> None:
        """Begin, or go on, to measure."""
        self._undo = seeing(self._layers, self._see)
        self._undo.__enter__()

    def detach(self) -> None:
        """Leave no trace in the network."""
        if self._undo is not None:
            self._undo.__exit__(None, None, None)
            self._undo = None

    def measured(self, device: torch.device) -> Float[Tensor, "layers fields"]:
        """A row for each layer, over everything since the beginning; one that has not run has no values."""
        nothing = torch.tensor([[0.0, 0.0, 0.0, math.inf, 0.0]], device=device)
        return torch.stack([pooled(torch.stack(parts) if parts else nothing) for parts in self._parts.values()])

    def named(self, rows: Float[Tensor, "layers fields"]) -> dict[str, LayerStatistics]:
        """The same as numbers, without layers that have not run."""
        table = zip(self._parts, rows.tolist(), strict=True)
        return {name: LayerStatistics(*row[1:]) for name, row in table if row[0]}

    @torch.no_grad()
    def _see(self, name: str, module: nn.Module, x: Any, y: Any) -> None:
        value = next((v for _, v in tensors_in(y) if v.numel()), None)
        if value is None:
            return
        variance, mean = torch.var_mean(value.float(), correction=0)
        extremes = _extremes(module, x[0]) if isinstance(module, GroupRational) else (math.inf, 0.0)
        row = [float(value.numel()), mean, variance, *extremes]
        self._parts[name].append(torch.stack([v if isinstance(v, Tensor) else mean.new_full((), v) for v in row]))


@torch.no_grad()
def layer_statistics(
    model: nn.Module, *inputs: Any, modules: Sequence[str] | None = None
) -> dict[str, LayerStatistics]:
    """The moments of what each layer gives, as the model computes its outputs in evaluation mode.

    Args:
        model: The network.
        inputs: Its arguments, such as a batch of images.
        modules: Which layers, see `layers_of`.

    Raises:
        ValueError: If nothing has such a name.

    Example:
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 8))
        >>> list(layer_statistics(model, torch.ones(3, 2, 2)))
        ['1']
    """
    recorder = Recorder(layers_of(model, modules))
    with evaluating(model):
        recorder.attach()
        try:
            model(*inputs)
        finally:
            recorder.detach()
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    return recorder.named(recorder.measured(device))


def pooled(parts: Float[Tensor, "parts *layers fields"]) -> Float[Tensor, "*layers fields"]:
    """The measurement of all parts together (Chan, Golub and LeVeque 1979, which loses no digits to large means)."""
    count, mean, variance, smallest, outside = parts.unbind(-1)
    total = count.sum(0)
    share = count / total.clamp(min=1)
    middle = (share * mean).sum(0)
    spread = (share * (variance + (mean - middle).square())).sum(0)
    return torch.stack([total, middle, spread, smallest.amin(0), (share * outside).sum(0)], -1)


@contextmanager
def seeing(layers: Mapping[str, nn.Module], see: Callable[[str, nn.Module, Any, Any], None]) -> Iterator[None]:
    """Call `see(name, module, arguments, output)` whenever one of the layers has run."""

    def hook(name: str, module: nn.Module, x: Any, y: Any) -> None:
        see(name, module, x, y)

    with uncompiled():
        hooks = [module.register_forward_hook(partial(hook, name)) for name, module in layers.items()]
        try:
            yield
        finally:
            for each in hooks:
                each.remove()


def uncompiled() -> AbstractContextManager[Any]:
    """Let what `torch.compile` has made run as it was written, so that hooks see it."""
    if "torch._dynamo" not in sys.modules:  # nothing has been compiled, and importing it takes seconds
        return nullcontext()
    return torch.compiler.set_stance("force_eager")


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put the model into evaluation mode for a while, and then each of its modules into the mode it had."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def tensors_in(value: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """The floating-point tensors in lists, tuples and dictionaries, with the names of their places."""
    if isinstance(value, Tensor):
        if value.is_floating_point():
            yield name, value
        return
    places: Any = ()
    if isinstance(value, Mapping):
        places = value.items()
    elif isinstance(value, tuple) and hasattr(value, "_fields"):
        places = zip(value._fields, value, strict=True)
    elif isinstance(value, list | tuple):
        places = enumerate(value)
    for place, part in places:
        yield from tensors_in(part, f"{name}.{place}" if name else str(place))


def _extremes(layer: GroupRational, x: Tensor) -> tuple[Tensor, Tensor]:
    """The smallest Q at these points, and the share of them outside the interval of the fit."""
    low, high = layer.fit.interval
    one, wide = layer.weight_denominator.new_ones(1, 1), x.float()
    reciprocal = rational(wide, one, layer.weight_denominator, layer.form, layer.axis)
    return 1 / reciprocal.amax().float(), ((wide < low) | (wide > high)).float().mean()
