"""Plain torch: the definition of a frozen block's features, and of the loss behind one."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from tlplat.ops import reference
from tlplat.ops.block import FrozenBlock, Precision
from tlplat.ops.problem import RowLoss

_SMALLEST = 1e-30
"""Rows of no larger magnitude become zeros in int8."""


def features(x: Tensor, block: FrozenBlock, mask: Tensor | None, precision: Precision, dtype: torch.dtype) -> Tensor:
    """z (n, d) of ``dtype``, in chunks of rows."""
    parts = [_chunk(x[rows], block, None if mask is None else mask[rows], precision) for rows in _rows(x, block)]
    return torch.cat([z.to(dtype) for z in parts]) if parts else x.new_empty((0, block.dim), dtype=dtype)


def loss(
    x: Tensor,
    y: Tensor,
    block: FrozenBlock,
    mask: Tensor | None,
    precision: Precision,
    weight: Tensor,
    bias: Tensor | None,
    row_loss: RowLoss,
    sample_weight: Tensor | None,
    reduction: str,
) -> Tensor:
    """:func:`tlplat.ops.reference.softmax_head_loss` of the features, which are computed again for the gradient."""

    def of(rows: slice) -> Tensor:
        z = _chunk(x[rows], block, None if mask is None else mask[rows], precision)
        scale = None if sample_weight is None else sample_weight[rows]
        return reference.softmax_head_loss(z, y[rows], weight, bias, row_loss, scale, "none")

    parts = [checkpoint(of, rows, use_reentrant=False) for rows in _rows(x, block)]
    losses = torch.cat(parts) if parts else weight.new_empty((0,)) + 0 * weight.sum()
    if reduction == "none":
        return losses
    if reduction == "sum":
        return losses.sum()
    mass = row_loss.targets(y, weight.shape[0], weight.dtype)[3]
    return losses.sum() / (mass if sample_weight is None else mass * sample_weight.to(mass.dtype)).sum()


def _rows(x: Tensor, block: FrozenBlock) -> list[slice]:
    tokens = x.shape[1] if block.pool == "mean" else 1
    step = reference.rows_a_chunk(max(1, tokens) * max(block.dim, x.shape[-1]))
    return [slice(i, i + step) for i in range(0, len(x), step)]


@torch.no_grad()
def _chunk(x: Tensor, block: FrozenBlock, mask: Tensor | None, precision: Precision) -> Tensor:
    if mask is not None:
        x = torch.where(mask[..., None], x, 0)
    h = _product(x.to(block.weight.dtype), block.weight, precision)
    if block.bias is not None:
        h = h + block.bias
    h = _activate(h, block.activation)
    if block.norm is not None:
        h = F.layer_norm(h, (block.dim,), block.norm.weight, block.norm.bias, block.norm.eps)
    if block.pool == "none":
        return h
    if mask is None:
        return h.mean(dim=1) if h.shape[1] else h.sum(dim=1)
    kept = torch.where(mask[..., None], h, 0)
    return kept.sum(dim=1) / mask.sum(dim=1, keepdim=True).clamp(min=1)


def _product(x: Tensor, weight: Tensor, precision: Precision) -> Tensor:
    if precision == "bf16":
        x, weight = x.bfloat16().to(weight.dtype), weight.bfloat16().to(weight.dtype)
    if precision != "int8":
        return x @ weight.t()
    (q, scale), (p, each) = _int8(x), _int8(weight)
    return (q @ p.t()) * (scale[..., None] * each)


def _int8(x: Tensor) -> tuple[Tensor, Tensor]:
    """Whole numbers in [-127, 127] and the scale (...,) of each row; NaN for a row that is not finite."""
    if not x.shape[-1]:
        return x, x.new_zeros(x.shape[:-1])
    top = x.abs().amax(dim=-1)
    inverse = torch.where(top > _SMALLEST, 127 / top, 0)
    whole = torch.round(torch.nan_to_num(x, 0, 0, 0) * torch.nan_to_num(inverse, 0, 0, 0)[..., None])
    return whole, torch.where(torch.isfinite(top), top / 127, torch.nan)


def _activate(h: Tensor, activation: str) -> Tensor:
    match activation:
        case "relu":
            return F.relu(h)
        case "gelu":
            return F.gelu(h)
        case "gelu_tanh":
            return F.gelu(h, approximate="tanh")
        case "silu":
            return F.silu(h)
        case "tanh":
            return torch.tanh(h)
        case _:
            return h
