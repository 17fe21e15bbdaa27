"""The group-rational function by Triton kernels, for NVIDIA's GPUs.

Numbers of 16 bits are stored as such and computed in float32; float64 is computed in float64. Values and gradients have the
layout of x in memory, whatever that is; an x with gaps or overlaps, and a gradient laid out otherwise than x (an expanded
one, for instance), are copied first. Nothing is compiled anew for another number of rows, channels or groups. Equal
inputs give equal bits on one kind of GPU.
"""

import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from math import ceil, gcd
from typing import Any

import torch
from torch import Tensor

from superpose._select import transformed

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
TRITON = find_spec("triton") is not None
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
"""Whether Triton's interpreter takes the place of the GPU, for tests: kernels then run on the CPU."""


@dataclass(frozen=True)
class Launch:
    """How a kernel is run: threads (of one vector each) in a program, its warps, and programs on each multiprocessor."""

    threads: int
    warps: int
    programs: int


# The fastest of some dozen on an H200.
FORWARD = Launch(128, 4, 16)
SLOPES = Launch(128, 4, 12)
SUMS = Launch(128, 4, 7)
HALF_SUMS = Launch(256, 8, 2)
"""For numbers of 16 bits: registers, of which a thread reads up to three at a time, are what keeps it waiting."""
PART = 2048
"""Sums of threads that a program adds at once."""


def obstacle(x: Tensor, numerator: Tensor, denominator: Tensor, form: str, axis: int) -> str | None:
    """Why this implementation cannot take these arguments, or None if it can."""
    if not TRITON:
        return "Triton is missing; it comes with PyTorch on Linux"
    for tensor in (x, numerator, denominator):
        if tensor.dtype not in DTYPES:
            return f"it takes {', '.join(str(dtype)[6:] for dtype in DTYPES)}, not {str(tensor.dtype)[6:]}"
        if not (tensor.is_cpu if INTERPRETED else tensor.is_cuda):
            return "it takes tensors on a GPU"
        if tensor.device != x.device:
            return f"x is on {x.device}, and a coefficient on {tensor.device}"
    return (None if INTERPRETED else _unfit(x.device.index)) or transformed(x, numerator, denominator)


def _unfit(index: int) -> str | None:
    if torch.version.hip:
        return "it has not been run on AMD's GPUs"
    if torch.cuda.get_device_capability(index) < (8, 0):
        return "Triton needs compute capability 8.0 or higher"
    return None


# While torch.compile traces, this is asked once for each device and its answer kept.
_unfit._dynamo_marked_constant = True  # type: ignore[attr-defined]


def forward(x: Tensor, numerator: Tensor, denominator: Tensor, form: str, axis: int) -> Tensor:
    """P(x) / Q(x), in the dtype and the layout of x."""
    x = _dense(x)
    y = torch.empty_like(x)
    if x.numel():
        job = _Job(x, numerator, denominator, form, axis, FORWARD)
        with job.device():
            job.kernels.forward_kernel[job.grid](x, y, *job.coefficients, *job.numbers, **job.constants())
    return y


def backward(
    grad: Tensor,
    x: Tensor,
    numerator: Tensor,
    denominator: Tensor,
    form: str,
    axis: int,
    needed: tuple[bool, bool, bool],
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """The gradients of x, numerator and denominator, each in its dtype, or None where it is not needed."""
    return _backward(grad, x, numerator, denominator, form, axis, (False, *needed))[1:]


def backward_and_forward(
    grad: Tensor,
    x: Tensor,
    numerator: Tensor,
    denominator: Tensor,
    form: str,
    axis: int,
    needed: tuple[bool, bool, bool],
) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]:
    """P(x) / Q(x) and what `backward` gives, in one pass over x: for a layer that did not keep its activation."""
    y, *gradients = _backward(grad, x, numerator, denominator, form, axis, (True, *needed))
    assert y is not None
    return y, gradients[0], gradients[1], gradients[2]


def _backward(
    grad: Tensor,
    x: Tensor,
    numerator: Tensor,
    denominator: Tensor,
    form: str,
    axis: int,
    needed: tuple[bool, bool, bool, bool],
) -> tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None]:
    need_y, need_x, need_a, need_b = needed
    x = _dense(x)
    grad = _laid_out_as(x, grad)
    y = torch.empty_like(x) if need_y else None
    dx = torch.empty_like(x) if need_x else None
    # Without a point nothing is written, and the sums are zero.
    make = torch.empty_like if x.numel() else torch.zeros_like
    da = make(numerator, memory_format=torch.contiguous_format) if need_a else None
    db = make(denominator, memory_format=torch.contiguous_format) if need_b else None
    if x.numel() and any(needed):
        job = _Job(x, numerator, denominator, form, axis, _backward_launch(x, need_a or need_b))
        counted, others = numerator.shape[1] * need_a, denominator.shape[1] * need_b
        sums = x.new_empty(counted + others, job.threads, dtype=job.wide) if counted + others else x
        with job.device():
            job.kernels.backward_kernel[job.grid](
                grad, x, x if y is None else y, x if dx is None else dx, sums, *job.coefficients, *job.numbers,
                **job.constants(), NEED_Y=need_y, NEED_X=need_x, NEED_A=need_a, NEED_B=need_b,
            )  # fmt: skip
            if counted + others:
                job.add(sums, x if da is None else da, x if db is None else db, counted)
    return y, dx, da, db


