"""The networks that are timed beside each other, on the same shapes, and the checks that they are what they say."""

import contextlib
import copy
import hashlib
import importlib
import importlib.metadata
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from peers.rounds import Call
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from superpose import KAN, BSpline, using

OURS = ("superpose", "plain", "reference")
PEERS = {"efficient-kan": "efficient_kan.kan", "FastKAN": "fastkan.fastkan", "pykan": "kan.MultKAN"}
"""Names of the peers, and the module that holds each one's network."""

DEGREE = 3


@dataclass(frozen=True)
class Row:
    """A shape, and how fast it is meant to be: ratios of ours to others, for the training step and for the forward pass."""

    widths: tuple[int, ...]
    intervals: int
    batch: int
    targets: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{'-'.join(map(str, self.widths))}, {self.intervals}"

    @property
    def edges(self) -> list[int]:
        return [i * o for i, o in zip(self.widths, self.widths[1:], strict=False)]

    @property
    def hidden(self) -> int:
        """Width of the perceptron with one hidden layer that comes nearest in number of parameters."""
        inputs, outputs = self.widths[0], self.widths[-1]
        parameters = sum(self.edges) * (self.intervals + DEGREE + 1)
        return max(1, round((parameters - outputs) / (inputs + 1 + outputs)))

    def data(self, seed: int = 0) -> tuple[Tensor, Tensor]:
        """Inputs spread evenly over [-1, 1], and targets of normal noise."""
        generator = torch.Generator().manual_seed(seed)
        x = 2 * torch.rand(self.batch, self.widths[0], generator=generator) - 1
        return x, torch.randn(self.batch, self.widths[-1], generator=generator)


@dataclass(frozen=True)
class Column:
    """A network under a name, and the implementation it is run by."""

    name: str
    model: nn.Module
    context: Callable[[], AbstractContextManager[Any]] = contextlib.nullcontext

    @property
    def parameters(self) -> list[nn.Parameter]:
        return [p for p in self.model.parameters() if p.requires_grad]

    def forward(self, x: Tensor) -> Call:
        """A forward pass without a graph."""

        def run() -> None:
            with torch.no_grad():
                self.model(x)

        return Call(run, context=self.context)

    def step(self, x: Tensor, y: Tensor, optimizer: torch.optim.Optimizer | None = None) -> Call:
        """Forget gradients, forward, loss, backward, and the optimiser's part if there is one."""
        parameters = self.parameters

        def run() -> None:
            for p in parameters:
                p.grad = None
            mse_loss(self.model(x), y).backward()
            if optimizer is not None:
                optimizer.step()

        return Call(run, context=self.context)

    def backward(self, x: Tensor, cotangent: Tensor) -> Call:
        """The backward pass alone."""
        parameters, held = self.parameters, []

        def prepare() -> None:
            x.grad = None
            for p in parameters:
                p.grad = None
            held[:] = [self.model(x)]

        return Call(lambda: held.pop().backward(cotangent), prepare, self.context)


def network(row: Row) -> KAN:
    """Ours, from seed 0."""
    return KAN(row.widths, BSpline(row.intervals, DEGREE), generator=torch.Generator().manual_seed(0))


def perceptron(row: Row) -> nn.Sequential:
    """PyTorch's own layers, since ours would change units at both ends."""
    return nn.Sequential(nn.Linear(row.widths[0], row.hidden), nn.SiLU(), nn.Linear(row.hidden, row.widths[-1]))


def peer(name: str, module: ModuleType, row: Row) -> nn.Module:
    """Another library's network at its fastest: same grid, same degree, nothing switched on that training does not need."""
    widths, intervals = list(row.widths), row.intervals
    if name == "efficient-kan":  # without the factor on each spline it is faster and has our parameters
        pairs = zip(widths, widths[1:], strict=False)
        layers = [module.KANLinear(*p, intervals, DEGREE, enable_standalone_scale_spline=False) for p in pairs]
        return nn.Sequential(*layers)
    if name == "FastKAN":
        return module.FastKAN(widths, grid_min=-1.0, grid_max=1.0, num_grids=intervals + DEGREE)
    with torch.random.fork_rng(devices=[]):  # it sets the seed
        return module.MultKAN(widths, grid=intervals, k=DEGREE, grid_range=[-1, 1], auto_save=False).speed()


