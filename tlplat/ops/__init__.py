"""Frozen features, softmax head: loss, prediction, the fit of many heads at once, the frozen parts before them.

Every function takes ``impl="auto" | "native" | "reference"``; plain torch (:mod:`tlplat.ops.reference`) is the
definition.
"""

from tlplat.ops.block import FrozenBlock, LayerNorm
from tlplat.ops.extension import build_info
from tlplat.ops.extract import extract_features, frozen_softmax_head_loss
from tlplat.ops.fit import fit_softmax_heads
from tlplat.ops.heads import softmax_head_loss, softmax_head_predict, softmax_head_topk
from tlplat.ops.layer import FrozenLayer, frozen_encoder_layer
from tlplat.ops.problem import HeadsFit

__all__ = [
    "FrozenBlock",
    "FrozenLayer",
    "HeadsFit",
    "LayerNorm",
    "build_info",
    "extract_features",
    "fit_softmax_heads",
    "frozen_encoder_layer",
    "frozen_softmax_head_loss",
    "softmax_head_loss",
    "softmax_head_predict",
    "softmax_head_topk",
]
