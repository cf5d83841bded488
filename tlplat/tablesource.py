"""A weights file of the network of a table's domain, as a source: widths are told by the tensors' shapes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from tlplat.data.examples import state_digest
from tlplat.errors import ModelError
from tlplat.intake import Intake, NetworkInput, told
from tlplat.model import SourceModel
from tlplat.modelio import load_state
from tlplat.plan import Ref
from tlplat.tabular import TabularNet
from tlplat.tasks.classification import Classification
from tlplat.weights import metadata_of, read_weights

LAYER = re.compile(r"blocks\.layer(\d+)\.0\.weight")


@torch.random.fork_rng(devices=[])
def load_weights(path: Path, net: type[TabularNet], domain: str, feed: Callable[[NetworkInput], Intake]) -> SourceModel:
    """The network whose tensors the file holds, safetensors or a state dict of torch's, with or without head.

    Args:
        domain: whose columns in the file's metadata count (``tlplat export --format safetensors``). feed: how its rows
            reach the network: of a state dict alone, columns of numbers as they are.

    Raises:
        ModelError TL-MODEL-UNSUPPORTED: another architecture. TL-MODEL-INPUT: the columns do not fit.
            TL-MODEL-KEYS, TL-MODEL-SHAPE: tensors are missing, unexpected or do not fit. What
            :func:`tlplat.weights.read_weights` raises.
    """
    tensors = read_weights(path)
    plain = {k.removeprefix("backbone."): t for k, t in tensors.items() if not k.startswith("head.")}
    head = {k.removeprefix("head."): t.float() for k, t in tensors.items() if k.startswith("head.")}
    shapes = {int(m[1]): t.shape for k, t in plain.items() if (m := LAYER.fullmatch(k)) and t.ndim == 2}
    if sorted(shapes) != list(range(1, len(shapes) + 1)) or not shapes:
        raise ModelError(
            "TL-MODEL-UNSUPPORTED",
            f"{path.name} holds the tensors of no network of the domain {domain}",
            where=str(path),
            found=", ".join(list(tensors)[:4]),
            expected="blocks.layer1.0.weight, blocks.layer1.0.bias, blocks.layer2.0.weight, ...",
            fix="give a folder that `tlplat pretrain` wrote, a file of `tlplat export --format safetensors`, or ONNX",
        )
    preprocess, labels = told(metadata_of(path), domain)
    inputs = int(shapes[1][1])
    intake = feed(NetworkInput(path.name, "layer1", (inputs,), "float32", preprocess, labels))
    backbone = net(inputs, [int(shapes[i][0]) for i in sorted(shapes)])
    load_state(backbone, plain, str(path))
    task = _task(path, head, backbone.feature_dim, labels)
    return SourceModel(
        name=path.stem,
        base=Ref(net.name, backbone.config()),
        state={name: t.clone() for name, t in backbone.state_dict().items()},
        head=head if task is not None else None,
        task=None if task is None else task.info(),
        preprocess=dict(intake.preprocess),
        provenance={
            "data": f"not known: the file {path.name} of the user's",
            "license": "not stated",
            "citation": "not stated",
            "weights_sha256": state_digest(tensors),
        },
    )


def _task(path: Path, head: Mapping[str, Tensor], width: int, labels: tuple[str, ...]) -> Classification | None:
    """Classes of the head, numbered where the file does not name them; None where there is no head over classes."""
    if not head:
        return None
    classes = len(head["weight"]) if "weight" in head else 0
    shapes = {"weight": (classes, width), "bias": (classes,)}
    if {k: tuple(t.shape) for k, t in head.items()} != shapes:
        raise ModelError(
            "TL-MODEL-SHAPE",
            f"the head in {path.name} does not fit the network",
            where=str(path),
            found=", ".join(f"{k} {tuple(t.shape)}" for k, t in head.items()),
            expected=f"weight (classes, {width}) and bias (classes,)",
            fix="save backbone and head of one model, or leave the head out",
        )
    if classes < 2 or (labels and len(labels) != classes):
        return None
    return Classification(list(labels) or [f"class-{i}" for i in range(classes)])
