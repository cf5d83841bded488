"""Which native library is loaded, or why none is: in a process of its own each, since a process loads one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tlplat.ops import compile as compiling
from tlplat.ops import extension

CSRC = Path(extension.__file__).parents[2] / "csrc"


@pytest.fixture(autouse=True)
def _once(implementation: str) -> None:
    if implementation != "native":
        pytest.skip("says itself which is meant")


def _child(code: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], env=os.environ | env, capture_output=True, text=True, check=False, timeout=300
    )


FIT = (
    "import torch, json\nfrom tlplat.ops import fit_softmax_heads, build_info\n"
    "fit_softmax_heads(torch.eye(4), torch.tensor([0, 1, 0, 1]), 2, weight_decay=1)\n"
    "fit_softmax_heads(torch.eye(4), torch.tensor([0, 1, 0, 1]), 2, weight_decay=1)\n"
    "print(build_info()['implementation'], build_info()['reason'])\n"
)


def test_no_ext_is_silent_plain_torch() -> None:
    found = _child(FIT, TLPLAT_NO_EXT="1")
    assert found.stdout == "reference TLPLAT_NO_EXT=1\n"
    assert "RuntimeWarning" not in found.stderr


def test_without_a_compiler_it_says_so_once(tmp_path: Path) -> None:
    code = "from tlplat.ops import extension\nextension._PACKAGE = extension.Path('/nowhere')\n" + FIT
    found = _child(code, CXX="no-such-compiler", TLPLAT_CACHE_DIR=str(tmp_path))
    assert found.stdout.startswith("reference no C++ compiler: no-such-compiler")
    assert found.stderr.count("RuntimeWarning") == 1


def test_forced_and_missing_is_an_error_with_exit_code_5(tmp_path: Path) -> None:
    code = "from tlplat.ops import extension\nextension._PACKAGE = extension.Path('/nowhere')\n" + FIT
    found = _child(code, CXX="no-such-compiler", TLPLAT_FORCE_EXT="1", TLPLAT_CACHE_DIR=str(tmp_path))
    assert found.returncode
    assert "TL-EXT-BUILD" in found.stderr


def test_a_library_for_another_torch_is_refused_with_both_versions(tmp_path: Path) -> None:
    (tmp_path / "_C.abi3.so").write_bytes(b"")
    record = {"torch": "9.9.0", "target": "9.9", "sources": compiling.source_digest(CSRC)}
    (tmp_path / "_C.json").write_text(json.dumps(record), encoding="utf-8")
    code = f"from tlplat.ops import extension\nextension._PACKAGE = extension.Path({str(tmp_path)!r})\n" + FIT
    found = _child(code)
    assert "built for torch 9.9" in found.stderr
    assert f"found torch {torch.__version__}" in found.stderr
    assert found.stdout.startswith("reference")
    assert "TL-EXT-ABI" in _child(code, TLPLAT_FORCE_EXT="1").stderr


def _installed(tmp_path: Path) -> str:
    """An editable install with a library of its sources: csrc/ beside the package; code that looks there."""
    built = Path(extension.load().path)
    (tmp_path / "tlplat").mkdir()
    shutil.copy(built, tmp_path / "tlplat")
    shutil.copy(built.with_name(compiling.INFO), tmp_path / "tlplat")
    record = json.loads(built.with_name(compiling.INFO).read_text(encoding="utf-8"))
    record["sources"] = compiling.source_digest(CSRC)
    (tmp_path / "tlplat" / compiling.INFO).write_text(json.dumps(record), encoding="utf-8")
    shutil.copytree(CSRC, tmp_path / "csrc")
    return (
        "from tlplat.ops import extension\n"
        f"extension._PACKAGE = extension.Path({str(tmp_path / 'tlplat')!r})\n"
        f"extension._CSRC = (extension.Path({str(tmp_path / 'csrc')!r}),)\n"
        f"{FIT}print(build_info()['how'])\n"
    )


def test_a_library_of_other_sources_is_not_loaded(tmp_path: Path) -> None:
    code, nowhere = _installed(tmp_path), {"CXX": "no-such-compiler", "TLPLAT_CACHE_DIR": str(tmp_path / "cache")}
    assert _child(code, **nowhere).stdout.splitlines()[-1] == "prebuilt"
    with (tmp_path / "csrc" / "heads" / "face.h").open("a", encoding="utf-8") as file:
        file.write("// an op more\n")
    found = _child(code, **nowhere)
    assert found.stdout.startswith("reference csrc/ has changed since")
    assert "no-such-compiler is not on PATH" in found.stdout
    assert found.stderr.count("RuntimeWarning") == 1


@pytest.mark.slow
def test_a_library_of_other_sources_is_built_anew(tmp_path: Path) -> None:
    code = _installed(tmp_path)
    with (tmp_path / "csrc" / "heads" / "face.h").open("a", encoding="utf-8") as file:
        file.write("// an op more\n")
    for how in ("built", "cached"):
        found = _child(code, TLPLAT_CACHE_DIR=str(tmp_path / "cache"))
        assert found.stdout.startswith("native")
        assert found.stdout.splitlines()[-1] == how
