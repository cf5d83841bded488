"""An ONNX file as a source model: a frozen extractor of features, with the head that was cut off where it is linear."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tlplat.errors import ModelError
from tlplat.intake import Intake, NetworkInput
from tlplat.model import SourceModel, TaskInfo
from tlplat.onnxio.backbone import OnnxBackbone
from tlplat.onnxio.ending import Ending, cut, ending, need_modest
from tlplat.onnxio.inputs import inputs_of
from tlplat.onnxio.opening import opened
from tlplat.onnxio.running import digest_of, run, session
from tlplat.onnxio.tokens import OnnxTokens
from tlplat.outputs import head_of_outputs, task_of_outputs
from tlplat.plan import Ref
from tlplat.storage import sha256_file

SUFFIX, MARK = ".onnx", "#"
TOKENIZER = "tokenizer.json"
PLACES = ("model.onnx", "onnx/model.onnx")
"""Of the file in a folder that exporters of text models write."""


def is_onnx(name: str) -> bool:
    """Whether ``--source name`` means an ONNX file: ``FILE.onnx``, ``FILE.onnx#TENSOR``, or a text model's folder.

    Such a folder has the file and its tokeniser, and no weights in safetensors, which could move.
    """
    return _parted(name)[0].suffix == SUFFIX


def load_source(name: str, domain: str, feed: Callable[[NetworkInput], Intake]) -> SourceModel:
    """The graph in the file up to its features, as a source.

    Args:
        name: the file; behind a ``#`` the tensor that features are, ``output`` for what the graph gives. Or a folder.
        domain: whose preprocessing in the file's metadata counts. feed: how its rows reach the network.

    Raises:
        ModelError: what :func:`tlplat.onnxio.opening.opened` raises; TL-MODEL-INPUT (one that ``feed`` has no rows
            for, or several), TL-MODEL-OUTPUT (no features), TL-MODEL-LABELS, TL-MODEL-UNSUPPORTED.
    """
    path, wanted = _parted(name)
    model = opened(path)
    need_modest(model, path)
    given, rows = inputs_of(model, path, domain)
    intake = feed(given)
    if given.more and len(intake.feeds) != len(given.inputs):
        raise given.misfit(domain, "one tensor", "export it with one input")
    ends = ending(model, path, wanted)
    content = cut(model, ends.features)
    digest = digest_of(content)
    made = session(digest, content)
    if intake.feeds:
        shape = _shape_of_tokens(made, given, rows, intake, path)
    else:
        shape = _shape(made, _rows(given, rows, intake), path)
    common = {"digest": digest, "size": len(content), "rows": rows}
    base = _of_tokens(common, given, intake, shape) if intake.feeds else _of_rows(common, given, intake, shape)
    head, task = _head(ends, intake, given, shape, base.args["width"], path)
    return SourceModel(
        name=Path(name).name if Path(name).is_dir() else path.stem,
        base=base,
        state={"blocks.graph.content": torch.from_numpy(np.frombuffer(content, dtype=np.uint8).copy())},
        head=head,
        task=task,
        preprocess=dict(intake.preprocess),
        provenance={
            "data": "not told by the file",
            "license": "the user's own",
            "citation": "",
            "file": path.name,
            "features": ends.features + _pooled(intake, shape),
            "weights_sha256": sha256_file(path),
        },
    )


def _parted(name: str) -> tuple[Path, str | None]:
    """File and tensor; a file whose name holds the mark is itself."""
    folder = Path(name)
    if folder.is_dir():
        found = next((folder / place for place in PLACES if (folder / place).is_file()), folder)
        weights = any(folder.glob("*.safetensors*"))
        return (folder if weights or not (folder / TOKENIZER).is_file() else found), None
    file, mark, tensor = name.partition(SUFFIX + MARK)
    if not mark or folder.exists():
        return folder, None
    return Path(file + SUFFIX), tensor or None


def _rows(given: NetworkInput, rows: int | None, intake: Intake) -> Mapping[str, np.ndarray]:
    """Two rows of zeros, or as many as the graph takes at once."""
    shape = _as_network(intake)
    if not given.takes(shape):
        raise ValueError(f"rows {intake.shape} for a network that takes {given.text}")
    return {given.name: np.zeros((rows or 2, *shape), dtype=given.dtype)}


def _shape_of_tokens(made: Any, given: NetworkInput, rows: int | None, intake: Intake, path: Path) -> tuple[int, ...]:
    """Of the features of rows as long as any, all their tokens the one of number 0, and none of it filling."""
    shape = (rows or 2, _length(given) or intake.shape[0])
    each = zip(given.inputs, intake.feeds, strict=True)
    probe = {i.name: (np.ones if role == "mask" else np.zeros)(shape, dtype=i.dtype) for i, role in each}
    try:
        return _shape(made, probe, path)
    except ModelError as error:
        if error.code != "TL-MODEL-UNSUPPORTED":
            raise
        raise ModelError(
            "TL-MODEL-UNSUPPORTED",
            f"onnxruntime cannot run {path.name} on rows of {shape[1]} tokens",
            where=str(path),
            found=error.found,
            fix="give fewer tokens (--max-tokens) if it has fewer positions, or check that it runs in onnxruntime",
        ) from error


def _length(given: NetworkInput) -> int | None:
    """Of a row of tokens, where the graph fixes it."""
    return next((i.shape[0] for i in given.inputs if i.shape[0]), None)


def _shape(made: Any, probe: Mapping[str, np.ndarray], path: Path) -> tuple[int, ...]:
    """Of the features of some rows."""
    rows = next(iter(probe.values()))
    found = run(made, probe)
    floating = isinstance(found, np.ndarray) and found.dtype.kind == "f"
    if not floating or found.ndim < 2 or len(found) != len(rows):
        raise ModelError(
            "TL-MODEL-OUTPUT",
            f"the features of {path.name} are no floating-point numbers (rows, ...)",
            where=str(path),
            found=f"{getattr(found, 'dtype', type(found).__name__)} {tuple(getattr(found, 'shape', ()))}",
            fix=f"name another tensor of the graph: --source {path.name}#TENSOR",
        )
    return tuple(found.shape)


def _of_rows(common: Mapping[str, Any], given: NetworkInput, intake: Intake, shape: tuple[int, ...]) -> Ref:
    more = {
        "dtype": given.dtype,
        "width": shape[-1] if len(shape) == 3 or intake.channels_last else shape[1],
        "scale": list(intake.scale),
        "shift": list(intake.shift),
        "channels_last": intake.channels_last,
    }
    return Ref(OnnxBackbone.name, {**common, **more})


def _of_tokens(common: Mapping[str, Any], given: NetworkInput, intake: Intake, shape: tuple[int, ...]) -> Ref:
    more = {
        "width": shape[-1],
        "feeds": [[i.name, role, i.dtype] for i, role in zip(given.inputs, intake.feeds, strict=True)],
        "pad": intake.pad,
        "length": _length(given),
        "pooling": "first" if intake.first else "mean",
    }
    return Ref(OnnxTokens.name, {**common, **more})


def _head(
    ends: Ending, intake: Intake, given: NetworkInput, shape: tuple[int, ...], width: int, path: Path
) -> tuple[dict[str, Tensor] | None, TaskInfo | None]:
    """The layer that was cut off and what it predicts; none where it stands on every token."""
    if ends.head is None or ends.head["weight"].shape[1] != width or (intake.feeds and len(shape) == 3):
        return None, None
    weight, bias = ends.head["weight"], ends.head["bias"]
    task = task_of_outputs(len(weight), ends.says, intake.labels or given.labels, path)
    return (None if task is None else head_of_outputs(weight, bias, ends.says)), task


def _pooled(intake: Intake, shape: tuple[int, ...]) -> str:
    if len(shape) < 3:
        return ""
    return ", that of the first token" if intake.first else ", their mean"


def _as_network(intake: Intake) -> tuple[int, ...]:
    shape = intake.shape
    return (*shape[1:], shape[0]) if intake.channels_last else shape
