"""Compiles ``csrc/`` into a library for the CPU and one for CUDA. Standard library only: setup.py runs it by path.

No ninja, no torch.utils.cpp_extension: a handful of compiler calls side by side and one link, about as long as the
slowest file takes. The CUDA library holds the kernels of GPUs alone, so that the CPU's never needs libtorch_cuda.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

TORCH_TARGET = (2, 11)
"""The oldest torch whose stable ABI the library uses; it runs on that one and on every later one."""

LIBRARY = "_C.abi3.so"
INFO = "_C.json"
CUDA_LIBRARY = "_C_cuda.abi3.so"
CUDA_INFO = "_C_cuda.json"
_FLAGS = (
    "-O2",
    "-std=c++20",
    "-fPIC",
    "-fvisibility=hidden",
    "-ffp-contract=fast",
    "-fno-math-errno",
    "-pthread",
    "-Wall",
    "-Wextra",
)
_KERNEL_FLAGS = ("-O3",)
"""Of the inner kernels, csrc/isa; elsewhere they buy time to compile and nothing else."""
_CUDA_FLAGS = (
    "-O2",
    "-std=c++20",
    "--expt-relaxed-constexpr",
    "--threads=2",
    "-gencode=arch=compute_80,code=sm_80",
    "-gencode=arch=compute_90,code=sm_90",
    "-gencode=arch=compute_90,code=compute_90",
    "-Xcompiler=-fPIC,-fvisibility=hidden,-Wall",
)
_CUDA_HOMES = ("CUDA_HOME", "CUDA_PATH")


class BuildError(Exception):
    """The library could not be built; the message is one line that says why."""


def sources(csrc: Path) -> list[Path]:
    """Of the CPU library; ``csrc/simt`` holds a tool of the tests."""
    return sorted(p for p in csrc.rglob("*.cpp") if "simt" not in p.relative_to(csrc).parts)


def cuda_sources(csrc: Path) -> list[Path]:
    """Of the CUDA library."""
    return sorted(csrc.rglob("*.cu"))


def digest(csrc: Path, torch_version: str) -> str:
    """Changes with every source, flag, compiler and torch that a build depends on."""
    return _digest(csrc, _read_by_cpu(csrc), [_FLAGS, _KERNEL_FLAGS, extra_flags(), compiler(), torch_version])


def cuda_digest(csrc: Path, torch_version: str) -> str:
    """The same for the CUDA library."""
    nvcc = nvcc_path()
    facts = [_CUDA_FLAGS, cuda_flags(), compiler(), nvcc and os.path.realpath(nvcc), torch_version]
    return _digest(csrc, _read_by_cuda(csrc), facts)


def source_digest(csrc: Path) -> str:
    """Changes with the sources of the CPU library alone; its record keeps it."""
    return _digest(csrc, _read_by_cpu(csrc), [])


def cuda_source_digest(csrc: Path) -> str:
    """The same for the CUDA library."""
    return _digest(csrc, _read_by_cuda(csrc), [])


def _read_by_cpu(csrc: Path) -> Iterable[Path]:
    files = (p for p in csrc.rglob("*") if p.suffix in {".cpp", ".h", ".inc"})
    return (p for p in files if not {"simt", "cuda"} & set(p.relative_to(csrc).parts))


def _read_by_cuda(csrc: Path) -> Iterable[Path]:
    return (p for p in csrc.rglob("*") if p.suffix in {".cu", ".cuh", ".h"} and "cpu" not in p.relative_to(csrc).parts)


def _digest(csrc: Path, files: Iterable[Path], facts: list[Any]) -> str:
    h = hashlib.sha256()
    for path in sorted(files):
        h.update(path.relative_to(csrc).as_posix().encode() + b"\0" + path.read_bytes())
    h.update(json.dumps([*facts, sys.platform, os.uname().machine]).encode())
    return h.hexdigest()


def compiler() -> list[str]:
    """The C++ compiler as a command; CXX decides."""
    return shlex.split(os.environ.get("CXX", "") or "c++")


def extra_flags() -> list[str]:
    """TLPLAT_CXXFLAGS, for sanitizer builds."""
    return shlex.split(os.environ.get("TLPLAT_CXXFLAGS", ""))


def cuda_flags() -> list[str]:
    """TLPLAT_NVCCFLAGS, for example -lineinfo."""
    return shlex.split(os.environ.get("TLPLAT_NVCCFLAGS", ""))


def nvcc_path() -> str | None:
    """NVIDIA's compiler: of CUDA_HOME, on PATH, or in /usr/local/cuda."""
    homes = [os.environ[name] for name in _CUDA_HOMES if os.environ.get(name)]
    near = [shutil.which("nvcc", path=os.path.join(home, "bin")) for home in homes]
    found = [*near, shutil.which("nvcc"), shutil.which("nvcc", path="/usr/local/cuda/bin")]
    return next((path for path in found if path), None)


