"""A weights file of the network of a table's domain, as a source: widths are told by the tensors' shapes."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import torch

from tlplat.errors import ModelError
from tlplat.intake import Intake, NetworkInput, told
from tlplat.model import SourceModel
from tlplat.tabular import TabularNet
from tlplat.weights import metadata_of
from tlplat.weightsource import WeightsFile

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
    file = WeightsFile.read(path)
    shapes = {int(m[1]): t.shape for k, t in file.backbone.items() if (m := LAYER.fullmatch(k)) and t.ndim == 2}
    if sorted(shapes) != list(range(1, len(shapes) + 1)) or not shapes:
        raise ModelError(
            "TL-MODEL-UNSUPPORTED",
            f"{path.name} holds the tensors of no network of the domain {domain}",
            where=str(path),
            found=", ".join(list(file.tensors)[:4]),
            expected="blocks.layer1.0.weight, blocks.layer1.0.bias, blocks.layer2.0.weight, ...",
            fix="give a folder that `tlplat pretrain` wrote, a file of `tlplat export --format safetensors`, or ONNX",
        )
    preprocess, labels = told(metadata_of(path), domain)
    inputs = int(shapes[1][1])
    intake = feed(NetworkInput(path.name, "layer1", (inputs,), "float32", preprocess, labels))
    backbone = net(inputs, [int(shapes[i][0]) for i in sorted(shapes)])
    return file.source(backbone, intake.preprocess, labels)
