"""What an ONNX graph takes: its inputs, each rows of numbers, and how many rows it takes at once."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from tlplat.errors import ModelError
from tlplat.intake import NetworkInput, told
from tlplat.onnxio.opening import library, nodes

DTYPES = ("float32", "float64", "float16", "uint8", "int8", "int32", "int64")
BY_BATCH = ("DynamicQuantizeLinear", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM")
"""Operators that round by the largest number of a whole batch, so that a row's features hang on its neighbours."""


def inputs_of(model: Any, path: Path, domain: str) -> tuple[NetworkInput, int | None]:
    """The graph's inputs, and how many rows it runs on at once where that is not free.

    Raises:
        ModelError TL-MODEL-INPUT: one is no rows of numbers, or they take different numbers of rows.
    """
    stored = {t.name for t in (*model.graph.initializer, *(s.values for s in model.graph.sparse_initializer))}
    each = [_input(value, path) for value in model.graph.input if value.name not in stored]
    fixed = {rows for _, rows in each if rows is not None}
    if not each or len(fixed) > 1:
        raise ModelError(
            "TL-MODEL-INPUT",
            f"the inputs of {path.name} take different numbers of rows" if each else f"{path.name} takes no input",
            where=str(path),
            found=", ".join(f"{i.name}: {rows or 'any number of'} rows" for i, rows in each)[:200] or None,
            fix="export the model with inputs whose first dimension is rows",
        )
    first, *more = (found for found, _ in each)
    preprocess, labels = told({entry.key: entry.value for entry in model.metadata_props}, domain)
    network = dataclasses.replace(first, told=preprocess, labels=labels, folder=path.parent, more=tuple(more))
    one_by_one = any(node.op_type in BY_BATCH for node in nodes([model.graph, *model.functions]))
    return network, 1 if one_by_one and not fixed else next(iter(fixed), None)


def _input(value: Any, path: Path) -> tuple[NetworkInput, int | None]:
    tensor = value.type.tensor_type
    sizes = [d.dim_value if d.dim_value > 0 else None for d in tensor.shape.dim]
    kind = "none"
    if tensor.elem_type:
        kind = str(np.dtype(library().helper.tensor_dtype_to_np_dtype(tensor.elem_type)))
    found = NetworkInput(path.name, value.name, tuple(sizes[1:]), kind)
    if len(sizes) < 2 or kind not in DTYPES:
        raise ModelError(
            "TL-MODEL-INPUT",
            f"{path.name} does not take rows of numbers",
            where=str(path),
            found=found.text if sizes else value.name,
            expected=f"(rows, ...) of {', '.join(DTYPES)}",
            fix="export the model with inputs whose first dimension is rows",
        )
    return found, sizes[0]
