"""Plain torch: the definition of a frozen transformer layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from tlplat.ops import reference_extract
from tlplat.ops.block import LayerNorm, Precision

if TYPE_CHECKING:
    from tlplat.ops.layer import FrozenLayer


@torch.no_grad()
def outputs(x: Tensor, lengths: Tensor, layer: FrozenLayer, precision: Precision) -> Tensor:
    """(tokens, hidden) of x's dtype."""

    def dense(name: str, given: Tensor) -> Tensor:
        return reference_extract.features(given, layer.blocks[name], None, precision, x.dtype)

    h = _norm(x + dense("mix", _attended(dense("qkv", x), lengths, layer.heads)), layer.norm1)
    return _norm(h + dense("down", dense("up", h)), layer.norm2)


def _norm(x: Tensor, norm: LayerNorm) -> Tensor:
    return F.layer_norm(x, (x.shape[1],), norm.weight, norm.bias, norm.eps)


def _attended(qkv: Tensor, lengths: Tensor, heads: int) -> Tensor:
    """(tokens, hidden) from queries, keys and values (tokens, 3 * hidden): runs of texts of one length at a time."""
    sizes, counts = torch.unique_consecutive(lengths, return_counts=True)
    groups, hidden = list(zip(sizes.tolist(), counts.tolist(), strict=True)), qkv.shape[1] // 3
    parts = []
    for (length, count), part in zip(groups, torch.split(qkv, [n * count for n, count in groups]), strict=True):
        if not length:
            continue
        split = part.view(count, length, 3, heads, hidden // heads).permute(2, 0, 3, 1, 4)
        q, k, v = split
        parts.append(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(-1, hidden))
    return torch.cat(parts) if parts else qkv[:, :hidden]
