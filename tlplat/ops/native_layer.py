"""The native op of a frozen transformer layer: its fake tensor, and the arguments that it takes."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from tlplat.ops.block import ACTIVATIONS, PRECISIONS, FrozenBlock, LayerNorm, Precision

if TYPE_CHECKING:
    from tlplat.ops.layer import FrozenLayer


def outputs(x: Tensor, lengths: Tensor, layer: FrozenLayer, precision: Precision) -> Tensor:
    """As :func:`tlplat.ops.reference_layer.outputs`."""
    with torch.no_grad():
        return torch.ops.tlplat.frozen_encoder_layer(*arguments(x, lengths, layer, precision))  # type: ignore[no-any-return]


def arguments(x: Tensor, lengths: Tensor, layer: FrozenLayer, precision: Precision) -> tuple[Any, ...]:
    """What the op takes."""
    return (
        x.contiguous(),
        lengths.contiguous(),
        layer.heads,
        *_dense(layer.qkv),
        *_dense(layer.mix),
        *_norm(layer.norm1, x),
        *_dense(layer.up),
        *_dense(layer.down),
        *_norm(layer.norm2, x),
        float(layer.norm1.eps),
        float(layer.norm2.eps),
        ACTIVATIONS.index(layer.up.activation),
        PRECISIONS.index(precision),
    )


@functools.cache
def register() -> None:
    """Tell torch the shape of the loaded op's output; once a process, after the library is loaded."""
    torch.library.register_fake("tlplat::frozen_encoder_layer", lambda x, *_: torch.empty_like(x))


def _dense(block: FrozenBlock) -> tuple[Tensor, Tensor | None]:
    return block.weight.contiguous(), None if block.bias is None else block.bias.contiguous()


def _norm(norm: LayerNorm, x: Tensor) -> tuple[Tensor, Tensor]:
    size = x.shape[1]
    weight = x.new_ones(size) if norm.weight is None else norm.weight.contiguous()
    return weight, x.new_zeros(size) if norm.bias is None else norm.bias.contiguous()
