"""Frozen features, softmax head: loss, prediction, and the fit of many heads at once.

Every function takes ``impl="auto" | "native" | "reference"``; plain torch (:mod:`tlplat.ops.reference`) is the
definition.
"""

from tlplat.ops.extension import build_info
from tlplat.ops.fit import fit_softmax_heads
from tlplat.ops.heads import softmax_head_loss, softmax_head_predict
from tlplat.ops.problem import HeadsFit

__all__ = ["HeadsFit", "build_info", "fit_softmax_heads", "softmax_head_loss", "softmax_head_predict"]
