"""The native ops of a frozen block: fake tensors, autograd, and the arguments that they take."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor

from tlplat.ops.block import ACTIVATIONS, PRECISIONS, FrozenBlock, Precision
from tlplat.ops.native_heads import REDUCTIONS, as_python
from tlplat.ops.problem import RowLoss

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
_BLOCK = 9
"""Arguments that describe x and the block; they come first."""


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
    """As :func:`tlplat.ops.reference_extract.loss`; labels are checked on the way."""
    dtype = weight.dtype
    arguments = (
        *_block_arguments(x, block, mask, precision),
        y.contiguous(),
        weight.contiguous(),
        None if bias is None else bias.contiguous(),
        None if row_loss.class_weight is None else row_loss.class_weight.to(dtype).contiguous(),
        None if sample_weight is None else sample_weight.to(dtype).contiguous(),
        float(row_loss.label_smoothing),
        row_loss.ignore_index,
        REDUCTIONS[reduction],
        torch.is_grad_enabled() and (weight.requires_grad or (bias is not None and bias.requires_grad)),
    )
    if torch.compiler.is_compiling():
        return torch.ops.tlplat.frozen_softmax_head_loss(*arguments)[0]  # type: ignore[no-any-return]
    try:
        return torch.ops.tlplat.frozen_softmax_head_loss(*arguments)[0]  # type: ignore[no-any-return]
    except RuntimeError as error:
        as_python(error)
        raise


def features(x: Tensor, block: FrozenBlock, mask: Tensor | None, precision: Precision, dtype: torch.dtype) -> Tensor:
    """As :func:`tlplat.ops.reference_extract.features`."""
    with torch.no_grad():
        arguments = _block_arguments(x, block, mask, precision)
        return torch.ops.tlplat.extract_features(*arguments, DTYPES.index(dtype))  # type: ignore[no-any-return]


@functools.cache
def register() -> None:
    """Tell torch the shapes and the gradient of the loaded ops; once a process, after the library is loaded."""
    torch.library.register_fake("tlplat::frozen_softmax_head_loss", _fake_loss)
    torch.library.register_fake("tlplat::extract_features", _fake_features)
    torch.library.register_autograd("tlplat::frozen_softmax_head_loss", _backward, setup_context=_setup)


def _block_arguments(x: Tensor, block: FrozenBlock, mask: Tensor | None, precision: Precision) -> tuple[Any, ...]:
    norm, weight = block.norm, block.weight.contiguous()
    scale = shift = None
    if norm is not None:
        scale = weight.new_ones(block.dim) if norm.weight is None else norm.weight.contiguous()
        shift = None if norm.bias is None else norm.bias.contiguous()
    return (
        x,
        None if mask is None else mask.contiguous(),
        weight,
        None if block.bias is None else block.bias.contiguous(),
        scale,
        shift,
        1e-5 if norm is None else float(norm.eps),
        ACTIVATIONS.index(block.activation),
        PRECISIONS.index(precision),
    )


def _fake_loss(*arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    x, weight, reduction, need_grad = arguments[0], arguments[_BLOCK + 1], arguments[-2], arguments[-1]
    c, d = weight.shape
    losses = weight.new_empty((x.shape[0],) if reduction == 0 else ())
    return losses, weight.new_empty((c if need_grad else 0, d)), weight.new_empty((c if need_grad else 0,))


def _fake_features(*arguments: Any) -> Tensor:
    x: Tensor = arguments[0]
    return x.new_empty((x.shape[0], arguments[2].shape[0]), dtype=DTYPES[arguments[-1]])


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    ctx.mark_non_differentiable(output[1], output[2])
    ctx.set_materialize_grads(False)
    ctx.reduction, need_grad = inputs[-2:]
    ctx.ready = ctx.reduction != 0 and need_grad
    ctx.tensors = [i for i, value in enumerate(inputs) if isinstance(value, Tensor)]
    ctx.rest = [None if i in ctx.tensors else value for i, value in enumerate(inputs)]
    ctx.save_for_backward(*(output[1:] if ctx.ready else [inputs[i] for i in ctx.tensors]))


def _backward(ctx: Any, grad: Tensor | None, _weight: Any, _bias: Any) -> tuple[Any, ...]:
    """A reduced loss brought its gradients along; rows' losses are weighted by what arrives, in a second pass."""
    out: list[Any] = [None] * len(ctx.rest)
    if grad is None:
        return tuple(out)
    if ctx.ready:
        grad_w, grad_b = ctx.saved_tensors
    else:
        inputs = list(ctx.rest)
        for i, value in zip(ctx.tensors, ctx.saved_tensors, strict=True):
            inputs[i] = value
        if ctx.reduction == 0:
            rows = inputs[_BLOCK + 4]
            inputs[_BLOCK + 4] = grad.contiguous() if rows is None else rows * grad
            grad = None
            inputs[-2] = REDUCTIONS["sum"]
        _, grad_w, grad_b = torch.ops.tlplat.frozen_softmax_head_loss(*inputs[:-1], True)
    if grad is not None:
        grad_w, grad_b = grad_w * grad, grad_b * grad
    out[_BLOCK + 1] = grad_w
    out[_BLOCK + 2] = grad_b if ctx.needs_input_grad[_BLOCK + 2] else None
    return tuple(out)
