"""Finds, builds and loads the native library; says why where there is none.

A library beside the package (built by setup.py), else one in the cache, else a build of ``csrc/`` on the spot, else the
reference. ``TLPLAT_NO_EXT=1`` wants the reference; ``TLPLAT_FORCE_EXT=1`` makes a missing library an error (exit 5).
"""

from __future__ import annotations

import ctypes
import functools
import json
import os
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from tlplat.errors import PluginError
from tlplat.ops import compile as compiling

_PACKAGE = Path(__file__).resolve().parent.parent
_CSRC = (_PACKAGE / "csrc", _PACKAGE.parent / "csrc")
ISAS = ("generic", "avx2", "avx512")


@dataclass(frozen=True)
class Extension:
    """What was loaded, or why nothing was.

    Attributes:
        library: the loaded library, None for the reference.
        how: ``prebuilt``, ``cached``, ``built`` (on the spot) or ``none``.
        reason: why there is none; empty where there is one.
        path: of the library. isa: the instruction set that its kernels use here.
        built_against: torch and compiler of the build.
    """

    library: ctypes.CDLL | None
    how: str
    reason: str = ""
    path: str = ""
    isa: str = ""
    built_against: dict[str, str] = field(default_factory=dict)


class AbiError(Exception):
    """The library was built for another torch."""


def load() -> Extension:
    """The extension, loaded once a process; a warning where it had to be the reference and nobody asked for that.

    Raises:
        PluginError: TL-EXT-BUILD or TL-EXT-ABI, only with TLPLAT_FORCE_EXT=1.
    """
    return _load()


def build_info() -> dict[str, Any]:
    """How the ops run here, for ``tlplat doctor``: JSON values."""
    found = load()
    info = {name: getattr(found, name) for name in ("library", "how", "reason", "path", "isa", "built_against")}
    info["implementation"] = "native" if info.pop("library") is not None else "reference"
    return info | {"torch": str(torch.__version__)}


@functools.cache
def _load() -> Extension:
    forced = os.environ.get("TLPLAT_FORCE_EXT") == "1"
    if os.environ.get("TLPLAT_NO_EXT") == "1" and not forced:
        return Extension(None, "none", "TLPLAT_NO_EXT=1")
    code, fix = "TL-EXT-BUILD", "install a C++ compiler (g++ 12 or newer), or unset TLPLAT_FORCE_EXT"
    try:
        return _find()
    except compiling.BuildError as error:
        reason = str(error)
    except AbiError as error:
        reason, code = str(error), "TL-EXT-ABI"
        fix = "pip install --force-reinstall --no-deps --no-build-isolation tlplat  # builds it for this torch"
    except OSError as error:
        reason = f"the build folder cannot be used: {error}"
    if forced:
        raise PluginError(code, f"the native extension is not available: {reason}", fix=fix)
    warnings.warn(f"tlplat.ops runs in plain torch: {reason}; {fix}", RuntimeWarning, stacklevel=4)
    return Extension(None, "none", reason)


def _find() -> Extension:
    prebuilt = _PACKAGE / compiling.LIBRARY
    if prebuilt.exists():
        return _open(prebuilt, "prebuilt")
    csrc = next((c for c in _CSRC if c.is_dir()), None)
    if csrc is None:
        raise compiling.BuildError("this installation has neither a built library nor its sources")
    version = str(torch.__version__)
    folder = _builds() / compiling.digest(csrc, version)[:16]
    path = folder / compiling.LIBRARY
    if path.exists():
        return _open(path, "cached")
    compiling.build(csrc, path, Path(torch.__file__).parent, version)
    return _open(path, "built")


def _builds() -> Path:
    from tlplat.cache import cache_root

    return cache_root() / "builds"


def _open(path: Path, how: str) -> Extension:
    """Load a library after checking what it was built for."""
    record = path.with_name(compiling.INFO)
    info = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {}
    here = str(torch.__version__)
    target = info.get("target", "2.11")
    if _minor(here) < _minor(target):
        raise AbiError(f"it was built for torch {target} or newer ({info.get('torch', '?')}), found torch {here}")
    try:
        torch.ops.load_library(str(path))  # type: ignore[no-untyped-call]
        library = ctypes.CDLL(str(path))
    except OSError as error:
        first = str(error).splitlines()[0]
        raise AbiError(f"it was built for torch {info.get('torch', '?')}, found torch {here}: {first}") from error
    return Extension(library, how, "", str(path), ISAS[library.tlplat_best_isa()], info)


def _minor(version: str) -> tuple[int, int]:
    major, minor = version.split("+")[0].split(".")[:2]
    return int(major), int(minor)
