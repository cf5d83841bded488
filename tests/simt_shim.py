"""The CUDA kernels built with the SIMT shim (csrc/simt) into a module that runs them on the CPU; built on demand."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import importlib.util
import os
import shutil
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from tlplat.cache import cache_root
from tlplat.ops import compile as compiling

CSRC = Path(__file__).parents[1] / "csrc"
DTYPES = {torch.float32: 0, torch.float64: 1, torch.bfloat16: 2, torch.float16: 3}


@functools.cache
def path() -> Path:
    """The library, built with TLPLAT_CXXFLAGS and kept by its sources' hash."""
    include = [f"-I{sysconfig.get_paths()['include']}", f"-I{_pybind_include()}"]
    flags = [
        "-std=c++20",
        "-O1",
        "-fPIC",
        "-fvisibility=hidden",
        "-Wall",
        "-Wextra",
        "-Werror",
        *compiling.extra_flags(),
    ]
    sources = sorted((CSRC / "simt").glob("*.cpp"))
    headers = [*CSRC.glob("simt/*.h"), *CSRC.glob("heads/*.h"), *CSRC.glob("heads/cuda/*.h")]
    h = hashlib.sha256(repr((flags, compiling.compiler(), sys.version)).encode())
    for file in sorted([*sources, *headers]):
        h.update(file.name.encode() + file.read_bytes())
    library = cache_root() / "builds" / f"simt-{h.hexdigest()[:16]}" / "simt_heads.so"
    if not library.exists():
        library.parent.mkdir(parents=True, exist_ok=True)
        objects = [library.parent / f"{s.stem}.{os.getpid()}.o" for s in sources]
        base = [*compiling.compiler(), *flags]
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda s, o: compiling.run([*base, *include, "-c", str(s), "-o", str(o)]), sources, objects))
        linked = library.with_name(f".{os.getpid()}.so")
        compiling.run([*base, "-shared", *map(str, objects), "-o", str(linked)])
        for file in objects:
            file.unlink()
        os.replace(linked, library)
    return library


def _pybind_include() -> Path:
    """pybind11's headers: torch ships them."""
    return Path(torch.__file__).parent / "include"


@functools.cache
def module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("simt_heads", path())
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


@functools.cache
def library() -> ctypes.CDLL:
    """The same file with its C interface of the fit."""
    return ctypes.CDLL(str(path()))


def missing() -> str:
    """Why the shim cannot be built here; empty where it can."""
    return "" if shutil.which(compiling.compiler()[0]) else f"no C++ compiler ({compiling.compiler()[0]})"


def _array(t: Tensor | None) -> Any:
    if t is None:
        return None
    return (t.view(torch.int16) if t.dtype in (torch.bfloat16, torch.float16) else t).numpy()


def loss(
    z: Tensor, y: Tensor, w: Tensor, b: Tensor | None, class_weight: Tensor | None = None,
    sample_weight: Tensor | None = None, smoothing: float = 0.0, ignore_index: int = -100, reduction: int = 1,
    need_grad: bool = True, **limits: Any,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """As the op ``tlplat::softmax_head_loss``, by the CUDA kernels on the CPU."""
    m = module()
    run = m.loss_f64 if w.dtype == torch.float64 else m.loss_f32
    options = (smoothing, ignore_index, reduction, need_grad, m.Limits(**limits))
    arrays = (_array(t) for t in (y, w, b, class_weight, sample_weight))
    found = run(_array(z), DTYPES[z.dtype], *arrays, *options)
    return tuple(torch.from_numpy(a) for a in found)  # type: ignore[return-value]


def predict(z: Tensor, w: Tensor, b: Tensor | None, **limits: Any) -> Tensor:
    """As the op ``tlplat::softmax_head_predict``."""
    m = module()
    run = m.predict_f64 if w.dtype == torch.float64 else m.predict_f32
    return torch.from_numpy(run(_array(z), DTYPES[z.dtype], _array(w), _array(b), m.Limits(**limits)))
