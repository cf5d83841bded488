"""The ImageNet source: EfficientNet-Lite0 with its own head over 1000 classes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from tlplat.assets import fetch
from tlplat.data.examples import state_digest
from tlplat.domain import DomainContext
from tlplat.errors import ModelError
from tlplat.model import SourceModel
from tlplat.plan import Ref
from tlplat.tasks.classification import Classification
from tlplat_vision.assets import EFFICIENTNET_LITE0
from tlplat_vision.efficientnet import EfficientNetLite
from tlplat_vision.preprocess import Preprocess

NAME = "imagenet-efficientnet-lite0"
CLASSES = 1000
PREPROCESS = Preprocess(size=224, channels=3, fit="crop", crop=0.875, resample="bicubic")
"""As the weights were trained and scored: the middle 7/8 of the shorter side at 224 pixels."""


def load_imagenet(context: DomainContext) -> SourceModel:
    """EfficientNet-Lite0, ImageNet top-1 75.1 % as published; classes are numbered ``imagenet-0`` and so on.

    Raises:
        ModelError TL-MODEL-KEYS: the file holds other tensors than the network has.
    """
    file = fetch(
        EFFICIENTNET_LITE0,
        context.cache,
        offline=context.offline,
        report=context.report,
    )
    state, head = renamed(torch.load(file, map_location="cpu", weights_only=True), file)
    return SourceModel(
        name=NAME,
        base=Ref(EfficientNetLite.name, EfficientNetLite().config()),
        state=state,
        head=head,
        task=Classification(labels=[f"imagenet-{i}" for i in range(CLASSES)]).info(),
        preprocess=PREPROCESS.to_json(),
        provenance={
            "data": "ImageNet-1k (1.28 million photographs, 1000 classes)",
            "license": EFFICIENTNET_LITE0.license,
            "citation": EFFICIENTNET_LITE0.citation,
            "published": {"top-1": 0.751},
            "weights_sha256": state_digest({**state, **{f"head.{k}": v for k, v in head.items()}}),
        },
    )


def renamed(loaded: Mapping[str, Tensor], file: Path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The file's tensors under this network's names, backbone and head: both list them from input to output."""
    names = list(EfficientNetLite().state_dict())
    state = {name: value for name, value in loaded.items() if not name.startswith("_fc.")}
    head = {name.removeprefix("_fc."): value for name, value in loaded.items() if name.startswith("_fc.")}
    shapes = [tuple(value.shape) for value in EfficientNetLite().state_dict().values()]
    same_ends = [n.rsplit(".", 1)[1] for n in names] == [n.rsplit(".", 1)[1] for n in state]
    if not same_ends or shapes != [tuple(v.shape) for v in state.values()] or set(head) != {"weight", "bias"}:
        raise ModelError(
            "TL-MODEL-KEYS",
            "the tensors of the ImageNet weights do not fit EfficientNet-Lite0",
            where=str(file),
            found=", ".join(list(loaded)[:5]),
            fix="delete the cached file and run `tlplat assets fetch`",
        )
    return dict(zip(names, state.values(), strict=True)), head
