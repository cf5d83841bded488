"""A weights file of the user's as a source model, where it is of one of this domain's own architectures."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tlplat.data.examples import state_digest
from tlplat.errors import ModelError
from tlplat.model import Backbone, SourceModel
from tlplat.modelio import load_state
from tlplat.plan import Ref
from tlplat.tasks.classification import Classification
from tlplat.weights import read_weights
from tlplat_vision import imagenet, sources
from tlplat_vision.cnn import SmallCnn
from tlplat_vision.efficientnet import EfficientNetLite
from tlplat_vision.litenames import renamed
from tlplat_vision.preprocess import Preprocess

Tensors = Mapping[str, Tensor]


@torch.random.fork_rng(devices=[])
def load_checkpoint(path: Path) -> SourceModel:
    """The small CNN or EfficientNet-Lite0 whose tensors the file holds, the architecture told by their names.

    Files of efficientnet_lite_pytorch and of timm (``tf_efficientnet_lite0``) are read beside tlplat's own. The small
    CNN then takes images of 28 x 28 pixels, in grey or colour as its first layer does; ``--image-size`` says otherwise.

    Raises:
        ModelError TL-MODEL-UNSUPPORTED: another architecture. TL-MODEL-KEYS, TL-MODEL-SHAPE: tensors are missing or do
            not fit. What :func:`tlplat.weights.read_weights` raises.
    """
    tensors = read_weights(path)
    plain = {k.removeprefix("backbone."): t for k, t in tensors.items() if not k.startswith("head.")}
    head = {k.removeprefix("head."): t for k, t in tensors.items() if k.startswith("head.")}
    foreign = renamed(tensors)
    if foreign is not None:
        return _source(path, EfficientNetLite(), *foreign, imagenet.PREPROCESS)
    if "blocks.conv1.0.weight" in plain and "blocks.dense.2.weight" in plain:
        backbone = SmallCnn(**_cnn_sizes(plain))
        shown = Preprocess(size=sources.PREPROCESS.size, channels=backbone.inputs)
        return _source(path, backbone, plain, head, shown)
    if "blocks.stem.1.weight" in plain and "blocks.top.0.weight" in plain:
        return _source(path, EfficientNetLite(), plain, head, imagenet.PREPROCESS)
    raise ModelError(
        "TL-MODEL-UNSUPPORTED",
        f"{path.name} holds the tensors of no architecture that is read from a file alone",
        where=str(path),
        found=", ".join(list(tensors)[:4]) + ", ...",
        expected="the small CNN or EfficientNet-Lite0",
        fix="name its architecture: --source timm:NAME --checkpoint FILE, or give a folder of transformers",
    )


def _source(path: Path, backbone: Backbone, state: Tensors, head: Tensors, shown: Preprocess) -> SourceModel:
    load_state(backbone, state, str(path))
    classes = len(head["weight"]) if "weight" in head else 0
    if head and (set(head) != {"weight", "bias"} or tuple(head["weight"].shape) != (classes, backbone.feature_dim)):
        found = ", ".join(f"{k} {tuple(t.shape)}" for k, t in head.items())
        raise ModelError(
            "TL-MODEL-SHAPE",
            f"the head in {path.name} does not fit the network",
            where=str(path),
            found=found,
            expected=f"weight (classes, {backbone.feature_dim}) and bias",
            fix="save backbone and head of one model, or leave the head out",
        )
    headed = classes >= 2
    return SourceModel(
        name=path.stem,
        base=Ref(backbone.name, backbone.config()),
        state={name: t.clone() for name, t in backbone.state_dict().items()},
        head={name: t.float() for name, t in head.items()} if headed else None,
        task=Classification(labels=[f"class-{i}" for i in range(classes)]).info() if headed else None,
        preprocess=shown.to_json(),
        provenance={
            "data": f"not known: the file {path.name} of the user's",
            "license": "not stated",
            "citation": "not stated",
            "weights_sha256": state_digest(dict(state)),
        },
    )


def _cnn_sizes(state: Tensors) -> dict[str, Any]:
    """Arguments of the small CNN that has these tensors."""
    numbers = sorted(int(m[1]) for k in state if (m := re.fullmatch(r"blocks\.conv(\d+)\.0\.weight", k)))
    channels = [len(state[f"blocks.conv{i}.0.weight"]) for i in numbers]
    width, flat = state["blocks.dense.2.weight"].shape
    inputs = int(state["blocks.conv1.0.weight"].shape[1])
    return {"inputs": inputs, "channels": channels, "bins": math.isqrt(flat // channels[-1]), "width": width}
