"""Classifiers that are solved at once on fixed features: nearest class mean, discriminant, ridge, neighbours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tlplat.tasks.base import Task

SETTINGS: dict[str, tuple[float, ...]] = {"mean": (0.0,), "lda": (0.0,), "ridge": (0.01, 0.1, 1.0), "knn": (1, 3, 9)}
"""Variants from the plainest on, each with the values of its one setting: ridge's penalty, the number of neighbours."""
TEMPERATURES = torch.logspace(-2, 2, 41)
SHARPNESS = 0.1
"""Neighbours are weighted by exp(cosine / 0.1) (Wu et al. 2018, section 3.4)."""


def nearest_mean(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Weight (c, d) and bias (c,) of -|x - mean|^2 / (2 variance), up to what all classes share.

    x: (n, d), y: (n, c) one-hot. Means are prototypes (Snell et al. 2017); the variance is pooled within classes.
    """
    means = y.T @ x / y.sum(dim=0)[:, None]
    variance = ((x - y @ means).square().sum() / max(1, len(x) - y.shape[1]) / x.shape[1]).clamp(min=1e-8)
    return means / variance, -0.5 * means.square().sum(dim=1) / variance


def discriminant(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Linear discriminant (Fisher 1936) with a covariance shrunk as Ledoit & Wolf (2004) say: weight (c, d), bias."""
    from sklearn.covariance import ledoit_wolf

    means = y.T @ x / y.sum(dim=0)[:, None]
    shrunk, _ = ledoit_wolf((x - y @ means).numpy(), assume_centered=True)
    covariance = torch.from_numpy(shrunk) + 1e-8 * torch.eye(x.shape[1], dtype=x.dtype)
    weight = torch.linalg.solve(covariance, means.T).T
    return weight, -0.5 * (weight * means).sum(dim=1) + torch.log(y.mean(dim=0))


def ridge(x: Tensor, y: Tensor, penalty: float) -> tuple[Tensor, Tensor]:
    """Least squares on targets in {-1, 1} with ``penalty * n * |W|^2``: weight (c, d), bias (Rifkin et al. 2003)."""
    centre, offset = x.mean(dim=0), (2 * y - 1).mean(dim=0)
    a, b, n = x - centre, 2 * y - 1 - offset, len(x)
    if n < a.shape[1]:
        weight = (torch.linalg.solve(a @ a.T + penalty * n * torch.eye(n, dtype=x.dtype), b).T) @ a
    else:
        weight = torch.linalg.solve(a.T @ a + penalty * n * torch.eye(a.shape[1], dtype=x.dtype), a.T @ b).T
    return weight, offset - weight @ centre


class LinearHead(nn.Module):
    """Outputs ``(z W^T + b)`` with buffers ``weight`` (c, d) and ``bias`` (c,): solved, not trained."""

    weight: Tensor
    bias: Tensor

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(classes, width))
        self.register_buffer("bias", torch.zeros(classes))

    def forward(self, z: Tensor) -> Tensor:
        return F.linear(z, self.weight, self.bias)


class NeighbourHead(nn.Module):
    """Log votes of the ``k`` nearest training rows by cosine: buffers ``bank`` (n, d) and ``votes`` (n, c).

    One row's vote is shared out evenly as a prior. ``centre`` and ``scale`` (d,) standardise first; outputs are divided
    by ``temperature``. ``multi_label``: each label's log odds instead.
    """

    centre: Tensor
    scale: Tensor
    bank: Tensor
    votes: Tensor

    def __init__(
        self, width: int, classes: int, rows: int, k: int, temperature: float = 1.0, multi_label: bool = False
    ) -> None:
        super().__init__()
        self.k, self.temperature, self.multi_label = min(k, rows), temperature, multi_label
        for name, shape in {
            "centre": (width,),
            "scale": (width,),
            "bank": (rows, width),
            "votes": (rows, classes),
        }.items():
            self.register_buffer(name, torch.zeros(shape))

    def forward(self, z: Tensor) -> Tensor:
        near = (F.normalize((z - self.centre) / self.scale) @ self.bank.T).topk(self.k, dim=1)
        weight = torch.softmax(near.values / SHARPNESS, dim=1) * self.k
        share = ((weight[:, :, None] * self.votes[near.indices]).sum(dim=1) + 1 / self.votes.shape[1]) / (self.k + 1)
        outputs = torch.logit(share, eps=1e-6) if self.multi_label else torch.log(share)
        return outputs / self.temperature


def solve_head(head: nn.Module, z: Tensor, y: Tensor, variant: str, setting: float, temperature: float) -> None:
    """Fill a LinearHead's or NeighbourHead's buffers from features z (n, d) and classes y (n, c) in {0, 1}."""
    z, y = z.double(), y.double()
    centre, spread = z.mean(dim=0), z.std(dim=0, correction=0)
    scale = torch.where(spread > 1e-6, spread, torch.ones_like(spread))
    x = (z - centre) / scale
    if isinstance(head, NeighbourHead):
        found = {"centre": centre, "scale": scale, "bank": F.normalize(x), "votes": y}
    else:
        solver: dict[str, Callable[[], tuple[Tensor, Tensor]]] = {
            "mean": lambda: nearest_mean(x, y),
            "lda": lambda: discriminant(x, y),
            "ridge": lambda: ridge(x, y, setting),
        }
        weight, bias = solver[variant]()
        weight = weight / scale
        found = {"weight": weight / temperature, "bias": (bias - weight @ centre) / temperature}
    for name, value in found.items():
        head.get_buffer(name).copy_(value)


def make_head(width: int, args: dict[str, Any]) -> nn.Module:
    """The empty head of ``variant`` for features of ``width``; buffers of the right shapes."""
    if args["variant"] != "knn":
        return LinearHead(width, args["classes"])
    k, rows = int(args["setting"]), args["rows"]
    return NeighbourHead(width, args["classes"], rows, k, args["temperature"], args["multi_label"])


def class_matrix(targets: Tensor, classes: int) -> Tensor:
    """(n, c) in {0, 1} of class indices (n,), or of multi-label targets as they are."""
    return targets if targets.ndim == 2 else F.one_hot(targets, classes)


def held_out(z: Tensor, targets: Tensor, args: dict[str, Any], folds: int = 5) -> Tensor:
    """Outputs (n, c) of each row by the head that the other folds solve; classes are dealt out over the folds."""
    y = class_matrix(targets, args["classes"])
    order = torch.argsort(targets if targets.ndim == 1 else targets.sum(dim=1), stable=True)
    fold = torch.empty(len(z), dtype=torch.int64)
    fold[order] = torch.arange(len(z)) % min(folds, len(z))
    outputs = torch.zeros(y.shape)
    for number in fold.unique().tolist():
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