def columns(
    row: Row, modules: Mapping[str, ModuleType], *, most: Callable[[str], bool] = lambda _: True
) -> list[Column]:
    """All networks of a row that are wanted; ours are one network under several implementations."""
    ours = network(row)
    made = [Column("superpose", ours)]
    made += [Column(name, ours, partial(using, bspline_linear=name)) for name in OURS[1:]]
    made = [column for column in made if most(column.name)]
    if most("MLP"):
        made.append(Column("MLP", perceptron(row)))
    return made + [Column(name, peer(name, module, row)) for name, module in modules.items() if most(name)]


def obstacle(column: Column, x: Tensor) -> str | None:
    """Why an implementation asked for by name does not run here."""
    try:
        with column.context(), torch.no_grad():
            column.model(x[:2])
    except RuntimeError as error:
        if "was asked to use" not in str(error):
            raise
        return str(error).rsplit("cannot run here: ", 1)[-1].rstrip(".")
    return None


def loaded(name: str, path: Path) -> ModuleType:
    """The module of a peer, from this folder alone; what we have ourselves goes before what lies beside it."""
    sys.path.append(str(path))
    try:
        module = importlib.import_module(PEERS[name])
    finally:
        sys.path.remove(str(path))
    if not Path(module.__file__ or "").resolve().is_relative_to(path.resolve()):
        raise ImportError(f"{PEERS[name]} was found elsewhere than in the folder given for {name}.")
    return module


def identity(name: str, module: ModuleType, path: Path) -> str:
    """Which version a peer is: that of the package, or the git hash of the file with its network."""
    for distribution in importlib.metadata.distributions(name=name, path=[str(path)]):
        return f"{name} {distribution.version}"
    content = Path(module.__file__ or "").read_bytes()
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
    return f"{name} (git blob {blob[:10]})"


# ------------------------------------------------------------------------------------------------ checks


def agreements(model: KAN, ours: list[Column], x: Tensor) -> dict[str, tuple[float, float]]:
    """For each implementation the errors in float64 and float32 of outputs and all gradients.

    They are largest differences from the reference in float64, relative to the largest entry.
    """
    cotangent = torch.randn(len(x), model.widths[-1], generator=torch.Generator().manual_seed(1))
    exact = _exact(copy.deepcopy(model).double(), x.double(), cotangent.double())

    def error(column: Column, dtype: torch.dtype) -> float:
        with column.context():
            found = _answers(copy.deepcopy(model).to(dtype), x.to(dtype), cotangent.to(dtype))
        return max(float((a.double() - b).abs().max() / b.abs().max()) for a, b in zip(found, exact, strict=True))

    return {column.name: (error(column, torch.float64), error(column, torch.float32)) for column in ours}


def _answers(model: KAN, x: Tensor, cotangent: Tensor) -> list[Tensor]:
    """Outputs, and gradients of the input and of every parameter."""
    x = x.detach().requires_grad_()
    outputs = model(x)
    return [outputs.detach(), *torch.autograd.grad(outputs, [x, *model.parameters()], cotangent)]


def _exact(model: KAN, x: Tensor, cotangent: Tensor) -> list[Tensor]:
    """The same by the reference, piece by piece."""
    with using(bspline_linear="reference"):
        pieces = [_answers(model, *piece) for piece in zip(x.split(128), cotangent.split(128), strict=True)]
    outputs, inputs, *parameters = zip(*pieces, strict=True)
    return [torch.cat(outputs), torch.cat(inputs), *(torch.stack(grads).sum(0) for grads in parameters)]


@torch.no_grad()
def peer_agreement(model: KAN, name: str, other: nn.Module, x: Tensor) -> float | None:
    """Largest difference of the first layers in float64 with our coefficients in both, None for another definition.

    Only the first layer is sure to have its inputs inside the grid; beyond it the libraries differ.
    """
    ours, x = copy.deepcopy(model.layers[0]).double(), x[:100].double()
    if name == "efficient-kan":
        theirs = copy.deepcopy(other[0]).double()
        theirs.grid.copy_(ours.basis.knots)
        theirs.base_weight.copy_(ours.weight)
        theirs.spline_weight.copy_(ours.coef.permute(2, 0, 1))
        found = theirs(x)
    elif name == "pykan":
        theirs = copy.deepcopy(other.act_fun[0]).double()
        theirs.grid.copy_(ours.basis.knots)
        theirs.scale_base.copy_(ours.weight.T)
        theirs.scale_sp.fill_(1)
        theirs.coef.copy_(ours.coef.permute(0, 2, 1))
        found = theirs(x)[0]
    else:
        return None
    with using(bspline_linear="reference"):
        return float((found - ours(x)).abs().max() / found.abs().max())
