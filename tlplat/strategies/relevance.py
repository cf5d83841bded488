"""Which features a target needs: a linear head under a group lasso, one group a feature."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

STEPS = 150


def group_lasso(
    x: Tensor, targets: Tensor, outputs: int, loss: Callable[[Tensor, Tensor], Tensor], share: float, steps: int = STEPS
) -> Tensor:
    """Weight (outputs, d) that minimises ``loss(x W^T + b, targets) + penalty * sum_i |W_:i|_2``.

    The penalty is ``share`` (in (0, 1]) of the least one at which every feature is left out. Accelerated proximal
    gradient with backtracking (Beck & Teboulle 2009, section 4).

    Args:
        x: (n, d) standardised features. loss: the task's mean loss of outputs (n, outputs).
    """
    ones = torch.ones_like(x[:, :1])
    nothing = x.new_zeros(outputs, x.shape[1] + 1)
    bias = _descend(torch.cat([0 * x, ones], dim=1), nothing, targets, loss, 0.0, steps)
    a = torch.cat([x, ones], dim=1)
    largest = float(_value_and_gradient(a, bias, targets, loss)[1][:, :-1].norm(dim=0).max())
    return _descend(a, bias, targets, loss, share * largest, steps)[:, :-1]


def _descend(
    a: Tensor, weight: Tensor, targets: Tensor, loss: Callable[[Tensor, Tensor], Tensor], penalty: float, steps: int
) -> Tensor:
    step = 2 * len(a) / float(torch.linalg.matrix_norm(a, ord=2)) ** 2  # right for cross-entropy (Boehning 1992)
    momentum, t = weight, 1.0
    for _ in range(steps):
        value, gradient = _value_and_gradient(a, momentum, targets, loss)
        while True:
            new = _shrunk(momentum - step * gradient, step * penalty)
            move = new - momentum
            bound = value + float((gradient * move).sum()) + float(move.square().sum()) / (2 * step)
            if float(loss(a @ new.T, targets)) <= bound + 1e-6 * abs(value):
                break
            step /= 2
        further = (1 + math.sqrt(1 + 4 * t * t)) / 2
        momentum = new + (t - 1) / further * (new - weight)
        weight, t = new, further
    return weight


def _shrunk(weight: Tensor, by: float) -> Tensor:
    """Each feature's column (the last, the bias, apart) shortened by ``by``, at most to nothing."""
    length = weight[:, :-1].norm(dim=0).clamp(min=1e-12)
    return torch.cat([weight[:, :-1] * (1 - by / length).clamp(min=0), weight[:, -1:]], dim=1)


def _value_and_gradient(
    a: Tensor, weight: Tensor, targets: Tensor, loss: Callable[[Tensor, Tensor], Tensor]
) -> tuple[float, Tensor]:
    with torch.enable_grad():
        leaf = weight.detach().requires_grad_()
        value = loss(a @ leaf.T, targets)
        (gradient,) = torch.autograd.grad(value, leaf)
    return float(value.detach()), gradient
