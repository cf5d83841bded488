"""The domain ``arrays``: rows of numbers, and any torch module as a source. :func:`tlplat.transfer` uses it."""

from __future__ import annotations

from tlplat.arrays.backbone import ModuleBackbone
from tlplat.arrays.domain import Arrays
from tlplat.domain import Domain
from tlplat.hookspecs import hookimpl
from tlplat.kerasio.backbone import KerasBackbone
from tlplat.model import Backbone
from tlplat.onnxio.backbone import OnnxBackbone
from tlplat.onnxio.tokens import OnnxTokens


@hookimpl
def tlplat_register_domains() -> list[type[Domain]]:
    return [Arrays]


@hookimpl
def tlplat_register_backbones() -> list[type[Backbone]]:
    return [ModuleBackbone, KerasBackbone, OnnxBackbone, OnnxTokens]
