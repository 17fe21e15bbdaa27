"""What Triton makes of the rational operation's kernels: registers and instructions, without a GPU.

Every kernel is compiled for GPUs that need not be here. Instructions are those of the loop, for each element; the floor is
the time in which an H200 can start so many, 132 multiprocessors of 4 schedulers at 1.98 GHz, over the time in which it
moves the bytes, at 4.8 TB/s. Above 1 the instructions are the limit.
"""

import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import triton
import triton.language as tl
from report import Report, options
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from superpose.ops.rational import gpu_kernels

NAMES = {"bf16": (8, 2), "fp16": (8, 2), "fp32": (4, 4), "fp64": (2, 8)}
"""Of each type the numbers that a thread takes at once, and their bytes."""
LANES = 132 * 4 * 32 * 1.98e9
BANDWIDTH = 4.8e12
VARIANTS = {
    "forward": (None, 2),
    "backward": ((False, True, True, True), 3),
    "backward, of x alone": ((False, True, False, False), 3),
    "backward, and y again": ((True, True, True, True), 4),
}
"""What is needed of y and the gradients, and the numbers read and written for each element."""


def compiled(
    variant: str, dtype: str, capability: int, *, sum_abs: bool = True, degrees: tuple[int, int] = (5, 4)
) -> Any:
    """The kernel as Triton compiles it."""
    needed, _ = VARIANTS[variant]
    kernel = gpu_kernels.forward_kernel if needed is None else gpu_kernels.backward_kernel
    wide = tl.float64 if dtype == "fp64" else tl.float32
    constants: dict[str, Any] = {
        "M": degrees[0], "N": degrees[1], "SUM_ABS": sum_abs, "V": NAMES[dtype][0], "THREADS": 128, "WIDE": wide,
        "FAST": dtype != "fp64", "INDEX": tl.int32,
    }  # fmt: skip
    if needed is not None:
        constants |= dict(zip(("NEED_Y", "NEED_X", "NEED_A", "NEED_B"), needed, strict=True))
    signature, aligned = {}, {}
    for place, name in enumerate(kernel.arg_names):
        if name in constants:
            signature[name] = "constexpr"
        elif name in gpu_kernels.RUNTIME:
            signature[name] = "i32"
        else:
            coefficient = name.startswith(("a_", "b_", "sums"))
            signature[name] = f"*{dtype}" if not coefficient else "*fp64" if dtype == "fp64" else "*fp32"
            aligned[(place,)] = [["tt.divisibility", 16]]
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=aligned)
    target = GPUTarget("cuda", capability, 32)
    return triton.compile(source, target=target, options={"num_warps": 4, "enable_fp_fusion": True})


def tool(name: str, *arguments: str, binary: bytes) -> str:
    """What one of the CUDA tools that come with Triton says of a program."""
    path = resources.files(triton) / "backends" / "nvidia" / "bin" / name
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "kernel.cubin")
        file.write_bytes(binary)
        return subprocess.run([str(path), *arguments, str(file)], check=True, capture_output=True, text=True).stdout


def loop(assembly: str) -> Counter[str]:
    """Instructions of the longest loop."""
    lines = assembly.splitlines()
    labels = {found.group(1): i for i, line in enumerate(lines) if (found := re.match(r"\s*(\.L_x_\d+):", line))}
    spans = [
        (labels[found.group(1)], i)
        for i, line in enumerate(lines)
        if (found := re.search(r"BRA[^`]*`\((\.L_x_\d+)\)", line)) and labels.get(found.group(1), i) < i
    ]
    first, last = max(spans, key=lambda span: span[1] - span[0])
    found = (re.match(r"\s*/\*[0-9a-f]+\*/\s+(?:@!?U?P\d+\s+)?([A-Z0-9_.]+)", line) for line in lines[first : last + 1])
    return Counter(each.group(1) for each in found if each)


def row(variant: str, dtype: str, capability: int) -> list[Any]:
    """A line of the table."""
    binary = compiled(variant, dtype, capability).asm["cubin"]
    usage = tool("cuobjdump", "-res-usage", binary=binary)
    registers, local = (int(re.search(rf"{name}:(\d+)", usage).group(1)) for name in ("REG", "STACK"))
    counts = loop(tool("nvdisasm", "-c", binary=binary))
    numbers, size = NAMES[dtype]
    loads = [name for name in counts if name.startswith("LDG")]
    each = sum(counts.values()) / numbers
    share = (each / LANES) / (VARIANTS[variant][1] * size / BANDWIDTH)
    arithmetic = sum(count for name, count in counts.items() if name.startswith(("FFMA", "FMUL", "FADD"))) / numbers
    wide = "16 bytes" if all(".128" in name for name in loads) else ", ".join(loads)
    return [
        variant,
        dtype,
        f"sm_{capability}",
        registers,
        local,
        wide,
        f"{each:.1f}",
        f"{arithmetic:.1f}",
        f"{share:.2f}",
    ]


def main(argv: Sequence[str] | None = None) -> None:
    given = options(__doc__, seeds=1).parse_args(argv)
    report = Report("rational_ptx", "Registers and instructions of the rational operation on a GPU", given)
    report.text(f"Triton {triton.__version__}; degrees 5 and 4, the denominator sum_abs.")
    targets = (90,) if given.quick else (80, 90, 100)
    names = ("bf16",) if given.quick else ("bf16", "fp32")
    rows = [row(variant, dtype, target) for target in targets for dtype in names for variant in VARIANTS]
    report.table(
        [
            "kernel",
            "dtype",
            "target",
            "registers",
            "stack, bytes",
            "loads",
            "instructions",
            "of them float32",
            "to memory",
        ],
        rows,
    )
    report.text(
        "The last column is the time to start the instructions over the time to move the bytes on an H200, whatever the target."
    )
    report.close()


if __name__ == "__main__":
    main()
