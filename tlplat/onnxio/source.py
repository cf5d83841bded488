"""An ONNX file as a source model: a frozen extractor of features, with the head that was cut off where it is linear."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tlplat.errors import ModelError
from tlplat.intake import Intake, NetworkInput, told
from tlplat.model import SourceModel
from tlplat.onnxio.backbone import OnnxBackbone
from tlplat.onnxio.ending import cut, ending, need_modest
from tlplat.onnxio.opening import library, opened
from tlplat.onnxio.running import digest_of, run, session
from tlplat.outputs import head_of_outputs, task_of_outputs
from tlplat.plan import Ref
from tlplat.storage import sha256_file

SUFFIX, MARK = ".onnx", "#"
DTYPES = ("float32", "float64", "float16", "uint8", "int8", "int32", "int64")


def is_onnx(name: str) -> bool:
    """Whether ``--source name`` means an ONNX file: ``FILE.onnx``, or ``FILE.onnx#TENSOR``."""
    return _parted(name)[0].endswith(SUFFIX)


def load_source(name: str, domain: str, feed: Callable[[NetworkInput], Intake]) -> SourceModel:
    """The graph in the file up to its features, as a source.

    Args:
        name: the file; behind a ``#`` the tensor that features are, ``output`` for what the graph gives.
        domain: whose preprocessing in the file's metadata counts. feed: how its rows reach the network.

    Raises:
        ModelError: what :func:`tlplat.onnxio.opening.opened` raises; TL-MODEL-INPUT (more than one input, or one that
            ``feed`` has no rows for), TL-MODEL-OUTPUT (no features), TL-MODEL-LABELS, TL-MODEL-UNSUPPORTED.
    """
    file, wanted = _parted(name)
    path = Path(file)
    model = opened(path)
    need_modest(model, path)
    given, rows = _input(model, path, domain)
    intake = feed(given)
    ends = ending(model, path, wanted)
    content = cut(model, ends.features)
    digest = digest_of(content)
    width = _width(session(digest, content), given, rows, intake, path)
    args = {
        "digest": digest,
        "size": len(content),
        "dtype": given.dtype,
        "width": width,
        "rows": rows,
        "scale": list(intake.scale),
        "shift": list(intake.shift),
        "channels_last": intake.channels_last,
    }
    head = ends.head if ends.head is not None and ends.head["weight"].shape[1] == width else None
    task = (
        None if head is None else task_of_outputs(len(head["weight"]), ends.says, intake.labels or given.labels, path)
    )
    return SourceModel(
        name=path.stem,
        base=Ref(OnnxBackbone.name, args),
        state={"blocks.graph.content": torch.from_numpy(np.frombuffer(content, dtype=np.uint8).copy())},
        head=None if head is None or task is None else head_of_outputs(head["weight"], head["bias"], ends.says),
        task=task,
        preprocess=dict(intake.preprocess),
        provenance={
            "data": "not told by the file",
            "license": "the user's own",
            "citation": "",
            "file": path.name,
            "features": ends.features,
            "weights_sha256": sha256_file(path),
        },
    )


def _parted(name: str) -> tuple[str, str | None]:
    """File and tensor; a file whose name holds the mark is itself."""
    file, mark, tensor = name.partition(SUFFIX + MARK)
    if not mark or Path(name).exists():
        return name, None
    return file + SUFFIX, tensor or None


def _input(model: Any, path: Path, domain: str) -> tuple[NetworkInput, int | None]:
    """The one input, and how many rows it takes at once where that is fixed."""
    onnx = library()
    stored = {t.name for t in (*model.graph.initializer, *(s.values for s in model.graph.sparse_initializer))}
    inputs = [value for value in model.graph.input if value.name not in stored]
    if len(inputs) != 1:
        raise ModelError(
            "TL-MODEL-INPUT",
            f"{path.name} takes {len(inputs)} inputs, and rows are one tensor here",
            where=str(path),
            found=", ".join(value.name for value in inputs)[:200],
            fix="export the model with one input tensor; texts come from a folder of transformers",
        )
    tensor = inputs[0].type.tensor_type
    sizes = [d.dim_value if d.dim_value > 0 else None for d in tensor.shape.dim]
    kind = "none"
    if tensor.elem_type:
        kind = str(np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)))
    preprocess, labels = told({entry.key: entry.value for entry in model.metadata_props}, domain)
    found = NetworkInput(path.name, inputs[0].name, tuple(sizes[1:]), kind, preprocess, labels)
    if len(sizes) < 2 or kind not in DTYPES:
        raise ModelError(
            "TL-MODEL-INPUT",
            f"{path.name} does not take rows of numbers",
            where=str(path),
            found=f"{found.text if sizes else inputs[0].name}",
            expected=f"(rows, ...) of {', '.join(DTYPES)}",
            fix="export the model with one input whose first dimension is rows",
        )
    return found, sizes[0]


def _width(made: Any, given: NetworkInput, rows: int | None, intake: Intake, path: Path) -> int:
    """Features a row, found by running rows of zeros."""
    if not given.takes(_as_network(intake)):
        raise ValueError(f"rows {intake.shape} for a network that takes {given.text}")
    count = rows or 2
    found = run(made, np.zeros((count, *_as_network(intake)), dtype=given.dtype))
    floating = isinstance(found, np.ndarray) and found.dtype.kind == "f"
    if not floating or found.ndim < 2 or len(found) != count:
        raise ModelError(
            "TL-MODEL-OUTPUT",
            f"the features of {path.name} are no floating-point numbers (rows, ...)",
            where=str(path),
            found=f"{getattr(found, 'dtype', type(found).__name__)} {tuple(getattr(found, 'shape', ()))}",
            fix=f"name another tensor of the graph: --source {path.name}#TENSOR",
        )
    return int(found.shape[-1] if found.ndim == 3 or intake.channels_last else found.shape[1])


def _as_network(intake: Intake) -> tuple[int, ...]:
    shape = intake.shape
    return (*shape[1:], shape[0]) if intake.channels_last else shape
