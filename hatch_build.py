"""What hatchling runs when it builds a wheel of superpose: compiles the kernels, where there is a C++ compiler."""

import os
import runpy
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class KernelsHook(BuildHookInterface):
    """Puts the library into a wheel, or beside the sources for an editable installation; without a compiler, does neither."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        native = runpy.run_path(str(Path(self.root, "native", "build.py")))
        self.folder = tempfile.TemporaryDirectory()
        editable = version == "editable"
        library = native["IN_PLACE"] if editable else Path(self.folder.name, native["NAME"])
        missing = native["build"](library, native["OBJECTS"] if editable else Path(self.folder.name))
        if missing:
            self.app.display_warning(missing)
        elif not editable:
            build_data["force_include"][str(library)] = f"superpose/{library.name}"
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-{_platform()}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        self.folder.cleanup()


def _platform() -> str:
    name = sysconfig.get_platform()
    if sys.platform == "darwin":  # Python may be of both kinds, the library is of the one that runs
        target = os.environ.get("MACOSX_DEPLOYMENT_TARGET", "11.0")
        name = f"macosx-{target}-{os.uname().machine}"
    return name.replace("-", "_").replace(".", "_")
