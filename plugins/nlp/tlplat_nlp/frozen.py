"""An encoder arranged for extraction: no filling is computed, layers run in tlplat's op for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeGuard

import torch
from torch import Tensor, nn

from tlplat.data.examples import Batch
from tlplat.ops import FrozenBlock, FrozenLayer, LayerNorm, frozen_encoder_layer
from tlplat.ops.block import Activation, Precision
from tlplat_nlp.bert import BertEncoder, Embeddings, Layer

ACTIVATIONS: dict[str, Activation] = {"gelu": "gelu", "gelu_new": "gelu_tanh", "relu": "relu"}
"""The encoder's names -> the op's."""


def extractor(encoder: BertEncoder, precision: Precision) -> Callable[[Batch], Tensor] | None:
    """Features (rows, hidden) as the encoder's own forward gives them in eval mode, to rounding.

    None where its parts are not those of a plain encoder in float32 on the CPU: then the modules must run.
    """
    embeddings, *layers = encoder.blocks.values()
    plain = [layer for layer in layers if _plain(layer)]
    if type(embeddings) is not Embeddings or len(plain) < len(layers):
        return None
    if any(p.dtype != torch.float32 or p.device.type != "cpu" for p in encoder.parameters()):
        return None
    activation = ACTIVATIONS[encoder.config()["activation"]]
    frozen = [_frozen(layer, activation) for layer in plain]

    def run(batch: Batch) -> Tensor:
        tokens = encoder.embed(batch)
        real = tokens != encoder.pad
        lengths, order = real.sum(dim=1).sort(stable=True)
        real = real[order]
        x = _embedded(embeddings, tokens[order][real], real.nonzero()[:, 1])
        for layer in frozen:
            x = frozen_encoder_layer(x, lengths, layer, precision=precision)
        out = x.new_zeros(len(tokens), encoder.hidden)
        out[order[lengths > 0]] = _pooled(x, lengths[lengths > 0], encoder.pooling)
        return out

    return run


def _plain(layer: nn.Module) -> TypeGuard[Layer]:
    parts = (nn.Linear, nn.LayerNorm, nn.Dropout)
    return type(layer) is Layer and all(type(part) in parts for part in layer.children())


def _embedded(embeddings: Embeddings, tokens: Tensor, places: Tensor) -> Tensor:
    """(tokens, hidden) of tokens and their places in their texts."""
    summed = embeddings.tokens(tokens) + embeddings.positions(places + embeddings.first)
    out: Tensor = embeddings.norm(summed)
    return out


def _frozen(layer: Layer, activation: Activation) -> FrozenLayer:
    return FrozenLayer(
        qkv=_dense(layer.qkv),
        mix=_dense(layer.out),
        norm1=_norm(layer.norm1),
        up=_dense(layer.up, activation),
        down=_dense(layer.down),
        norm2=_norm(layer.norm2),
        heads=layer.heads,
    )


def _dense(linear: nn.Linear, activation: Activation = "identity") -> FrozenBlock:
    return FrozenBlock(linear.weight.detach(), None if linear.bias is None else linear.bias.detach(), activation)


def _norm(norm: nn.LayerNorm) -> LayerNorm:
    weight, bias = (None if t is None else t.detach() for t in (norm.weight, norm.bias))
    return LayerNorm(weight, bias, norm.eps)


def _pooled(x: Tensor, lengths: Tensor, pooling: str) -> Tensor:
    """(texts, hidden) mean over the tokens of each text, of which there are some, or the first one."""
    if pooling == "cls":
        return x[lengths.cumsum(0) - lengths]
    return torch.segment_reduce(x, "mean", lengths=lengths, axis=0)