def build(csrc: Path, output: Path, torch_dir: Path, torch_version: str) -> None:
    """Write the library to ``output`` and what it was built against beside it; both appear whole or not at all.

    Args:
        torch_dir: the folder of the torch package. torch_version: its version, for the record.

    Raises:
        BuildError: no compiler, too old a torch, or the compiler's first error.
    """
    command = _host_compiler(torch_version)
    lib = torch_dir / "lib"
    include = ["-isystem", str(torch_dir / "include"), f"-I{csrc}"]
    with tempfile.TemporaryDirectory(prefix="tlplat-build-") as scratch:
        rest = [*extra_flags(), _target(), *include]
        files = sources(csrc)
        kernels = [_KERNEL_FLAGS if file.parent.name == "isa" else () for file in files]
        objects = _compile([[*command, *_FLAGS, *more, *rest] for more in kernels], files, Path(scratch))
        libraries = [f"-L{lib}", "-ltorch_cpu", f"-Wl,-rpath,{lib}"]
        link = [*command, "-shared", "-pthread", *extra_flags(), *objects, *libraries]
        _publish(link, output, INFO, torch_version, {"sources": source_digest(csrc)})


def build_cuda(csrc: Path, output: Path, torch_dir: Path, torch_version: str, torch_cuda: str | None) -> None:
    """The same for the CUDA library, for GPUs of compute capability 8.0 and 9.0 and, through PTX, later ones.

    Args:
        torch_cuda: the version of CUDA that torch was built with, None for a torch without CUDA: the library is built
            all the same, and runs on a torch with CUDA.

    Raises:
        BuildError: no nvcc, one of a later CUDA than torch's, or what :func:`build` raises.
    """
    nvcc, command = nvcc_path(), _host_compiler(torch_version)
    if nvcc is None:
        raise BuildError("no CUDA compiler: nvcc is not on PATH (install the CUDA toolkit, or set CUDA_HOME)")
    release = re.search(r"release (\d+)\.(\d+)", _version([nvcc], whole=True))
    if release and torch_cuda and int(release[1]) > int(torch_cuda.split(".")[0]):
        raise BuildError(f"{nvcc} is of CUDA {release[1]}, later than torch's {torch_cuda}: set CUDA_HOME to that one")
    lib = torch_dir / "lib"
    base = [nvcc, f"-ccbin={command[0]}", *_CUDA_FLAGS, *cuda_flags()]
    include = ["-isystem", str(torch_dir / "include"), f"-I{csrc}"]
    with tempfile.TemporaryDirectory(prefix="tlplat-build-") as scratch:
        files = cuda_sources(csrc)
        objects = _compile([[*base, _target(), *include]] * len(files), files, Path(scratch))
        libraries = [f"-L{lib}", f"-L{scratch}", "-ltorch_cuda", "-ltorch_cpu", f"-Xlinker=-rpath={lib}"]
        if not (lib / "libtorch_cuda.so").exists():
            # Only its name is wanted: what the library needs at run time.
            named = ["-shared", "-Wl,-soname,libtorch_cuda.so", "-o", f"{scratch}/libtorch_cuda.so"]
            run([*command, "-x", "c++", "/dev/null", *named])
        link = [*base, "-shared", "-Xlinker=--no-as-needed,--exclude-libs=ALL", *objects, *libraries]
        facts = {"cuda": ".".join(release.groups()) if release else "unknown", "sources": cuda_source_digest(csrc)}
        _publish(link, output, CUDA_INFO, torch_version, facts)


def _host_compiler(torch_version: str) -> list[str]:
    if tuple(int(x) for x in torch_version.split("+")[0].split(".")[:2] if x.isdigit()) < TORCH_TARGET:
        raise BuildError(f"torch {torch_version} is older than {'.'.join(map(str, TORCH_TARGET))}")
    command = compiler()
    if shutil.which(command[0]) is None:
        raise BuildError(f"no C++ compiler: {command[0]} is not on PATH (install g++ 12 or newer, or set CXX)")
    return command


def _target() -> str:
    return f"-DTORCH_TARGET_VERSION=0x{TORCH_TARGET[0]:02x}{TORCH_TARGET[1]:02x}000000000000"


def _compile(commands: Sequence[Sequence[str]], files: Sequence[Path], folder: Path) -> list[str]:
    """The objects of the files, each by its command."""
    objects = [str(folder / f"{i}.o") for i in range(len(files))]
    calls = [[*c, "-c", str(file), "-o", o] for c, file, o in zip(commands, files, objects, strict=True)]
    with ThreadPoolExecutor(max(1, os.cpu_count() or 1)) as pool:
        list(pool.map(run, calls))
    return objects


def _publish(link: Sequence[str], output: Path, record: str, torch_version: str, facts: Mapping[str, str]) -> None:
    """Link, and put the library and its record in place."""
    output.parent.mkdir(parents=True, exist_ok=True)
    linked = output.with_name(f".{output.name}.{os.getpid()}")
    run([*link, "-o", str(linked)])
    info = {
        "torch": torch_version,
        "target": ".".join(map(str, TORCH_TARGET)),
        "compiler": _version(compiler()),
        "python": sysconfig.get_python_version(),
        "machine": os.uname().machine,
        **facts,
    }
    written = output.with_name(f".{record}.{os.getpid()}")
    written.write_text(json.dumps(info, indent=1), encoding="utf-8")
    os.replace(written, output.with_name(record))
    os.replace(linked, output)


def run(command: Sequence[str]) -> None:
    """Run a compiler; BuildError with its first error."""
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    if found.returncode:
        lines = found.stderr.splitlines()
        first = next((line for line in lines if "error" in line), lines[0] if lines else "no message")
        raise BuildError(f"{command[0]} failed: {first.strip()}")


def _version(command: Sequence[str], whole: bool = False) -> str:
    found = subprocess.run([*command, "--version"], capture_output=True, text=True, check=False)
    lines = found.stdout.splitlines() or [command[0]]
    return "\n".join(lines) if whole else lines[0]
