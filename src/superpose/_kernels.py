"""The compiled kernels: a plain C library that knows nothing of Python or PyTorch, so that one file serves all versions.

It is built when superpose is installed where there is a C++ compiler (`native/build.py`). It starts no threads of its own:
it borrows the OpenMP runtime that PyTorch has loaded, whose threads would otherwise fight with ours for the cores. Importing
this module fails where there is no library, or an older one; then PyTorch alone does the work.
"""

import ctypes
import os
import sys
from pathlib import Path
from typing import Any

LEVELS = ("baseline", "AVX2", "AVX-512")
"""Instruction sets the kernels are compiled for, on x86; elsewhere all there is is the baseline."""

_SUFFIX = ".dylib" if sys.platform == "darwin" else ".so"
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


def _function(name: str, *argtypes: Any, restype: Any = None) -> Any:
    function = getattr(_library, name)
    function.argtypes, function.restype = argtypes, restype
    return function


_runtime = _openmp()
try:
    _library = ctypes.CDLL(str(Path(__file__).with_name(f"libsuperpose{_SUFFIX}")))
    _start = _function("superpose_start", *[ctypes.c_void_p] * len(_OPENMP), ctypes.c_int, restype=ctypes.c_int)
    bspline = _function("superpose_bspline", ctypes.c_char_p)
    """Runs one call, the bytes of a `BsplineCall` (native/bspline.h)."""
    rational = _function("superpose_rational", ctypes.c_char_p)
    """Runs one call, the bytes of a `RationalCall` (native/rational.h)."""
    network = _function("superpose_network", ctypes.c_char_p)
    """Runs one call, the bytes of a `NetworkCall` (native/jacobian.h) and its layers."""
except (OSError, AttributeError) as error:
    raise ImportError("the compiled kernels of superpose are missing") from error

_level = LEVELS[_start(*_runtime, _wanted_level())]

# The threads of a process are gone in its child, and OpenMP would wait for them for ever, as PyTorch does.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: _start(None, None, None, LEVELS.index(_level)))


def describe() -> str:
    """The instruction set in use, and how the kernels come by threads."""
    return f"{_level}, {'one thread' if None in _runtime else 'the threads of PyTorch'}"
