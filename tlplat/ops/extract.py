"""The public functions over the last frozen block of an extractor."""

from __future__ import annotations

import torch
from torch import Tensor

from tlplat.ops import checks, native_extract, reference_extract
from tlplat.ops.block import ACTIVATIONS, POOLS, PRECISIONS, FrozenBlock, Precision
from tlplat.ops.heads import Impl, Reduction, check_head, check_loss, choose
from tlplat.ops.problem import RowLoss


def frozen_softmax_head_loss(
    x: Tensor,
    y: Tensor,
    block: FrozenBlock,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    mask: Tensor | None = None,
    precision: Precision = "full",
    class_weight: Tensor | None = None,
    sample_weight: Tensor | None = None,
    label_smoothing: float = 0.0,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
    impl: Impl = "auto",
) -> Tensor:
    """:func:`softmax_head_loss` of ``z = pool(norm(activation(x @ P.T + c)))``, chunk by chunk.

    Neither z (n, d) nor the logits (n, C) are ever held: a row costs four bytes, for its label.
    Differentiable in weight and bias; x and the block are frozen and get no gradient. The gradients of a reduced loss
    come with the loss, in one pass over x; without reduction, and in plain torch, features are computed again for them.

    Args:
        x: (n, k), or (n, tokens, k) where the block pools; float32, float64, bfloat16 or float16, any strides.
        y: (n,) integer labels in [0, C), or ``ignore_index``.
        block: P (d, k), c, activation, norm and pooling; tensors of weight's dtype.
        weight: (C, d) float32 or float64. bias: (C,) of the same dtype, or None.
        mask: (n, tokens) bool, False for tokens that do not count; features of a row without tokens are 0.
        precision: of the factors of the product with P, whose sums stay in float32: ``full``; ``bf16``, rounded to
            bfloat16; ``int8``, each row of x and of P scaled by its largest magnitude to [-127, 127]. Gradients are off
            by about 1 % with int8 and 0.3 % with bf16, for speed where the CPU has the instructions.
        class_weight, sample_weight, label_smoothing, ignore_index, reduction: as :func:`softmax_head_loss`.
        impl: ``native`` or ``reference``; ``auto`` takes the native one where it can serve: on CPUs.

    Returns:
        The loss in nats: a scalar, or (n,) where reduction is ``none``.

    Raises:
        TypeError: a dtype. ValueError: a shape, an option, a mean over no rows, or a frozen tensor that requires grad.
        IndexError: a label out of range, with its position. RuntimeError: tensors not on the same device.
    """
    _check_block(x, block, mask, precision)
    if weight.dtype != block.weight.dtype:
        raise TypeError(
            f"weight has dtype {weight.dtype}, the block {block.weight.dtype}; use float32 or float64 for both"
        )
    num_classes = check_head(block.dim, weight, bias)
    others = {"y": y, "weight": weight, "bias": bias, "class_weight": class_weight, "sample_weight": sample_weight}
    checks.same_device(x=x, mask=mask, **block.tensors(), **others)
    y = checks.label_tensor(y, len(x))
    check_loss(len(x), num_classes, class_weight, sample_weight, label_smoothing, reduction)
    options = RowLoss(class_weight, label_smoothing, ignore_index)
    arguments = (x, y, block, mask, precision, weight, bias, options, sample_weight, reduction)
    if choose(impl, x, ("cpu",)) and _registered():
        return native_extract.loss(*arguments)
    if not torch.compiler.is_compiling():
        checks.once(y, (num_classes, ignore_index), lambda: checks.label_range(y, num_classes, ignore_index))
        if reduction == "mean":
            checks.once(y, ignore_index, lambda: checks.kept_rows(y, ignore_index))
    return reference_extract.loss(*arguments)


def extract_features(
    x: Tensor,
    block: FrozenBlock,
    *,
    mask: Tensor | None = None,
    precision: Precision = "full",
    dtype: torch.dtype | None = None,
    impl: Impl = "auto",
) -> Tensor:
    """Features ``z = pool(norm(activation(x @ P.T + c)))``, written chunk by chunk, without gradient.

    Args:
        x, block, mask, precision, impl: as :func:`frozen_softmax_head_loss`.
        dtype: of z: float32, float64, bfloat16 or float16; default the block's.

    Returns:
        (n, d) features. Nothing else of that size is held, whatever n and the number of tokens are.

    Raises:
        TypeError: a dtype. ValueError: a shape, an option, or a frozen tensor that requires grad.
        RuntimeError: tensors not on the same device.
    """
    _check_block(x, block, mask, precision)
    checks.same_device(x=x, mask=mask, **block.tensors())
    dtype = block.weight.dtype if dtype is None else dtype
    if dtype not in checks.STORAGE:
        raise TypeError(f"z cannot have dtype {dtype}; use float32, float64, bfloat16 or float16")
    if choose(impl, x, ("cpu",)) and _registered():
        return native_extract.features(x, block, mask, precision, dtype)
    return reference_extract.features(x, block, mask, precision, dtype)


def _check_block(x: Tensor, block: FrozenBlock, mask: Tensor | None, precision: Precision) -> None:
    for name, value, known in (
        ("activation", block.activation, ACTIVATIONS),
        ("pool", block.pool, POOLS),
        ("precision", precision, PRECISIONS),
    ):
        if value not in known:
            raise ValueError(f"{name} must be one of {', '.join(known)}, not {value!r}")
    if x.dtype not in checks.STORAGE:
        raise TypeError(f"x has dtype {x.dtype}; the ops read float32, float64, bfloat16 and float16")
    checks.floating("block.weight", block.weight, checks.COMPUTE)
    if precision != "full" and block.weight.dtype != torch.float32:
        raise TypeError(f"{precision} extraction computes in float32, but block.weight has dtype {block.weight.dtype}")
    if block.weight.ndim != 2:
        raise ValueError(f"block.weight must be (d, k), not {tuple(block.weight.shape)}")
    k, form = block.weight.shape[1], "(n, k)" if block.pool == "none" else "(n, tokens, k)"
    if x.ndim != form.count(",") + 1 or x.shape[-1] != k:
        raise ValueError(f"x must be {form} with k = {k} where pool is {block.pool}, not {tuple(x.shape)}")
    for name, tensor in {"x": x, **block.tensors()}.items():
        if tensor is None:
            continue
        if tensor.requires_grad:
            raise ValueError(
                f"{name} requires grad, but x and the block are frozen here and get no gradient; detach it"
            )
        if name not in ("x", "block.weight"):
            checks.shape(name, tensor, (block.dim,))
            if tensor.dtype != block.weight.dtype:
                raise TypeError(
                    f"{name} has dtype {tensor.dtype}, block.weight {block.weight.dtype}; use float32 for both"
                )
    if mask is not None:
        if block.pool == "none":
            raise ValueError("a mask goes with pool='mean': without pooling every row is one token")
        if mask.dtype != torch.bool:
            raise TypeError(f"mask has dtype {mask.dtype}; use bool, True for tokens that count")
        checks.shape("mask", mask, x.shape[:2])


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _registered() -> bool:
    native_extract.register()
    return True
