"""Which implementation of an operation runs: the one place that decides, and the report of what it decided."""

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import torch

import superpose

ACTIVE: dict[str, str] = {"bspline": "reference (plain PyTorch)"}
"""The implementation that each operation calls. A native kernel takes its operation's place here when it can run."""


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
    """What runs here: the versions of superpose and its packages, the devices, and the implementation of every operation.

    Example:
        >>> info().implementations["bspline"]
        'reference (plain PyTorch)'
    """
    packages = {"torch": "torch", "numpy": "numpy", "scipy": "scipy", "sklearn": "scikit-learn"}
    versions = {"superpose": superpose.__version__, "python": platform.python_version()}
    versions |= {name: _version(package) for name, package in packages.items()}
    devices = {"cpu": f"{torch.get_num_threads()} of {os.cpu_count()} threads"}
    devices |= {f"cuda:{n}": torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())}
    return Info(versions, devices, dict(ACTIVE))


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
