"""The native loss and prediction ops: fake tensors, autograd, and errors as Python's own types."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor

from tlplat.ops.problem import RowLoss

REDUCTIONS = {"none": 0, "mean": 1, "sum": 2}


def loss(
    z: Tensor,
    y: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    row_loss: RowLoss,
    sample_weight: Tensor | None,
    reduction: str,
) -> Tensor:
    """As :func:`tlplat.ops.reference.softmax_head_loss`; labels are checked on the way."""
    dtype = weight.dtype
    class_weight = None if row_loss.class_weight is None else row_loss.class_weight.to(dtype).contiguous()
    rows = None if sample_weight is None else sample_weight.to(dtype).contiguous()
    need_grad = torch.is_grad_enabled() and (weight.requires_grad or (bias is not None and bias.requires_grad))
    arguments = (
        _unit_stride(z),
        y.contiguous(),
        weight.contiguous(),
        None if bias is None else bias.contiguous(),
        class_weight,
        rows,
        float(row_loss.label_smoothing),
        row_loss.ignore_index,
        REDUCTIONS[reduction],
        need_grad,
    )
    if torch.compiler.is_compiling():
        return _ops().softmax_head_loss(*arguments)[0]  # type: ignore[no-any-return]
    try:
        if need_grad:
            return _Loss.apply(*arguments)  # type: ignore[no-any-return, no-untyped-call]
        return _ops().softmax_head_loss(*arguments)[0]  # type: ignore[no-any-return]
    except RuntimeError as error:
        as_python(error)
        raise


class _Loss(torch.autograd.Function):
    """The registered gradient without the dispatcher's detour through Python: half the price of a small call."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        output: tuple[Tensor, Tensor, Tensor] = _ops().softmax_head_loss(*inputs)
        _keep(ctx, inputs, output)
        return output[0]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
        return _backward(ctx, grads[0])


def predict(z: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """As :func:`tlplat.ops.reference.softmax_head_predict`."""
    with torch.no_grad():
        b = None if bias is None else bias.detach().contiguous()
        return _ops().softmax_head_predict(_unit_stride(z), weight.detach().contiguous(), b)  # type: ignore[no-any-return]


@functools.cache
def register() -> None:
    """Tell torch the shapes and the gradient of the loaded ops; once a process, after the library is loaded."""
    torch.library.register_fake("tlplat::softmax_head_loss", _fake_loss)
    torch.library.register_fake("tlplat::softmax_head_predict", _fake_predict)
    torch.library.register_autograd("tlplat::softmax_head_loss", _backward, setup_context=_setup)


def _ops() -> Any:
    return torch.ops.tlplat


def _unit_stride(z: Tensor) -> Tensor:
    return z if z.shape[1] < 2 or z.stride(1) == 1 else z.contiguous()


def as_python(error: RuntimeError) -> None:
    """C++ checks arrive as RuntimeError; labels out of range and empty means have types of their own."""
    line = str(error).splitlines()[0]
    if "is out of range" in line:
        raise IndexError(line[line.index("label ") :]) from None
    if "a mean over no rows" in line:
        raise ValueError(line[line.index("a mean") :]) from None


def _fake_loss(
    z: Tensor,
    y: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    class_weight: Tensor | None,
    sample_weight: Tensor | None,
    label_smoothing: float,
    ignore_index: int,
    reduction: int,
    need_grad: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    c, d = weight.shape
    loss = weight.new_empty((z.shape[0],) if reduction == 0 else ())
    return loss, weight.new_empty((c if need_grad else 0, d)), weight.new_empty((c if need_grad else 0,))


def _fake_predict(z: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return weight.new_empty((z.shape[0], weight.shape[0]))


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    ctx.mark_non_differentiable(output[1], output[2])
    _keep(ctx, inputs, output)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    ctx.options = inputs[6:9]
    ctx.set_materialize_grads(False)
    ctx.ready = inputs[8] != 0 and inputs[9]
    ctx.save_for_backward(*(output[1:] if ctx.ready else inputs[:6]))


def _backward(ctx: Any, grad: Tensor | None, *_: Any) -> tuple[Any, ...]:
    """A reduced loss brought its gradients along; rows' losses are weighted by what arrives, in a second pass."""
    none = (None,) * 10
    if grad is None:
        return none
    smoothing, ignore_index, reduction = ctx.options
    if ctx.ready:
        grad_w, grad_b = ctx.saved_tensors
        grad_w, grad_b = grad_w * grad, grad_b * grad
    else:
        z, y, weight, bias, class_weight, rows = ctx.saved_tensors
        if reduction == 0:
            rows, grad, reduction = grad.contiguous() if rows is None else rows * grad, None, 2
        _, grad_w, grad_b = _ops().softmax_head_loss(
            z, y, weight, bias, class_weight, rows, smoothing, ignore_index, reduction, True
        )
        if grad is not None:
            grad_w, grad_b = grad_w * grad, grad_b * grad
    return (None, None, grad_w, grad_b if ctx.needs_input_grad[3] else None, *(None,) * 6)
