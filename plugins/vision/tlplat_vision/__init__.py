"""Images for tlplat: hook implementations; the domain itself is in :mod:`tlplat_vision.domain`."""

from __future__ import annotations

from tlplat.domain import Domain
from tlplat.hookspecs import hookimpl
from tlplat.model import Backbone


@hookimpl
def tlplat_register_domains() -> list[type[Domain]]:
    from tlplat_vision.domain import VisionDomain

    return [VisionDomain]


@hookimpl
def tlplat_register_backbones() -> list[type[Backbone]]:
    from tlplat_vision.cnn import SmallCnn
    from tlplat_vision.efficientnet import EfficientNetLite
    from tlplat_vision.timmnet import TimmBackbone
    from tlplat_vision.transformer import TransformersMaps, TransformersTokens

    return [SmallCnn, EfficientNetLite, TransformersTokens, TransformersMaps, TimmBackbone]
