"""The choice among solved heads: held-out outputs, and the temperature that fits them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tlplat.strategies.prototypes import class_matrix, make_head, solve_head
from tlplat.tasks.base import Task

SETTINGS: dict[str, tuple[float, ...]] = {"mean": (0.0,), "lda": (0.0,), "ridge": (0.01, 0.1, 1.0), "knn": (1, 3, 9)}
"""Variants from the plainest on, each with the values of its one setting: ridge's penalty, the number of neighbours."""
TEMPERATURES = torch.logspace(-2, 2, 41)


def held_out(z: Tensor, targets: Tensor, args: dict[str, Any], fold: Tensor) -> Tensor:
    """Outputs (n, c) of each row by the head that the other folds solve; ``fold``: (n,) the rows' numbers."""
    y = class_matrix(targets, args["classes"])
    outputs = torch.zeros(y.shape)
    for number in range(int(fold.max()) + 1):
        out = fold == number
        head = make_head(z.shape[1], {**args, "rows": int((~out).sum())})
        solve_head(head, z[~out], y[~out], args["variant"], args["setting"], args["temperature"])
        outputs[out] = head(z[out].float())
    return outputs


def best_temperature(task: Task, outputs: Tensor, targets: Tensor) -> tuple[float, float]:
    """The divisor of ``outputs`` of least task loss (Guo et al. 2017), from a grid, and that loss a row."""
    losses = torch.stack([task.loss(outputs / t, targets) for t in TEMPERATURES])
    best = int(losses.argmin())
    return float(TEMPERATURES[best]), float(losses[best])
