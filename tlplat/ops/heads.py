"""The public functions over frozen features and a softmax head. The only place that chooses an implementation."""

from __future__ import annotations

import functools
from typing import Literal

import torch
from torch import Tensor

from tlplat.ops import checks, extension, native_heads, reference
from tlplat.ops.problem import RowLoss

Impl = Literal["auto", "native", "reference"]
Reduction = Literal["mean", "sum", "none"]
_TOPK_CHUNK = 1 << 20  # probabilities held at a time


def softmax_head_loss(
    z: Tensor,
    y: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    class_weight: Tensor | None = None,
    sample_weight: Tensor | None = None,
    label_smoothing: float = 0.0,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
    impl: Impl = "auto",
) -> Tensor:
    """Cross-entropy of ``softmax(z @ weight.T + bias)`` on frozen features.

    The same as ``torch.nn.functional.cross_entropy`` with the same options, times ``sample_weight``; a mean divides by
    ``sum(sample_weight * class_weight[y])`` over the rows that are not ignored. Differentiable in weight and bias.

    Args:
        z: (n, d) frozen features, float32, float64, bfloat16 or float16; they get no gradient.
        y: (n,) integer labels in [0, C), or ``ignore_index``.
        weight: (C, d) float32 or float64: the dtype that is computed in. bias: (C,) of the same dtype, or None.
        class_weight: (C,). sample_weight: (n,). Neither gets a gradient.
        label_smoothing: in [0, 1).
        reduction: ``mean``, ``sum`` or ``none``.
        impl: ``native`` or ``reference``; ``auto`` takes the native one where it can serve.

    Returns:
        The loss in nats: a scalar, or (n,) where reduction is ``none``.

    Raises:
        TypeError: a dtype. ValueError: a shape, an option, a mean over no rows, or z that requires grad.
        IndexError: a label out of range, with its position. RuntimeError: tensors not on the same device.
    """
    checks.features(z)
    num_classes = check_head(z.shape[1], weight, bias)
    checks.same_device(z=z, y=y, weight=weight, bias=bias, class_weight=class_weight, sample_weight=sample_weight)
    y = checks.label_tensor(y, len(z))
    check_loss(len(z), num_classes, class_weight, sample_weight, label_smoothing, reduction)
    options = RowLoss(class_weight, label_smoothing, ignore_index)
    native = choose(impl, z)
    looks = native and z.device.type == "cpu"  # the native CPU op looks at labels on its way
    if not looks and not torch.compiler.is_compiling():
        checks.once(y, (num_classes, ignore_index), lambda: checks.label_range(y, num_classes, ignore_index))
        if reduction == "mean":
            checks.once(y, ignore_index, lambda: checks.kept_rows(y, ignore_index))
    if native:
        return native_heads.loss(z, y, weight, bias, options, sample_weight, reduction)
    return reference.softmax_head_loss(z, y, weight, bias, options, sample_weight, reduction)


def softmax_head_predict(z: Tensor, weight: Tensor, bias: Tensor | None = None, *, impl: Impl = "auto") -> Tensor:
    """Class probabilities ``softmax(z @ weight.T + bias)``, computed in chunks of rows, without gradient.

    Args:
        z: (n, d) frozen features. weight: (C, d) float32 or float64. bias: (C,) or None.

    Returns:
        (n, C) probabilities in weight's dtype; rows sum to 1.

    Raises:
        TypeError: a dtype. ValueError: a shape. RuntimeError: tensors not on the same device.
    """
    checks.features(z)
    check_head(z.shape[1], weight, bias)
    checks.same_device(z=z, weight=weight, bias=bias)
    if choose(impl, z):
        return native_heads.predict(z, weight, bias)
    return reference.softmax_head_predict(z, weight, bias)


