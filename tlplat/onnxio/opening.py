"""An ONNX file of the user's, opened: parsed, its external data read from its own folder alone, its operators known.

onnxruntime never sees the file, only bytes in memory that hold all tensors: it has no path to follow.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tlplat.disk import read_errors
from tlplat.errors import Finding, ModelError, PluginError
from tlplat.onnxio.external import inlined
from tlplat.tensorfile import damaged

MOST_BYTES = (1 << 31) - 1
"""What a protobuf can hold."""
DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft")
"""Of the operators that onnxruntime brings itself."""
DRAWS = ("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike")
REFUSED = {
    "Loop": "need not end",
    "EPContext": "reads files of its own",
    **dict.fromkeys(DRAWS, "draws at random, so that a row has no features of its own"),
}
"""Operators of these domains that an extractor must not have, and why."""


def library() -> Any:
    """The package onnx.

    Raises:
        PluginError TL-PLUGIN-EXTRA: it, or onnxruntime, is not installed.
    """
    try:
        import onnx
        import onnxruntime  # noqa: F401  what runs the model
    except ImportError as error:
        raise PluginError(
            "TL-PLUGIN-EXTRA", f"an ONNX model needs {error.name}", fix="pip install 'tlplat[onnx]'"
        ) from error
    return onnx


def opened(path: Path) -> Any:
    """The file's ``ModelProto``, whole in memory: external data are read into it.

    Raises:
        ModelError: TL-MODEL-CORRUPT (empty, no protobuf, no valid model), TL-MODEL-TOO-BIG, TL-MODEL-PATH and
            TL-MODEL-INCOMPLETE (external data outside of the folder, or not there), TL-MODEL-UNSUPPORTED (custom
            operators, and those that an extractor must not have), TL-MODEL-VERSION (newer than the package onnx).
        PluginError TL-PLUGIN-EXTRA: onnx is not installed. ResourceError TL-IO-READ.
    """
    onnx = library()
    with read_errors(path):
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise too_big(path, f"{path.name} has {size} bytes", f"at most {MOST_BYTES}")
        content = path.read_bytes()
    if not content:
        raise corrupt(path, "it has 0 bytes, which is no protobuf of a model")
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load_model_from_string(content)
    except DecodeError as error:
        raise corrupt(path, "it is no protobuf of an ONNX model") from error
    if not model.ir_version or not model.HasField("graph") or not model.graph.output:
        raise corrupt(path, "it is a protobuf, but of no ONNX model")
    _need_known_version(onnx, model, path)
    _need_known_operators(model, path)
    inlined(model, path)
    _check(onnx, model, path)
    return model


def nodes(graphs: Any) -> Iterator[Any]:
    """Every node of graphs or functions, those of inner graphs included."""
    for graph in graphs:
        for node in graph.node:
            yield node
            for attribute in node.attribute:
                yield from nodes([*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs])


def _need_known_version(onnx: Any, model: Any, path: Path) -> None:
    newest = onnx.defs.onnx_opset_version()
    sets = [o.version for o in model.opset_import if o.domain in ("", "ai.onnx")]
    if model.ir_version > onnx.IR_VERSION or any(version > newest for version in sets):
        raise ModelError(
            "TL-MODEL-VERSION",
            f"{path.name} is written for a newer ONNX than the one installed",
            where=str(path),
            found=f"format {model.ir_version}, operators {sets}",
            expected=f"at most format {onnx.IR_VERSION}, operators {newest}",
            fix="pip install --upgrade onnx onnxruntime, or export the model for older operators",
        )


def _need_known_operators(model: Any, path: Path) -> None:
    own = {(f.domain, f.name) for f in model.functions}
    foreign: dict[tuple[str, str], str] = {}
    refused: dict[str, str] = {}
    for node in nodes([model.graph, *model.functions]):
        if (node.domain, node.op_type) in own:
            continue
        if node.domain not in DOMAINS:
            foreign.setdefault((node.domain, node.op_type), node.name)
        elif node.op_type in REFUSED:
            refused.setdefault(node.op_type, node.name)
    if foreign:
        raise ModelError(
            "TL-MODEL-UNSUPPORTED",
            f"{path.name} uses a custom operator, which no library here may bring",
            where=str(path),
            findings=[
                Finding(f"custom operator {d[:60]}::{op[:60]}", n[:60] or None) for (d, op), n in foreign.items()
            ],
            fix="export the model with standard ONNX operators alone",
        )
    if refused:
        raise ModelError(
            "TL-MODEL-UNSUPPORTED",
            f"{path.name} uses an operator that an extractor of features must not have",
            where=str(path),
            findings=[Finding(f"{op} {REFUSED[op]}", n[:60] or None) for op, n in refused.items()],
            fix="export the model for inference, in eval mode, without loops",
        )


def _check(onnx: Any, model: Any, path: Path) -> None:
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise corrupt(path, f"it is a protobuf, but no valid model ({_first_line(error)})") from error
    except (ValueError, RuntimeError) as error:  # protobuf's own, of a model beyond 2 GiB
        raise too_big(path, f"{path.name} is too large with its external data", _first_line(error)) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def corrupt(path: Path, why: str) -> ModelError:
    """TL-MODEL-CORRUPT for the file."""
    return damaged(path, why, "export the model again")


def too_big(path: Path, message: str, found: str) -> ModelError:
    """TL-MODEL-TOO-BIG for the file."""
    return ModelError(
        "TL-MODEL-TOO-BIG", message, where=str(path), found=found, fix="export a smaller model, or smaller rows"
    )
