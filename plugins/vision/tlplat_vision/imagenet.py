"""The ImageNet source: EfficientNet-Lite0 with its own head over 1000 classes."""

from __future__ import annotations

import torch

from tlplat.assets import fetch
from tlplat.data.examples import state_digest
from tlplat.domain import DomainContext
from tlplat.errors import ModelError
from tlplat.model import SourceModel
from tlplat.plan import Ref
from tlplat.tasks.classification import Classification
from tlplat.weights import read_weights
from tlplat_vision.assets import EFFICIENTNET_LITE0
from tlplat_vision.efficientnet import EfficientNetLite
from tlplat_vision.litenames import renamed
from tlplat_vision.preprocess import Preprocess

NAME = "imagenet-efficientnet-lite0"
CLASSES = 1000
PREPROCESS = Preprocess(size=224, channels=3, fit="crop", crop=0.875, resample="bicubic")
"""As the weights were trained and scored: the middle 7/8 of the shorter side at 224 pixels."""


@torch.random.fork_rng(devices=[])
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
    found = renamed(read_weights(file))
    if found is None:
        raise ModelError(
            "TL-MODEL-KEYS",
            "the tensors of the ImageNet weights do not fit EfficientNet-Lite0",
            where=str(file),
            fix="delete the cached file and run `tlplat assets fetch`",
        )
    state, head = found
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
