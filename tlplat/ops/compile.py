"""Compiles ``csrc/`` into one library. Standard library only: setup.py runs this file by path, before an install.

No ninja, no torch.utils.cpp_extension: a handful of compiler calls side by side and one link, about as long as the
slowest file takes.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

TORCH_TARGET = (2, 11)
"""The oldest torch whose stable ABI the library uses; it runs on that one and on every later one."""

LIBRARY = "_C.abi3.so"
INFO = "_C.json"
_FLAGS = (
    "-O3",
    "-std=c++20",
    "-fPIC",
    "-fvisibility=hidden",
    "-ffp-contract=fast",
    "-fno-math-errno",
    "-pthread",
    "-Wall",
    "-Wextra",
)


class BuildError(Exception):
    """The library could not be built; the message is one line that says why."""


def sources(csrc: Path) -> list[Path]:
    """Of the CPU library; ``csrc/simt`` holds a tool of the tests."""
    return sorted(p for p in csrc.rglob("*.cpp") if "simt" not in p.relative_to(csrc).parts)


def digest(csrc: Path, torch_version: str) -> str:
    """Changes with every source, flag, compiler and torch that a build depends on."""
    h = hashlib.sha256()
    files = (p for p in csrc.rglob("*") if p.suffix in {".cpp", ".h", ".inc"})
    for path in sorted(p for p in files if not {"simt", "cuda"} & set(p.relative_to(csrc).parts)):
        h.update(path.relative_to(csrc).as_posix().encode() + b"\0" + path.read_bytes())
    h.update(json.dumps([_FLAGS, extra_flags(), compiler(), torch_version, sys.platform, os.uname().machine]).encode())
    return h.hexdigest()


def compiler() -> list[str]:
    """The C++ compiler as a command; CXX decides."""
    return shlex.split(os.environ.get("CXX", "") or "c++")


def extra_flags() -> list[str]:
    """TLPLAT_CXXFLAGS, for sanitizer builds."""
    return shlex.split(os.environ.get("TLPLAT_CXXFLAGS", ""))


def build(csrc: Path, output: Path, torch_dir: Path, torch_version: str) -> None:
    """Write the library to ``output`` and what it was built against beside it; both appear whole or not at all.

    Args:
        torch_dir: the folder of the torch package. torch_version: its version, for the record.

    Raises:
        BuildError: no compiler, too old a torch, or the compiler's first error.
    """
    if tuple(int(x) for x in torch_version.split("+")[0].split(".")[:2] if x.isdigit()) < TORCH_TARGET:
        raise BuildError(f"torch {torch_version} is older than {'.'.join(map(str, TORCH_TARGET))}")
    command = compiler()
    if shutil.which(command[0]) is None:
        raise BuildError(f"no C++ compiler: {command[0]} is not on PATH (install g++ 12 or newer, or set CXX)")
    target = f"-DTORCH_TARGET_VERSION=0x{TORCH_TARGET[0]:02x}{TORCH_TARGET[1]:02x}000000000000"
    include = ["-isystem", str(torch_dir / "include"), f"-I{csrc}"]
    lib = torch_dir / "lib"
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="tlplat-build-") as scratch:
        objects = [Path(scratch) / f"{i}.o" for i in range(len(sources(csrc)))]
        calls = [
            [*command, *_FLAGS, *extra_flags(), target, *include, "-c", str(source), "-o", str(o)]
            for source, o in zip(sources(csrc), objects, strict=True)
        ]
        with ThreadPoolExecutor(max(1, os.cpu_count() or 1)) as pool:
            list(pool.map(run, calls))
        linked = output.with_name(f".{output.name}.{os.getpid()}")
        origin = ["-Wl,-rpath," + str(lib)]
        link = [*map(str, objects), f"-L{lib}", "-ltorch_cpu", *origin, "-o", str(linked)]
        run([*command, "-shared", "-pthread", *extra_flags(), *link])
    info = {
        "torch": torch_version,
        "target": ".".join(map(str, TORCH_TARGET)),
        "compiler": _version(command),
        "python": sysconfig.get_python_version(),
        "machine": os.uname().machine,
    }
    record = output.with_name(f".{INFO}.{os.getpid()}")
    record.write_text(json.dumps(info, indent=1), encoding="utf-8")
    os.replace(record, output.with_name(INFO))
    os.replace(linked, output)


def run(command: Sequence[str]) -> None:
    """Run a compiler; BuildError with its first error."""
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    if found.returncode:
        lines = found.stderr.splitlines()
        first = next((line for line in lines if "error" in line), lines[0] if lines else "no message")
        raise BuildError(f"{command[0]} failed: {first.strip()}")


def _version(command: Sequence[str]) -> str:
    found = subprocess.run([*command, "--version"], capture_output=True, text=True, check=False)
    return found.stdout.splitlines()[0] if found.stdout else command[0]
