"""Configurations that come with superpose."""

from importlib.resources import files
from pathlib import Path


def names() -> list[str]:
    """What they are called.

    Example:
        >>> "cifar10_kat" in names()
        True
    """
    return sorted(path.name.removesuffix(".yaml") for path in files(__name__).iterdir() if path.name.endswith(".yaml"))


def find(name: str) -> Path:
    """The file at that path, or the configuration of that name.

    Raises:
        ValueError: If there is neither.
    """
    if Path(name).is_file():
        return Path(name)
    if name in names():
        return Path(str(files(__name__) / f"{name}.yaml"))
    raise ValueError(f"there is no file {name}; the configurations that come with superpose are {', '.join(names())}.")