def softmax_head_topk(
    z: Tensor, weight: Tensor, bias: Tensor | None = None, *, k: int, impl: Impl = "auto"
) -> tuple[Tensor, Tensor]:
    """The k likeliest classes of every row, likeliest first, without ever holding the probabilities of all rows.

    Args:
        z, weight, bias, impl: as :func:`softmax_head_predict`. k: in [1, C].

    Returns:
        (n, k) probabilities in weight's dtype, and (n, k) int64 classes.

    Raises:
        TypeError, RuntimeError: as :func:`softmax_head_predict`. ValueError: a shape, or a k out of range.
    """
    checks.features(z)
    classes = check_head(z.shape[1], weight, bias)
    if not 1 <= k <= classes:
        raise ValueError(f"k must be in [1, {classes}], the number of classes, not {k}")
    values = weight.new_empty((len(z), k), requires_grad=False)
    found = torch.empty((len(z), k), dtype=torch.int64, device=z.device)
    rows = max(1, _TOPK_CHUNK // classes)
    for at in range(0, len(z), rows):
        part = slice(at, at + rows)
        p = softmax_head_predict(z[part], weight, bias, impl=impl)
        torch.topk(p, k, dim=1, out=(values[part], found[part]))
    return values, found


def check_head(features: int, weight: Tensor, bias: Tensor | None) -> int:
    """The number of classes of a head on so many features."""
    checks.floating("weight", weight, checks.COMPUTE)
    if weight.ndim != 2 or weight.shape[0] < 1:
        raise ValueError(f"weight must be (C, d) with C >= 1, not {tuple(weight.shape)}")
    checks.shape("weight", weight, (weight.shape[0], features))
    if bias is not None:
        if bias.dtype != weight.dtype:
            raise TypeError(
                f"bias has dtype {bias.dtype}, weight {weight.dtype}; use one of float32 and float64 for both"
            )
        checks.shape("bias", bias, (weight.shape[0],))
    return weight.shape[0]


def check_loss(
    rows: int,
    num_classes: int,
    class_weight: Tensor | None,
    sample_weight: Tensor | None,
    label_smoothing: float,
    reduction: str,
) -> None:
    """The options that every loss takes; values of weights are not looked at under torch.compile."""
    eager = not torch.compiler.is_compiling()
    checks.smoothing(label_smoothing)
    if class_weight is not None:
        checks.shape("class_weight", class_weight, (num_classes,))
        checks.weights("class_weight", class_weight, values=eager)
    if sample_weight is not None:
        checks.shape("sample_weight", sample_weight, (rows,))
        checks.weights("sample_weight", sample_weight, values=eager)
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"reduction must be mean, sum or none, not {reduction!r}")


def choose(impl: Impl, z: Tensor, devices: tuple[str, ...] = ("cpu", "cuda")) -> bool:
    """Whether the native implementation, which serves these devices, takes a call on these features."""
    if impl not in ("auto", "native", "reference"):
        raise ValueError(f"impl must be auto, native or reference, not {impl!r}")
    served = z.device.type in devices and z.shape[0] < 1 << 31
    if impl == "reference" or (impl == "auto" and not served):
        return False
    reason = _why_not_native(z.device.index if z.device.type == "cuda" else None)
    if impl == "native" and (reason or not served):
        reason = reason or f"it serves {' and '.join(devices)} tensors of less than 2**31 rows"
        raise RuntimeError(f"the native implementation cannot take this call: {reason}; use impl='auto' or 'reference'")
    return not reason


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _why_not_native(gpu: int | None) -> str:
    """Why there is no native implementation, on the CPU or a GPU; empty where there is one, with its ops registered."""
    found = extension.load() if gpu is None else extension.load_cuda()
    if found.library is not None:
        native_heads.register()
    if not found.reason and gpu is not None and _capability(gpu) < (8, 0):
        return "the GPU's compute capability is below 8.0"
    return found.reason


@functools.cache
def _capability(gpu: int) -> tuple[int, int]:
    return torch.cuda.get_device_capability(gpu)
