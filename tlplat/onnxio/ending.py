"""Where an ONNX graph's features are, and its own linear head: told by the last operators. The rest is cut off."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tlplat.errors import ModelError, did_you_mean
from tlplat.onnxio.external import messages
from tlplat.onnxio.opening import MOST_BYTES, library, nodes, too_big

SAYS = {"Softmax": "softmax", "LogSoftmax": "softmax", "Sigmoid": "sigmoid"}
"""What the operator behind a linear layer makes of its outputs."""
POOLED = "sentence_embedding"
"""The output that exporters of sentence encoders give beside those of single tokens: features as they are."""
MOST_VALUES = 1 << 28
"""Numbers that one operator may declare of a batch: 1 GiB."""


@dataclass(frozen=True)
class Ending:
    """How a graph ends.

    Attributes:
        features: name of the tensor that features are. head: ``weight`` (outputs, d) and ``bias`` (outputs,) of the
            linear layer that reads them, or None. says: what follows it: ``linear``, ``softmax`` or ``sigmoid``.
    """

    features: str
    head: dict[str, Tensor] | None = None
    says: str = "linear"


def ending(model: Any, path: Path, wanted: str | None = None) -> Ending:
    """Where the features are: what the last linear layer reads; what a last softmax or sigmoid reads; else the output.

    An output named ``sentence_embedding`` comes before all of these.

    Args:
        wanted: name of the tensor to take instead; ``output`` is the graph's first.

    Raises:
        ModelError TL-MODEL-OUTPUT: no tensor of that name; no output is a tensor of floating-point numbers.
    """
    graph = model.graph
    made = {name: node for node in graph.node for name in node.output if name}
    if wanted is not None and wanted != "output":
        if wanted not in made:
            near = did_you_mean(wanted, list(made))
            raise ModelError(
                "TL-MODEL-OUTPUT",
                f"{path.name} makes no tensor {wanted[:60]!r}{near}",
                where=str(path),
                found=", ".join([o.name for o in graph.output] + list(made)[-8:])[:400],
                fix="name a tensor of the graph behind the #, or leave it out",
            )
        return Ending(wanted)
    output = _first_floating(graph, path)
    if wanted == "output" or output not in made or output == POOLED:
        return Ending(output)
    known = {t.name: t for t in graph.initializer}
    says, tensor = "linear", output
    if made[tensor].op_type in SAYS and made[tensor].input[0] in made:
        says, tensor = SAYS[made[tensor].op_type], made[tensor].input[0]
    found = _linear(made[tensor], made, known)
    if found is None or found[0] not in made:
        return Ending(tensor)
    return Ending(found[0], {"weight": found[1], "bias": found[2]}, says)


def cut(model: Any, features: str) -> bytes:
    """The part of the model that makes the tensor ``features`` from the input, as bytes that onnxruntime takes.

    Raises:
        ModelError TL-MODEL-TOO-BIG: an operator declares more numbers than any extractor needs.
    """
    onnx = library()
    part, graph = onnx.ModelProto(), model.graph
    part.CopyFrom(model)
    part.ClearField("training_info")
    needed, kept = {features}, []
    for node in reversed(graph.node):
        if any(name in needed for name in node.output):
            kept.append(node)
            needed.update(node.input)
            for inner in nodes(_graphs(node)):  # what an inner graph reads from outside has no other sign
                needed.update(inner.input)
            needed.update(o.name for g in _graphs(node) for o in g.output)
    for field, left in (
        ("node", kept[::-1]),
        ("initializer", [t for t in graph.initializer if t.name in needed]),
        ("sparse_initializer", [t for t in graph.sparse_initializer if t.values.name in needed]),
    ):
        part.graph.ClearField(field)
        getattr(part.graph, field).extend(left)
    part.graph.ClearField("output")
    said = {v.name: v for v in (*graph.value_info, *graph.output)}.get(features)
    part.graph.output.append(said or onnx.helper.make_empty_tensor_value_info(features))
    for message in messages(part):  # exporters leave paths and stack traces of the machine that they ran on
        for field in ("doc_string", "metadata_props"):
            if field in message.DESCRIPTOR.fields_by_name:
                message.ClearField(field)
    if part.ByteSize() > MOST_BYTES:
        raise too_big(Path("the model"), "the model is too large", f"{part.ByteSize()} bytes")
    content: bytes = part.SerializeToString(deterministic=True)
    return content


def need_modest(model: Any, path: Path) -> None:
    """Refuse a graph that declares tensors of more numbers than any extractor needs, whatever is stored.

    Raises:
        ModelError TL-MODEL-TOO-BIG.
    """
    onnx = library()
    try:
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    except (onnx.shape_inference.InferenceError, ValueError, RuntimeError):
        return  # onnxruntime infers them itself, and says what is wrong
    for value in (*inferred.graph.value_info, *inferred.graph.output):
        sizes = [d.dim_value for d in value.type.tensor_type.shape.dim]
        count = float(np.prod([max(1, n) for n in sizes], dtype=np.float64))
        if count > MOST_VALUES:
            raise too_big(path, f"{path.name} declares {count:.3g} numbers in {value.name[:60]!r}", f"shape {sizes}")


def _graphs(node: Any) -> list[Any]:
    return [g for a in node.attribute for g in ([a.g] if a.HasField("g") else []) + list(a.graphs)]


def _first_floating(graph: Any, path: Path) -> str:
    """The first output that is one tensor of floating-point numbers; pooled ones before others."""
    onnx = library()
    kinds = (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16)
    for value in sorted(graph.output, key=lambda v: v.name != POOLED):
        if value.type.HasField("tensor_type") and value.type.tensor_type.elem_type in kinds:
            return str(value.name)
    raise ModelError(
        "TL-MODEL-OUTPUT",
        f"no output of {path.name} is a tensor of floating-point numbers",
        where=str(path),
        found=", ".join(o.name for o in graph.output)[:200],
        fix="name the tensor that features are with --source FILE.onnx#TENSOR, or export it without decoding",
    )


def _linear(node: Any, made: dict[str, Any], known: dict[str, Any]) -> tuple[str, Tensor, Tensor] | None:
    """Input, weight (outputs, d) and bias (outputs,) of a linear layer with stored weights, else None."""
    if node.domain not in ("", "ai.onnx"):
        return None
    if node.op_type == "Gemm":
        options = {a.name: a.f if a.name in ("alpha", "beta") else a.i for a in node.attribute}
        if options.get("alpha", 1.0) != 1.0 or options.get("beta", 1.0) != 1.0 or options.get("transA", 0):
            return None
        return _layer(list(node.input), known, bool(options.get("transB", 0)))
    if node.op_type == "Add":
        for product, bias in (tuple(node.input), tuple(node.input)[::-1]):
            if product in made and made[product].op_type == "MatMul" and bias in known:
                return _layer([*made[product].input, bias], known, False)
        return None
    return _layer(list(node.input), known, False) if node.op_type == "MatMul" else None


def _layer(inputs: Sequence[str], known: dict[str, Any], transposed: bool) -> tuple[str, Tensor, Tensor] | None:
    read, *names = (name for name in inputs if name)
    if any(name not in known for name in names):
        return None
    arrays = [torch.from_numpy(np.array(library().numpy_helper.to_array(known[n]), dtype=np.float32)) for n in names]
    if arrays[0].ndim != 2:
        return None
    w = (arrays[0] if transposed else arrays[0].T).contiguous()
    b = arrays[1].flatten() if len(arrays) > 1 else torch.zeros(len(w))
    if len(b) not in (1, len(w)):
        return None
    return read, w, b.expand(len(w)).contiguous()
