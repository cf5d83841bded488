"""An encoder arranged for extraction: no filling is computed, dense layers run in tlplat's fused op."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tlplat.data.examples import Batch
from tlplat.ops import FrozenBlock, extract_features
from tlplat_nlp.bert import BertEncoder, Embeddings, Layer

ACTIVATIONS = {"gelu": "gelu", "gelu_new": "gelu_tanh", "relu": "relu"}
"""The encoder's names -> the op's."""


def extractor(encoder: BertEncoder, precision: str) -> Callable[[Batch], Tensor] | None:
    """Features (rows, hidden) as the encoder's own forward gives them in eval mode, to rounding.

    None where its parts are not those of a plain encoder in float32 on the CPU: then the modules must run.
    """
    embeddings, *layers = encoder.blocks.values()
    if type(embeddings) is not Embeddings or not all(_plain(layer) for layer in layers):
        return None
    if any(p.dtype != torch.float32 or p.device.type != "cpu" for p in encoder.parameters()):
        return None
    activation = ACTIVATIONS[encoder.config()["activation"]]
    stages = [_stage(layer, activation, precision) for layer in layers]

    def run(batch: Batch) -> Tensor:
        tokens = encoder.embed(batch)
        real = tokens != encoder.pad
        lengths, order = real.sum(dim=1).sort(stable=True)
        real = real[order]
        x = _embedded(embeddings, tokens[order][real], real.nonzero()[:, 1])
        sizes, counts = torch.unique_consecutive(lengths, return_counts=True)
        groups = [(n, count) for n, count in zip(sizes.tolist(), counts.tolist(), strict=True) if n]
        for stage in stages:
            x = stage(x, groups)
        out = x.new_zeros(len(tokens), encoder.hidden)
        out[order[lengths > 0]] = _pooled(x, groups, encoder.pooling)
        return out

    return run


def _plain(layer: nn.Module) -> bool:
    parts = (nn.Linear, nn.LayerNorm, nn.Dropout)
    return type(layer) is Layer and all(type(part) in parts for part in layer.children())


def _embedded(embeddings: Embeddings, tokens: Tensor, places: Tensor) -> Tensor:
    """(tokens, hidden) of tokens and their places in their texts."""
    summed = embeddings.tokens(tokens) + embeddings.positions(places + embeddings.first)
    out: Tensor = embeddings.norm(summed)
    return out


def _stage(layer: Layer, activation: str, precision: str) -> Callable[[Tensor, list[tuple[int, int]]], Tensor]:
    """A layer over tokens (all, hidden) of texts one after another, in groups of (length, texts)."""
    qkv, out = _dense(layer.qkv, "identity", precision), _dense(layer.out, "identity", precision)
    up, down = _dense(layer.up, activation, precision), _dense(layer.down, "identity", precision)

    def run(x: Tensor, groups: list[tuple[int, int]]) -> Tensor:
        x = layer.norm1(out(_attended(qkv(x), groups, layer.heads)).add_(x))
        done: Tensor = layer.norm2(down(up(x)).add_(x))
        return done

    return run


def _dense(linear: nn.Linear, activation: str, precision: str) -> Callable[[Tensor], Tensor]:
    bias = None if linear.bias is None else linear.bias.detach()
    block = FrozenBlock(linear.weight.detach(), bias, activation)  # type: ignore[arg-type]
    return lambda x: extract_features(x, block, precision=precision)  # type: ignore[arg-type]


def _attended(qkv: Tensor, groups: list[tuple[int, int]], heads: int) -> Tensor:
    """(all, hidden) from queries, keys and values (all, 3 * hidden): texts of one length at a time, without a mask."""
    parts, hidden = [], qkv.shape[1] // 3
    for (length, count), part in zip(groups, qkv.split([n * count for n, count in groups]), strict=True):
        split = part.view(count, length, 3, heads, hidden // heads).permute(2, 0, 3, 1, 4)
        found = F.scaled_dot_product_attention(*split.unbind())
        parts.append(found.transpose(1, 2).reshape(-1, hidden))
    return torch.cat(parts) if parts else qkv[:, :hidden]


def _pooled(x: Tensor, groups: list[tuple[int, int]], pooling: str) -> Tensor:
    """(texts, hidden) mean over tokens, or the first one."""
    parts = []
    for (length, count), part in zip(groups, x.split([n * count for n, count in groups]), strict=True):
        rows = part.view(count, length, -1)
        parts.append(rows[:, 0] if pooling == "cls" else rows.mean(dim=1))
    return torch.cat(parts) if parts else x
