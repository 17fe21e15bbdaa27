"""Compiles the kernels into one shared library. `python native/build.py` builds it where a source tree looks for it.

It needs a C++ compiler (the environment variable CXX, else c++, g++ or clang++; CXXFLAGS come last) and nothing of Python
or PyTorch. The kernels are compiled once for each instruction set of the processor's family; which of them runs is
decided when the library is loaded, so one library serves all machines of a family.
"""

import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
NAME = "libsuperpose.dylib" if sys.platform == "darwin" else "libsuperpose.so"
IN_PLACE = HERE.parent / "src" / "superpose" / NAME
OBJECTS = HERE.parent / "build" / "kernels"

FLAGS = [
    "-std=gnu++17", "-O3", "-fPIC", "-fvisibility=hidden", "-fno-exceptions", "-fno-rtti",
    "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math",
    "-Wall", "-Wextra", "-Wno-psabi", "-Wno-maybe-uninitialized", "-Wno-unknown-warning-option",
]  # fmt: skip
LINK = [] if sys.platform == "darwin" else ["-Wl,--as-needed", "-Wl,-z,defs"]
STRIP = "-Wl,-x" if sys.platform == "darwin" else "-s"
LEVELS = {
    "x86_64": (
        [],
        ["-mavx2", "-mfma"],
        ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mprefer-vector-width=512"],
    )
}
"""Instruction sets by the family of the processor; other families have their baseline alone, which is NEON on ARM."""


class NotBuilt(Exception):
    """Why there is no library, and what the compiler said."""


def build(library: Path, objects: Path) -> str | None:
    """Compile what has changed and link it.

    Args:
        library: The file to make.
        objects: Folder that keeps compiled files for the next time, found again by what went into them.

    Returns:
        None, or in one sentence why there are no kernels; then there is no library either, not even an older one. With
        SUPERPOSE_REQUIRE_KERNELS=1 in the environment this ends the program instead.
    """
    try:
        _build(library, objects)
    except NotBuilt as error:
        why, *details = error.args
        sentence = f"superpose is without its compiled kernels, so PyTorch alone does the work, slower: {why}."
        if os.environ.get("SUPERPOSE_REQUIRE_KERNELS") == "1":
            sys.exit("\n".join([*details, sentence]))
        library.unlink(missing_ok=True)
        return sentence
    return None


def _build(library: Path, objects: Path) -> None:
    compiler, flags = _compiler(), [*FLAGS, *_platform_flags()]
    extra = shlex.split(os.environ.get("CXXFLAGS", ""))
    family = _ask(compiler, "-dumpmachine").split("-")[0]
    key = _ask(compiler, "--version") + "".join(path.read_text() for path in sorted(HERE.glob("*.h")))
    commands = {}
    for source, level in [("kernels.cpp", [])] + [
        (name, level) for level in LEVELS.get(family, ([],)) for name in ("isa.cpp", "jacobian.cpp", "rational.cpp")
    ]:
        command = [*compiler, *flags, *level, *extra, "-c", str(HERE / source)]
        content = "\0".join([key, (HERE / source).read_text(), *command])
        commands[objects / f"{hashlib.sha256(content.encode()).hexdigest()[:24]}.o"] = command
    objects.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(_make, commands, commands.values()))
    debug = any(flag.startswith("-g") for flag in extra)
    link = [*LINK, *([] if debug else [STRIP]), *extra]
    _make(library, [*compiler, *_platform_flags(), "-shared", *map(str, commands), *link])
    for old in set(objects.glob("*.o")) - set(commands):
        old.unlink(missing_ok=True)


def _compiler() -> list[str]:
    if sys.platform == "win32":
        raise NotBuilt("they are not made for Windows yet")
    named = shlex.split(os.environ.get("CXX", ""))
    if named and not shutil.which(named[0]):
        raise NotBuilt(f"the compiler that CXX names, {named[0]!r}, was not found")
    found = named or [path for path in map(shutil.which, ("c++", "g++", "clang++")) if path][:1]
    if not found:
        raise NotBuilt("no C++ compiler was found; install one, and then superpose again")
    return found


def _platform_flags() -> list[str]:
    if sys.platform != "darwin":
        return []
    return ["-arch", platform.machine(), f"-mmacosx-version-min={os.environ.get('MACOSX_DEPLOYMENT_TARGET', '11.0')}"]


def _ask(compiler: list[str], question: str) -> str:
    return subprocess.run([*compiler, question], capture_output=True, text=True, check=False).stdout


def _make(target: Path, command: list[str]) -> None:
    """Run a command that writes a file; the file appears once it is whole."""
    if target.suffix == ".o" and target.exists():
        return
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        made = Path(folder, target.name)
        done = subprocess.run([*command, "-o", str(made)], capture_output=True, text=True, check=False)
        if done.returncode:
            raise NotBuilt(f"the C++ compiler {command[0]!r} failed", f"{shlex.join(command)}\n{done.stderr}")
        sys.stderr.write(done.stderr)
        made.replace(target)


if __name__ == "__main__":
    print(build(IN_PLACE, OBJECTS) or f"The kernels are in {IN_PLACE.relative_to(HERE.parent)}.")
