"""Heads that are solved and not trained: buffers, filled from features at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tlplat.strategies.closedform import discriminant, nearest_mean, ridge

SHARPNESS = 0.1
"""Neighbours are weighted by exp(cosine / 0.1) (Wu et al. 2018, section 3.4)."""


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
