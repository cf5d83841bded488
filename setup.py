"""Builds the extension, and nothing else; metadata is in pyproject.toml.

Where torch can be imported and a compiler is at hand, ``csrc/`` becomes ``tlplat/_C.abi3.so``; otherwise the install
goes on without it, ``tlplat/_C.json`` says why, and the first use tries again: the sources travel in the wheel.
Where torch has CUDA and nvcc is at hand, or with ``TLPLAT_FORCE_CUDA=1``, the GPU's kernels become
``tlplat/_C_cuda.abi3.so`` likewise.
"""

import importlib.util
import json
import os
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py
from setuptools.dist import Distribution

ROOT = Path(__file__).resolve().parent


class BuildWithExtension(build_py):
    """build_py, then the library and its sources into the package."""

    def run(self) -> None:
        super().run()
        package = ROOT / "tlplat" if self.editable_mode else Path(self.build_lib) / "tlplat"
        if not self.editable_mode:
            shutil.copytree(ROOT / "csrc", package / "csrc", dirs_exist_ok=True)
        spec = importlib.util.spec_from_file_location("tlplat_compile", ROOT / "tlplat" / "ops" / "compile.py")
        compiling = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(compiling)
        if os.environ.get("TLPLAT_NO_EXT") == "1":
            return
        try:
            import torch

            where, version, cuda = Path(torch.__file__).parent, torch.__version__, torch.version.cuda
            compiling.build(ROOT / "csrc", package / compiling.LIBRARY, where, version)
        except (ImportError, OSError, compiling.BuildError) as error:
            if os.environ.get("TLPLAT_FORCE_EXT") == "1" or os.environ.get("TLPLAT_FORCE_CUDA") == "1":
                raise SystemExit(f"the extension is forced, but cannot be built: {error}") from error
            (package / compiling.INFO).write_text(json.dumps({"not_built": str(error)}), encoding="utf-8")
            return
        forced = os.environ.get("TLPLAT_FORCE_CUDA") == "1"
        if not forced and (cuda is None or compiling.nvcc_path() is None):
            return
        try:
            compiling.build_cuda(ROOT / "csrc", package / compiling.CUDA_LIBRARY, where, version, cuda)
        except (OSError, compiling.BuildError) as error:
            if forced:
                raise SystemExit(f"TLPLAT_FORCE_CUDA=1, but the CUDA library cannot be built: {error}") from error
            (package / compiling.CUDA_INFO).write_text(json.dumps({"not_built": str(error)}), encoding="utf-8")


class PlatformDistribution(Distribution):
    """A wheel with a library is for one platform."""

    def has_ext_modules(self) -> bool:
        return True


class PlatformWheel(bdist_wheel):
    """The library calls torch's stable ABI and nothing of Python's, so that one wheel serves every Python."""

    def get_tag(self) -> tuple[str, str, str]:
        return ("py3", "none", super().get_tag()[2])


setup(cmdclass={"bdist_wheel": PlatformWheel, "build_py": BuildWithExtension}, distclass=PlatformDistribution)
