"""Models as users should not have them (mdl-*): through the command line, with exit code, error code, and no trace."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn


class Evil:
    """Touches a file where a loader runs it."""

    def __reduce__(self):
        return os.system, ("touch PWNED",)


class Other:
    """A class that no loader of tensors knows."""


def saved(thing: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(thing, buffer)
    return buffer.getvalue()


def header(document: object, data: bytes = b"") -> bytes:
    text = document if isinstance(document, bytes) else json.dumps(document).encode()
    return struct.pack("<Q", len(text)) + text + data


def scripted() -> bytes:
    """The members that mark TorchScript; torch.jit.save itself warns that it is deprecated."""
    return zipped({"m/data.pkl": b"x", "m/code/__torch__.py": b"class M: pass", "m/constants.pkl": b"x"})


def zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def objects() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, a=np.array([Evil()], dtype=object))
    return buffer.getvalue()


def keras(config: object, extra: dict[str, bytes] | None = None) -> bytes:
    return zipped({"config.json": json.dumps(config).encode(), "model.weights.h5": hdf5(), **(extra or {})})


def hdf5(config: object = None, bomb: bool = False) -> bytes:
    h5py = pytest.importorskip("h5py")
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        if config is not None:
            file.attrs["model_config"] = json.dumps(config)
        if bomb:
            file.create_dataset("zeros", shape=(50_000_000, 50_000_000), dtype="f4", chunks=(1000, 1000))
    return buffer.getvalue()


def layers(*kinds: dict[str, object]) -> dict[str, object]:
    rows = {"module": "keras.layers", "class_name": "InputLayer", "config": {"name": "x", "batch_shape": [None, 3]}}
    return {"module": "keras", "class_name": "Sequential", "config": {"name": "m", "layers": [rows, *kinds]}}


TENSORS = {"a.weight": torch.ones(2, 3)}
OS = {"module": "os", "class_name": "system", "config": {"command": "touch PWNED"}}
LOOKUP = {"module": "keras.layers", "class_name": "StringLookup", "config": {"name": "s", "vocabulary": "/etc/passwd"}}
MEMORY = {"module": "keras.layers", "class_name": "ConvLSTM2D", "config": {"name": "memory", "filters": 4}}
HUGE = {"a": {"dtype": "F32", "shape": [4194305, 4194305, 211106198978564], "data_offsets": [0, 16]}}
CASES = {
    "mdl-pt-evil-pickle": (
        *("m.pt", lambda: saved({"x": Evil()}), "UNSAFE"),
        ["m.pt", "posix.system", "refused", "convert", "safetensors"],
    ),
    "mdl-pt-whole-module": (
        *("m.pt", lambda: saved(nn.Linear(2, 2)), "UNSAFE"),
        ["torch.nn.modules.linear.Linear", "state_dict"],
    ),
    "mdl-pt-fallback": ("m.pt", lambda: saved({"w": torch.ones(2), "x": Other()}), "UNSAFE", ["Other"]),
    "mdl-pt-empty": ("m.pt", lambda: b"", "CORRUPT", ["m.pt", "0 bytes"]),
    "mdl-pt-truncated": ("m.pt", lambda: saved(TENSORS)[:600], "CORRUPT", ["m.pt", "truncated"]),
    "mdl-pt-torchscript": ("m.pt", scripted, "UNSAFE", ["TorchScript", "executable"]),
    "mdl-joblib-dill": ("m.joblib", lambda: pickle.dumps([Evil()], 4), "UNSAFE", ["pickle", "not supported"]),
    "mdl-dill-by-content": ("m.bin", lambda: pickle.dumps([Evil()], 4), "UNSAFE", ["pickle", "not supported"]),
    "mdl-npz-pickle": ("m.npz", objects, "UNSAFE", ["allow_pickle"]),
    "mdl-st-header-huge": ("m.safetensors", lambda: struct.pack("<Q", 2**60) + b"{}", "CORRUPT", ["header"]),
    "mdl-st-shape-overflow": ("m.safetensors", lambda: header(HUGE, b"\0" * 16), "CORRUPT", ["overflow"]),
    "mdl-st-dtype-unknown": (
        *("m.safetensors", lambda: header({"a": {"dtype": "NOT", "shape": [1], "data_offsets": [0, 4]}}, b"\0" * 4)),
        *("DTYPE", ["dtype"]),
    ),
    "mdl-h5-shape-bomb": ("m.h5", lambda: hdf5(layers(), bomb=True), "TOO-BIG", ["declares", "stored"]),
    "mdl-keras-zip-config": ("m.keras", lambda: keras(layers(OS)), "UNSAFE", ["config.json", "not in the allow-list"]),
    "mdl-keras-vocabulary": ("m.keras", lambda: keras(layers(LOOKUP)), "UNSAFE", ["config.json", "StringLookup"]),
    "mdl-keras-h5-unsupported-layer": (
        *("m.h5", lambda: hdf5(layers(MEMORY)), "UNSUPPORTED"),
        ["layer", "memory", "class", "ConvLSTM2D", "supported layers"],
    ),
    "mdl-zip-bomb-pt": ("m.pt", lambda: zipped({"m/data.pkl": b"\0" * 30_000_000}), "TOO-BIG", ["ratio"]),
    "mdl-zip-bomb-keras": ("m.keras", lambda: keras(layers(), {"a": b"\0" * 30_000_000}), "TOO-BIG", ["ratio"]),
    "mdl-zip-slip": ("m.keras", lambda: keras(layers(), {"../../x": b"x"}), "PATH", ["member"]),
    "mdl-zip-slip-absolute": ("m.keras", lambda: keras(layers(), {"/tmp/x": b"x"}), "PATH", ["member"]),
}


@pytest.mark.parametrize("case", CASES)
def test_refused_without_a_trace(case, tlplat, tmp_path, monkeypatch):
    name, content, code, words = CASES[case]
    work = tmp_path / "work"
    monkeypatch.setenv("TLPLAT_CACHE_DIR", str(tmp_path / "cache"))
    np.savez(work / "rows.npz", x=np.ones((40, 3), "f"), y=np.arange(40) % 2)
    (work / name).write_bytes(content())
    before = state(tmp_path)
    done = tlplat("run", "--domain", "arrays", "--data", "rows.npz", "--source", name, "--threads", "1", "--out", "out")
    assert (done.code, done.error) == (4, f"TL-MODEL-{code}"), done.err
    assert [word for word in words if word not in done.err] == [], done.err
    assert "weights_only=False" not in done.err
    assert state(tmp_path) == before


def state(folder: Path) -> dict[Path, int]:
    """Every path, with the time of a file's content."""
    return {p: 0 if p.is_dir() else p.lstat().st_mtime_ns for p in folder.rglob("*")}


def test_weights_without_a_network_say_what_is_accepted(tlplat, tmp_path):
    """A sound state dict, in a domain that has no network of its own."""
    work = tmp_path / "work"
    np.savez(work / "rows.npz", x=np.ones((40, 3), "f"), y=np.arange(40) % 2)
    torch.save(TENSORS, work / "m.pt")
    done = tlplat("run", "--domain", "arrays", "--data", "rows.npz", "--source", "m.pt", "--out", "out")
    assert (done.code, done.error) == (4, "TL-MODEL-UNSUPPORTED")
    assert ".keras, .h5, .onnx" in done.err
    assert "source=module" in done.err