def _backward_launch(x: Tensor, sums: bool) -> Launch:
    if not sums:
        return SLOPES
    return HALF_SUMS if x.element_size() == 2 else SUMS


class _Job:
    """Everything a kernel is called with, but for the tensors of the size of x.

    Args:
        x: Without gaps; the place of its channels in memory, not among its axes, is what counts.
        numerator: Its coefficients.
        denominator: Its coefficients.
        form: Which denominator.
        axis: Where the channels are.
        launch: How the kernel is run.
    """

    def __init__(self, x: Tensor, numerator: Tensor, denominator: Tensor, form: str, axis: int, launch: Launch) -> None:
        channels = x.shape[axis]
        inner = x.stride(axis) if channels > 1 else 1
        rows = len(numerator), len(denominator)
        self.on = x.device
        self.wide = torch.promote_types(
            torch.promote_types(numerator.dtype, denominator.dtype), torch.promote_types(x.dtype, torch.float32)
        )
        self.width = _width(channels, inner, rows, 16 // x.element_size())
        self.period = channels * inner // self.width
        vectors = x.numel() // self.width
        self.launch = launch
        self.programs = _programs(vectors, self.period, launch, _multiprocessors(x.device))
        self.threads = self.programs * launch.threads
        self.long = vectors + 2 * self.threads >= 2**31
        self.coefficients = numerator.resolve_neg().contiguous(), denominator.resolve_neg().contiguous()
        self.rows, self.places = rows, (self.period, inner, channels)
        self.numbers = vectors, *self.places, *rows
        self.degrees = numerator.shape[1] - 1, denominator.shape[1]
        self.sum_abs = form == "sum_abs"
        self.kernels: Any = import_module("superpose.ops.rational.gpu_kernels")
        self.grid = (self.programs,)

    def constants(self) -> dict[str, Any]:
        tl = self.kernels.tl
        return {
            "M": self.degrees[0],
            "N": self.degrees[1],
            "SUM_ABS": self.sum_abs,
            "V": self.width,
            "THREADS": self.launch.threads,
            "WIDE": tl.float64 if self.wide is torch.float64 else tl.float32,
            "FAST": self.wide is torch.float32 and not INTERPRETED,
            "INDEX": tl.int64 if self.long else tl.int32,
            "num_warps": self.launch.warps,
            "enable_fp_fusion": True,
        }

    def add(self, sums: Tensor, da: Tensor, db: Tensor, counted: int) -> None:
        """Add the sums of the threads, in two steps so that the whole device takes part."""
        constants = {"V": self.width, "WIDE": self.constants()["WIDE"], "enable_fp_fusion": True}
        groups = max(self.rows)
        block = min(1 << (ceil(self.period / groups) - 1).bit_length(), PART)
        periods = PART // block
        parts = -(-self.threads // (self.period * periods))
        found = sums.new_empty(len(sums), groups, parts)
        self.kernels.part_kernel[groups, len(sums), parts](
            sums, found, self.threads, *self.places, groups, PERIODS=periods, BLOCK=block, **constants
        )
        self.kernels.sum_kernel[groups, len(sums)](
            found, self.coefficients[1], da, db, parts, groups, *self.rows, counted,
            N=self.degrees[1], SUM_ABS=self.sum_abs, BLOCK=256, WIDE=constants["WIDE"], enable_fp_fusion=True,
        )  # fmt: skip

    def device(self) -> AbstractContextManager[Any]:
        """Launches go to the device of x, which need not be the current one."""
        return nullcontext() if INTERPRETED else torch.cuda.device(self.on)


def _dense(x: Tensor) -> Tensor:
    """X itself if it fills a run of memory in any order of its axes, or else a copy that does."""
    if x.is_contiguous() and not x.is_neg():
        return x
    return _laid_out_as(torch.empty_like(x, device="meta"), x)


def _laid_out_as(like: Tensor, x: Tensor) -> Tensor:
    if not x.is_neg() and _strides(x) == _strides(like):
        return x
    return torch.empty_like(like, device=x.device).copy_(x)


def _strides(x: Tensor) -> list[int]:
    """Of the axes that are longer than one; those of the others mean nothing."""
    return [stride for stride, size in zip(x.stride(), x.shape, strict=True) if size > 1]


@lru_cache(maxsize=1024)
def _width(channels: int, inner: int, rows: tuple[int, int], most: int) -> int:
    """How many numbers a thread takes at once: a power of two, such that no group begins within a vector."""
    width = gcd(most, channels * inner)
    for groups in set(rows):
        for group in range(1, min(groups, channels)):
            width = gcd(width, ceil(group * channels / groups) * inner)
    return width


def _programs(vectors: int, period: int, launch: Launch, multiprocessors: int) -> int:
    """As many as the device runs at once, but for this: all their threads together step over whole periods."""
    whole = period // gcd(period, launch.threads)
    programs = max(multiprocessors * launch.programs // whole, 1) * whole
    return min(programs, -(-vectors // launch.threads))


@lru_cache
def _multiprocessors(device: torch.device) -> int:
    return 1 if INTERPRETED else torch.cuda.get_device_properties(device).multi_processor_count
