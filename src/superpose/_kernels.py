"""The compiled kernels: a plain C library that knows nothing of Python or PyTorch, so that one file serves all versions.

It is built when superpose is installed where there is a C++ compiler (`hatch_build.py`). It starts no threads of its own:
it borrows the OpenMP runtime that PyTorch has loaded, whose threads would otherwise fight with ours for the cores. Importing
this module fails where there is no library; then PyTorch alone does the work.
"""

import ctypes
import os
import sys
from pathlib import Path

LEVELS = ("baseline", "AVX2", "AVX-512")
"""Instruction sets the kernels are compiled for, on x86; elsewhere all there is is the baseline."""

_SUFFIX = {"darwin": ".dylib", "win32": ".dll"}.get(sys.platform, ".so")
_OPENMP = ("GOMP_parallel", "omp_get_thread_num", "omp_get_num_threads")


def _openmp() -> list[int | None]:
    """Where the functions of the OpenMP runtime in use lie; None for each if this process has none that is compatible."""
    loaded = ctypes.CDLL(None) if sys.platform != "win32" else None
    if not all(hasattr(loaded, name) for name in _OPENMP):
        return [None] * len(_OPENMP)
    return [ctypes.cast(getattr(loaded, name), ctypes.c_void_p).value for name in _OPENMP]


def _wanted_level() -> int:
    """The highest instruction set allowed, by the environment variable SUPERPOSE_INSTRUCTIONS."""
    name = os.environ.get("SUPERPOSE_INSTRUCTIONS", LEVELS[-1])
    if name not in LEVELS:
        raise ValueError(f"SUPERPOSE_INSTRUCTIONS is {name!r}; it must be one of {', '.join(LEVELS)}.")
    return LEVELS.index(name)


try:
    _library = ctypes.CDLL(str(Path(__file__).with_name(f"libsuperpose{_SUFFIX}")))
except OSError as error:
    raise ImportError("the compiled kernels of superpose are missing") from error

_runtime = _openmp()
_start = _library.superpose_start
_start.argtypes = [ctypes.c_void_p] * len(_OPENMP) + [ctypes.c_int]
_level = LEVELS[_start(*_runtime, _wanted_level())]

bspline = _library.superpose_bspline
"""Runs one call, the bytes of a `BsplineCall` (native/bspline.h)."""
bspline.argtypes = [ctypes.c_char_p]
bspline.restype = None

network = _library.superpose_network
"""Runs one call, the bytes of a `NetworkCall` (native/jacobian.h) and its layers."""
network.argtypes = [ctypes.c_char_p]
network.restype = None


def describe() -> str:
    """The instruction set in use, and how the kernels come by threads."""
    return f"{_level}, {'one thread' if None in _runtime else 'the threads of PyTorch'}"
