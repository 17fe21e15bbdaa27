"""Randomness as a function of what it is for, so that a run can be cut anywhere and continued, or shared by processes."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

STEP = np.uint64(0x9E3779B97F4A7C15)
"""The golden ratio times 2^64: the increment of SplitMix64."""


def uniforms(indices: np.ndarray, count: int, *key: int) -> np.ndarray:
    """Numbers in [0, 1) for each index, the same wherever and in whatever company they are drawn.

    They are SplitMix64's (Steele, Lea and Flood 2014, OOPSLA, figure 17), with the index and the number of the draw as
    the counters.

    Args:
        indices: What they are for, whole numbers.
        count: How many for each.
        *key: Whole numbers that choose other draws, such as a seed and an epoch.

    Returns:
        An array of float32, a row for each index.

    Example:
        >>> uniforms(np.array([3, 4]), 2, 0).shape
        (2, 2)
        >>> bool((uniforms(np.array([3, 4]), 2, 0)[1] == uniforms(np.array([4]), 2, 0)).all())
        True
    """
    state = np.zeros(1, np.uint64)
    for word in (*map(np.atleast_1d, key), indices[:, None], np.arange(count)):
        state = _mixed(state + (word.astype(np.uint64) + np.uint64(1)) * STEP)  # modulo 2^64
    return (state >> np.uint64(40)).astype(np.float32) / np.float32(2**24)


def _mixed(z: np.ndarray) -> np.ndarray:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@contextmanager
def seeded(*key: int) -> Iterator[None]:
    """Let everything that draws from the global states (Python's, NumPy's, PyTorch's) depend on the key alone.

    The caller's states are as before afterwards. It is for other people's code, which takes no generator: transforms of
    timm and torchvision, dropout, the initialisation of their networks.

    Args:
        *key: Whole numbers from 0, such as a seed and the number of a step.

    Example:
        >>> with seeded(0, 7):
        ...     first = torch.rand(3)
        >>> with seeded(0, 7):
        ...     print(torch.equal(first, torch.rand(3)))
        True
    """
    words = [int(word) for word in np.random.SeedSequence(key).generate_state(3)]
    ours, theirs = random.getstate(), np.random.get_state()  # noqa: NPY002
    devices = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices):
        random.seed(words[0])  # noqa: TID251  given back below
        np.random.seed(words[1])  # noqa: TID251, NPY002  given back below
        torch.default_generator.manual_seed(words[2])
        if devices:
            torch.cuda.manual_seed(words[2])
        try:
            yield
        finally:
            random.setstate(ours)
            np.random.set_state(theirs)  # noqa: NPY002
