"""A Keras file as a source model: checked, read without Keras, its layers mapped onto torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tlplat.errors import Finding, ModelError
from tlplat.kerasio.allowed import check_config
from tlplat.kerasio.backbone import KerasBackbone, plain_name
from tlplat.kerasio.graph import INPUT, Graph, Layer, Reading
from tlplat.kerasio.layers import KINDS
from tlplat.kerasio.opening import Opened, opened
from tlplat.kerasio.stored import arrays
from tlplat.model import SourceModel
from tlplat.outputs import head_of_outputs, task_of_outputs
from tlplat.plan import Ref
from tlplat.storage import sha256_file

HEADS = ("linear", "sigmoid", "softmax")
"""Activations that an output layer has."""


def load_source(path: Path, labels: Sequence[str] = ()) -> SourceModel:
    """The model in the file, all but its output layer as the backbone, that layer as the source's own head.

    Args:
        labels: class names of the output layer, in order; by default they are numbered from 0.

    Raises:
        ModelError: what :mod:`tlplat.kerasio.opening` raises; TL-MODEL-UNSAFE (not in the allow-list),
            TL-MODEL-UNSUPPORTED (a layer or form that is not read), TL-MODEL-KEYS and TL-MODEL-SHAPE (weights that do
            not fit the layers), TL-MODEL-LABELS (not as many labels as outputs).
    """
    with opened(path) as file:
        check_config(file.config, file.place, path)
        graph = Reading(file.place, path).graph(file.config)
        body, head = _parted(graph)
        backbone = KerasBackbone(
            [layer.to_json() for layer in body],
            graph.shape,
            graph.sequential,
            None if head is None else head.to_json(),
            materialise=False,
        )
        if head is not None and backbone.ranks[head.inputs[0]] != 2:
            body, head = graph.layers, None
            backbone = KerasBackbone([x.to_json() for x in body], graph.shape, graph.sequential, None, False)
        state, own = _weights(file, graph, backbone, head)
    task = None
    if head is not None:
        task = task_of_outputs(head.options["units"], head.options["activation"], labels, path)
    return SourceModel(
        name=plain_name(path.stem),
        base=Ref(KerasBackbone.name, backbone.config()),
        state=state,
        head=own if task is not None else None,
        task=task,
        preprocess=_preprocess(graph),
        provenance={
            "data": "not told by the file",
            "license": "the user's own",
            "citation": "",
            "file": path.name,
            "weights_sha256": sha256_file(path),
        },
    )


def _parted(graph: Graph) -> tuple[tuple[Layer, ...], Layer | None]:
    """The layers without the output layer, and that layer with the activation that follows it."""
    layers = graph.layers
    ending = layers[-1]
    says = {"Activation": ending.options.get("activation"), "Softmax": "softmax"}.get(ending.kind)
    if says in HEADS and len(layers) > 1 and layers[-2].name == ending.inputs[0]:
        dense = layers[-2]
        alone = sum(dense.name in layer.inputs for layer in layers) == 1
        if dense.kind == "Dense" and dense.options["activation"] == "linear" and alone:
            return layers[:-2], Layer(dense.name, "Dense", {**dense.options, "activation": says}, dense.inputs)
    if ending.kind == "Dense" and ending.options["activation"] in HEADS:
        before = layers[:-1]
        if ending.inputs == (before[-1].name if before else INPUT,):
            return before, ending
    return layers, None


def _weights(
    file: Opened, graph: Graph, backbone: KerasBackbone, head: Layer | None
) -> tuple[dict[str, Tensor], dict[str, Tensor] | None]:
    """Tensors of the backbone, and of the head; shapes are compared before anything is read."""
    stored = arrays(file, graph.stored)
    state = dict(backbone.state_dict())
    places, wrong = backbone.places(), []
    for layer in backbone.layers:
        weights, found = KINDS[layer.kind].weights(layer.options), stored[layer.name]
        _count(file, layer, len(weights), len(found))
        for weight, array in zip(weights, found, strict=True):
            here = places[layer.name]
            wanted = weight.save(*(_empty(state[here + t].shape) for t in weight.tensors)).shape
            if tuple(array.shape) != wanted:
                wrong.append(Finding("another shape", f"{layer.name} > {array.name}", str(array.shape), str(wanted)))
                continue
            for tensor, values in weight.loaded(_read(array)).items():
                state[here + tensor] = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
    own = None
    if head is not None:
        found, units = stored[head.name], head.options["units"]
        shapes = [(backbone.feature_dim, units), (units,)]
        _count(file, head, 1 + head.options["use_bias"], len(found))
        wrong += [
            Finding("another shape", f"{head.name} > {a.name}", str(a.shape), str(w))
            for a, w in zip(found, shapes, strict=False)
            if tuple(a.shape) != w
        ]
        if not wrong:
            kernel, *bias = [torch.from_numpy(_read(a).astype(np.float32)) for a in found]
            own = head_of_outputs(
                kernel.T.contiguous(), bias[0] if bias else torch.zeros(units), head.options["activation"]
            )
    if wrong:
        raise ModelError(
            "TL-MODEL-SHAPE",
            f"{len(wrong)} weights in {file.path.name} have another shape than their layer",
            where=str(file.path),
            findings=wrong,
            fix="save the model again with model.save('model.keras')",
        )
    for name, t in state.items():
        if t.is_meta:  # a scale or shift that Keras was told to leave out, or torch's count of batches
            state[name] = (torch.ones if name.endswith("weight") else torch.zeros)(t.shape, dtype=t.dtype)
    return state, own


def _preprocess(graph: Graph) -> dict[str, Any]:
    """Rows as the first layer takes them; ``below``: the least number that an embedding has no entry for."""
    tables = [x.options["input_dim"] for x in graph.layers if x.kind == "Embedding" and x.inputs == (INPUT,)]
    limit = {"below": min(tables)} if tables else {}
    return {"shape": list(graph.shape), "dtype": "float32", "cast": True, **limit}


def _count(file: Opened, layer: Layer, wanted: int, found: int) -> None:
    if found != wanted:
        raise ModelError(
            "TL-MODEL-KEYS",
            f"the layer {layer.name[:60]!r} of the class {layer.kind} has {found} weights in {file.path.name}, not "
            f"{wanted}",
            where=str(file.path),
            fix="save the model again with model.save('model.keras')",
        )


def _read(array: Any) -> np.ndarray:
    found: np.ndarray = np.asarray(array[()])
    return found


def _empty(shape: Sequence[int]) -> np.ndarray:
    """An array of the shape that takes no memory."""
    return np.broadcast_to(np.float32(0), tuple(shape))
