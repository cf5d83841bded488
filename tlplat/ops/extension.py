"""Finds, builds and loads the native libraries; says why where there is none.

A library beside the package, where setup.py built it from the ``csrc/`` of now, else one in the cache, else a
build of ``csrc/`` on the spot, else the reference. ``TLPLAT_NO_EXT=1`` wants the reference; ``TLPLAT_FORCE_EXT=1``
makes a missing library an error (exit 5), ``TLPLAT_FORCE_CUDA=1`` a missing CUDA library. That one is looked for when
the first tensor on a GPU arrives.
"""

from __future__ import annotations

import ctypes
import functools
import json
import os
import warnings
from collections.abc import Callable
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


def load_cuda() -> Extension:
    """The CUDA library, loaded beside the CPU one, which holds the ops' schemas; else as :func:`load`.

    Raises:
        PluginError: TL-EXT-BUILD or TL-EXT-ABI, only with TLPLAT_FORCE_CUDA=1.
    """
    return _load_cuda()


def build_info() -> dict[str, Any]:
    """How the ops run here, for ``tlplat doctor``: JSON values; ``cuda`` says the same of GPUs' tensors."""
    here = {"torch": str(torch.__version__)}
    if torch.cuda.is_available():
        return _facts(load()) | here | {"cuda": _facts(load_cuda())}
    none = Extension(None, "none", "torch sees no GPU" if torch.version.cuda else "torch is built without CUDA")
    return _facts(load()) | here | {"cuda": _facts(none)}


def _facts(found: Extension) -> dict[str, Any]:
    facts = {name: getattr(found, name) for name in ("how", "reason", "path", "isa", "built_against")}
    return facts | {"implementation": "reference" if found.library is None else "native"}


@functools.cache
def _load() -> Extension:
    forced = os.environ.get("TLPLAT_FORCE_EXT") == "1"
    if os.environ.get("TLPLAT_NO_EXT") == "1" and not forced:
        return Extension(None, "none", "TLPLAT_NO_EXT=1")
    lacks = "install a C++ compiler (g++ 12 or newer), or unset TLPLAT_FORCE_EXT"
    return _attempt(_find, forced, "the native extension is not available", "tlplat.ops runs in plain torch", lacks)


@functools.cache
def _load_cuda() -> Extension:
    forced = os.environ.get("TLPLAT_FORCE_CUDA") == "1"
    host = load()
    if host.library is None and not forced:
        return Extension(None, "none", host.reason)
    lacks = "install the CUDA toolkit (nvcc) of torch's CUDA version and set CUDA_HOME, or unset TLPLAT_FORCE_CUDA"
    return _attempt(
        _find_cuda, forced, "the CUDA kernels are not available", "tlplat.ops runs in plain torch on the GPU", lacks
    )


def _attempt(find: Callable[[], Extension], forced: bool, missing: str, said: str, fix: str) -> Extension:
    """What ``find`` finds, or why it finds nothing; a warning, or an error where forced."""
    code = "TL-EXT-BUILD"
    try:
        return find()
    except compiling.BuildError as error:
        reason = str(error)
    except AbiError as error:
        reason, code = str(error), "TL-EXT-ABI"
        fix = "pip install --force-reinstall --no-deps --no-build-isolation tlplat  # builds it for this torch"
    except OSError as error:
        reason = f"the build folder cannot be used: {error}"
    if forced:
        raise PluginError(code, f"{missing}: {reason}", fix=fix)
    warnings.warn(f"{said}: {reason}; {fix}", RuntimeWarning, stacklevel=5)
    return Extension(None, "none", reason)


def _find() -> Extension:
    version, torch_dir = str(torch.__version__), Path(torch.__file__).parent
    return _first_that_fits(
        compiling.LIBRARY,
        compiling.INFO,
        compiling.source_digest,
        lambda csrc: compiling.digest(csrc, version),
        lambda csrc, path: compiling.build(csrc, path, torch_dir, version),
    )


def _find_cuda() -> Extension:
    if load().library is None:
        raise compiling.BuildError(f"the CPU library, which it needs, is not there: {load().reason}")
    version, torch_dir = str(torch.__version__), Path(torch.__file__).parent
    return _first_that_fits(
        compiling.CUDA_LIBRARY,
        compiling.CUDA_INFO,
        compiling.cuda_source_digest,
        lambda csrc: compiling.cuda_digest(csrc, version),
        lambda csrc, path: compiling.build_cuda(csrc, path, torch_dir, version, torch.version.cuda),
    )


def _first_that_fits(
    library: str,
    record: str,
    sources: Callable[[Path], str],
    digest: Callable[[Path], str],
    build: Callable[[Path, Path], None],
) -> Extension:
    """The library beside the package, unless ``csrc/`` has changed since; else that of the cache, else a new build."""
    prebuilt = _PACKAGE / library
    stale = prebuilt.exists() and _is_stale(prebuilt.with_name(record), sources)
    if prebuilt.exists() and not stale:
        return _open(prebuilt, "prebuilt", record)
    csrc = _sources()
    path = _builds() / digest(csrc)[:16] / library
    if path.exists():
        return _open(path, "cached", record)
    try:
        build(csrc, path)
    except compiling.BuildError as error:
        if stale:
            raise compiling.BuildError(f"csrc/ has changed since {prebuilt} was built, and {error}") from error
        raise
    return _open(path, "built", record)


def _is_stale(record: Path, sources: Callable[[Path], str]) -> bool:
    """Whether a library is of other sources than those at hand, as in an editable install whose csrc/ was changed."""
    csrc = next((c for c in _CSRC if c.is_dir()), None)
    return csrc is not None and _recorded(record).get("sources") != sources(csrc)


def _recorded(record: Path) -> dict[str, str]:
    return dict(json.loads(record.read_text(encoding="utf-8"))) if record.exists() else {}


def _sources() -> Path:
    csrc = next((c for c in _CSRC if c.is_dir()), None)
    if csrc is None:
        raise compiling.BuildError("this installation has neither a built library nor its sources")
    return csrc


def _builds() -> Path:
    from tlplat.cache import cache_root

    return cache_root() / "builds"


def _open(path: Path, how: str, record: str = compiling.INFO) -> Extension:
    """Load a library after checking what it was built for."""
    info = _recorded(path.with_name(record))
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
    isa = "" if record == compiling.CUDA_INFO else ISAS[library.tlplat_best_isa()]
    return Extension(library, how, "", str(path), isa, info)


def _minor(version: str) -> tuple[int, int]:
    major, minor = version.split("+")[0].split(".")[:2]
    return int(major), int(minor)
