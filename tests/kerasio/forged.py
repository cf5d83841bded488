"""Keras files made by hand, as an attacker would make them, and how they are refused; nothing needs Keras."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tlplat.errors import ModelError
from tlplat.kerasio.source import load_source

h5py = pytest.importorskip("h5py")


def layer(kind: str, name: str, module: str | None = "keras.layers", **config: Any) -> dict[str, Any]:
    made = {"class_name": kind, "config": {"name": name, **config}}
    return made if module is None else {"module": module, "registered_name": None, **made}


def model(*layers: dict[str, Any]) -> dict[str, Any]:
    rows = layer("InputLayer", "rows", batch_shape=[None, 3])
    ends = [*layers, layer("Dense", "out", units=2, activation="softmax")]
    return {"module": "keras", "class_name": "Sequential", "config": {"name": "m", "layers": [rows, *ends]}}


def weights(file: Any, legacy: bool, width: int = 3) -> None:
    kernel, bias = np.ones((width, 2), np.float32), np.zeros(2, np.float32)
    if legacy:
        group = file.create_group("model_weights/out")
        group.attrs["weight_names"] = ["out/kernel", "out/bias"]
        group["out/kernel"], group["out/bias"] = kernel, bias
    else:
        file["layers/dense/vars/0"], file["layers/dense/vars/1"] = kernel, bias


def h5(path: Path, config: Any = None, more: Callable[[Any], None] = lambda file: None) -> Path:
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(model() if config is None else config)
        weights(file, legacy=True)
        more(file)
    return path


def archive(
    path: Path,
    config: Any = None,
    more: Callable[[Any], None] = lambda file: None,
    extra: dict[str, bytes] | None = None,
) -> Path:
    inner = io.BytesIO()
    with h5py.File(inner, "w") as file:
        weights(file, legacy=False)
        more(file)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bundle:
        text = config if isinstance(config, bytes) else json.dumps(model() if config is None else config).encode()
        bundle.writestr("config.json", text)
        bundle.writestr("metadata.json", "{}")
        bundle.writestr("model.weights.h5", inner.getvalue(), zipfile.ZIP_STORED)
        for name, content in (extra or {}).items():
            bundle.writestr(name, content)
    return path


def refused(path: Path, code: str, *words: str) -> None:
    with pytest.raises(ModelError) as caught:
        load_source(path)
    said = caught.value.render()
    assert caught.value.code == code, said
    assert [word for word in words if word not in said] == [], said


MARK = "import os; os.system('touch PWNED')"
UNSAFE = {
    "module-os": (layer("system", "x", module="os", command="touch PWNED"), "'os'"),
    "module-own": (layer("Dense", "x", module="mine.layers", units=2), "'mine.layers'"),
    "module-near": (layer("Dense", "x", module="keras.layers2", units=2), "keras.layers2"),
    "module-utils": (layer("get_file", "x", module="keras.utils", origin="http://127.0.0.1/x"), "keras.utils"),
    "lambda": (layer("Lambda", "x", function={"class_name": "__lambda__", "config": {"code": MARK}}), "Lambda"),
    "lambda-inside": (
        layer("Dense", "x", units=2, kernel_initializer={"class_name": "__lambda__", "config": {"code": MARK}}),
        "__lambda__",
    ),
    "function-inside": (
        layer("Dense", "x", units=2, activation={"module": "builtins", "class_name": "function", "config": "exec"}),
        "builtins",
    ),
    "vocabulary": (layer("StringLookup", "x", vocabulary="/etc/passwd"), "StringLookup"),
    "saved-model": (layer("TFSMLayer", "x", filepath="http://127.0.0.1/model"), "TFSMLayer"),
    "torch": (layer("TorchModuleWrapper", "x", module={"module": "torch", "class_name": "Linear"}), "not in the"),
}
