"""The CUDA library is built without a GPU, and what is said where it cannot be."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tlplat.ops import compile as compiling
from tlplat.ops import extension

CSRC = Path(__file__).parents[2] / "csrc"
TORCH = Path(torch.__file__).parent


@pytest.fixture(autouse=True)
def implementation() -> str:
    return "none"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_nvcc_compiles_the_kernels_for_sm_80_and_sm_90(tmp_path: Path) -> None:
    if compiling.nvcc_path() is None:
        pytest.skip("there is no nvcc")
    library = tmp_path / "package" / compiling.CUDA_LIBRARY
    compiling.build_cuda(CSRC, library, TORCH, str(torch.__version__), torch.version.cuda)
    record = json.loads((library.parent / compiling.CUDA_INFO).read_text(encoding="utf-8"))
    assert record["torch"] == torch.__version__
    assert float(record["cuda"]) >= 12
    data = library.read_bytes()
    for symbol in (b"libtorch_cuda.so", b"tlplat_cuda_fit_create", b"tlplat_cuda_fit_size"):
        assert symbol in data, symbol
    assert b"libcudart.so" not in data  # it is linked in, so that the library is of no one CUDA release
    if torch.version.cuda is None:
        child = [sys.executable, "-c", f"import ctypes, torch; ctypes.CDLL({str(library)!r})"]
        assert "libtorch_cuda.so" in subprocess.run(child, capture_output=True, text=True, check=False).stderr


def test_sources_and_digests_are_apart(tmp_path: Path) -> None:
    for name in ("heads/ops.cpp", "heads/cuda/ops.cu", "heads/cuda/pass.h", "heads/cpu/pass.h", "heads/problem.h"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("", encoding="utf-8")
    assert [p.name for p in compiling.cuda_sources(tmp_path)] == ["ops.cu"]
    assert [p.name for p in compiling.sources(tmp_path)] == ["ops.cpp"]
    both = {"heads/problem.h": (True, True), "heads/cpu/pass.h": (True, False), "heads/cuda/pass.h": (False, True)}
    for name, (host, device) in both.items():
        before = compiling.digest(tmp_path, "2.11"), compiling.cuda_digest(tmp_path, "2.11")
        (tmp_path / name).write_text("changed", encoding="utf-8")
        after = compiling.digest(tmp_path, "2.11"), compiling.cuda_digest(tmp_path, "2.11")
        assert [a != b for a, b in zip(before, after, strict=True)] == [host, device], name


def _nvcc(folder: Path, release: str) -> Path:
    """A compiler that only says which release it is of."""
    nvcc = folder / "bin" / "nvcc"
    nvcc.parent.mkdir(parents=True)
    nvcc.write_text(f"#!/bin/sh\necho 'Cuda compilation tools, release {release}, V{release}.1'\n", encoding="utf-8")
    nvcc.chmod(0o755)
    return nvcc


def test_the_compiler_is_that_of_cuda_home_and_not_later_than_torchs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nvcc = _nvcc(tmp_path, "13.2")
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    assert compiling.nvcc_path() == str(nvcc)
    with pytest.raises(compiling.BuildError, match=r"of CUDA 13, later than torch's 12.8: set CUDA_HOME"):
        compiling.build_cuda(CSRC, tmp_path / "x.so", TORCH, "2.11.0", "12.8")


def test_without_nvcc_the_reference_runs_and_it_is_said_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(compiling, "nvcc_path", lambda: None)
    monkeypatch.setattr(extension, "_PACKAGE", Path("/nowhere"))
    monkeypatch.setenv("TLPLAT_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(extension, "load", lambda: extension.Extension(torch.ops, "cached"))
    monkeypatch.delenv("TLPLAT_FORCE_CUDA", raising=False)
    extension._load_cuda.cache_clear()
    try:
        with pytest.warns(
            RuntimeWarning, match=r"plain torch on the GPU: no CUDA compiler: nvcc is not on PATH"
        ) as said:
            reasons = [extension.load_cuda().reason for _ in range(2)]
        assert all("nvcc is not on PATH" in reason for reason in reasons)
        assert len(said) == 1
        monkeypatch.setenv("TLPLAT_FORCE_CUDA", "1")
        extension._load_cuda.cache_clear()
        with pytest.raises(extension.PluginError, match="the CUDA kernels are not available"):
            extension.load_cuda()
    finally:
        extension._load_cuda.cache_clear()


def test_the_doctor_says_why_there_are_no_cuda_kernels() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    cuda = extension.build_info()["cuda"]
    assert cuda["implementation"] == "reference"
    assert cuda["reason"] in ("torch is built without CUDA", "torch sees no GPU")
