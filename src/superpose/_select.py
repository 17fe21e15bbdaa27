"""Which implementation of an operation runs: the one place that decides, and the reports of what it decided."""

import os
import platform
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from torch.autograd import forward_ad

import superpose

kernels: Any
"""The module of compiled kernels, or None where superpose was installed without a C++ compiler."""
try:
    kernels = import_module("superpose._kernels")
except ImportError:
    kernels = None

PLAIN = (torch.Tensor, torch.nn.Parameter)

NO_KERNELS = "the compiled kernels are missing; install superpose again where there is a C++ compiler"


def _within_transform() -> bool:
    return torch._C._functorch.peek_interpreter_stack() is not None


# While torch.compile traces, it runs a transform of its own; what counts is how things stood when it began.
_within_transform._dynamo_marked_constant = True  # type: ignore[attr-defined]


def transformed(*tensors: torch.Tensor | None) -> str | None:
    """Why an operation that PyTorch cannot look into would be wrong or lost here, or None if it is not.

    A derivative rule of ours is not seen by torch.func, forward-mode derivatives and tracing, and data behind a subclass
    are not where a pointer says.
    """
    if _within_transform() or forward_ad._current_level >= 0:
        return "it has no rule for torch.func and forward-mode derivatives"
    if torch.compiler.is_compiling():
        return "torch.export is to run anywhere" if torch.compiler.is_exporting() else None
    if torch.jit.is_tracing() or torch._C._len_torch_dispatch_stack():
        return "it cannot be traced"
    for tensor in tensors:
        if tensor is not None and type(tensor) not in PLAIN:
            return f"it takes plain tensors, not {type(tensor).__name__}"
    return None


Obstacle = Callable[..., str | None]
"""Why an implementation cannot take these arguments, or None if it can."""

IMPLEMENTATIONS = {
    "bspline_linear": ("native", "plain", "reference"),
    "networks": ("native", "reference"),
    "rational": ("triton", "native", "reference"),
}
"""The implementations of every operation, best first."""

_forced: dict[str, str] = {}
_decisions: list["Decision"] | None = None


@dataclass(frozen=True)
class Decision:
    """One call of an operation: what ran, and why not what stands before it."""

    operation: str
    shape: tuple[int, ...]
    implementation: str
    obstacles: Mapping[str, str]

    def __str__(self) -> str:
        why = "".join(f"; not {name}: {reason}" for name, reason in self.obstacles.items())
        return f"{self.operation} of {self.shape}: {self.implementation}{why}"


def choose(operation: str, candidates: Mapping[str, Obstacle], *args: Any) -> str:
    """The first implementation without an obstacle, or the one asked for by name.

    Raises:
        RuntimeError: If the implementation asked for cannot take these arguments.
    """
    obstacles: dict[str, str] = {}
    wanted = _forced.get(operation)
    for name, obstacle in candidates.items():
        if wanted is not None and name != wanted:
            continue
        reason = obstacle(*args)
        if reason is None:
            if _decisions is not None:
                _decisions.append(Decision(operation, tuple(args[0].shape), name, obstacles))
            return name
        obstacles[name] = reason
    raise RuntimeError(f"{operation} was asked to use {wanted!r}, which cannot run here: {obstacles.get(str(wanted))}.")


@contextmanager
def using(**implementations: str) -> Iterator[None]:
    """Run operations by the implementation named, or raise where it cannot run; for tests and comparisons.

    Example:
        >>> import torch
        >>> from superpose import KAN
        >>> with using(bspline_linear="reference"):
        ...     KAN((2, 1))(torch.zeros(3, 2)).shape
        torch.Size([3, 1])
    """
    for operation, name in implementations.items():
        if name not in IMPLEMENTATIONS.get(operation, ()):
            known = "; ".join(f"{each}: {', '.join(names)}" for each, names in IMPLEMENTATIONS.items())
            raise ValueError(f"there is no {operation}={name!r}; there is {known}.")
    before = dict(_forced)
    _forced.update(implementations)
    try:
        yield
    finally:
        _forced.clear()
        _forced.update(before)


class Which(tuple[Decision, ...]):
    """The decisions of one forward pass; printing it gives a line for each."""

    def __repr__(self) -> str:
        return "\n".join(map(str, self))


def which(function: Callable[..., Any], *args: Any) -> Which:
    """What runs when a model (or any function) is called: every operation of ours, and why not a faster one.

    Args:
        function: A model or function; it is called once, with gradients off or on as they are.
        *args: What it is called with.

    Example:
        >>> import torch
        >>> from superpose import KAN, BSpline
        >>> which(KAN((2, 1), BSpline(degree=5)), torch.zeros(3, 2))  # doctest: +ELLIPSIS
        bspline_linear of (3, 2): reference; not native: ...
    """
    global _decisions  # noqa: PLW0603 - a recording is for the whole process, and short
    before, _decisions = _decisions, []
    try:
        function(*args)
        return Which(_decisions)
    finally:
        _decisions = before


@dataclass(frozen=True, repr=False)
class Info:
    """Versions, devices and implementations; printing it gives a table."""

    versions: Mapping[str, str]
    devices: Mapping[str, str]
    implementations: Mapping[str, str]

    def __repr__(self) -> str:
        blocks = (self.versions, self.devices, self.implementations)
        width = max(len(name) for block in blocks for name in block)
        return "\n\n".join("\n".join(f"{name:<{width}}  {value}" for name, value in block.items()) for block in blocks)


def info() -> Info:
    """What runs here: the versions of superpose and its packages, the devices, and the implementations of every operation.

    Example:
        >>> info().implementations["bspline_linear"]  # doctest: +ELLIPSIS
        '...plain PyTorch...'
    """
    packages = {"torch": "torch", "numpy": "numpy", "scipy": "scipy", "sklearn": "scikit-learn"}
    versions = {"superpose": superpose.__version__, "python": platform.python_version()}
    versions |= {name: _version(package) for name, package in packages.items()}
    devices = {"cpu": f"{torch.get_num_threads()} of {os.cpu_count()} threads"}
    devices |= {f"cuda:{n}": torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())}
    kinds = {"native": f"native ({kernels.describe()}), " if kernels else f"not native: {NO_KERNELS}; "}
    kinds["triton"] = "triton (GPUs), " if torch.cuda.is_available() else "not triton: there is no GPU of NVIDIA; "
    present = {
        operation: "".join(kinds.get(name, f"{name} (plain PyTorch), ") for name in names).removesuffix(", ")
        for operation, names in IMPLEMENTATIONS.items()
    }
    return Info(versions, devices, present)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
