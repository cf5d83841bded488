"""What deep_coral and dann share: each step's features of two streams of rows whose distributions are to be alike."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from tlplat.athand import AtHand
from tlplat.edits import Behaviour
from tlplat.model import BackboneInfo, TaskInfo, TransferModel, model_device


@contextmanager
def statistics_kept(model: nn.Module) -> Iterator[None]:
    """Batch norms normalise by their batch as they would, but leave their running statistics alone."""
    layers = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats and m.training]
    for layer in layers:
        layer.track_running_stats = False
    try:
        yield
    finally:
        for layer in layers:
            layer.track_running_stats = True


class Alignment(Behaviour):
    """Adds ``weight * gap`` between the features of unlabelled target rows and of other rows, once a step.

    Args:
        align: what the target is aligned with: ``source`` rows, or the ``labelled`` rows of the target.
        source_weight: of the source rows' own task loss, where their labels are the target's (0: not used).
    """

    def __init__(self, align: str, weight: float, source_weight: float) -> None:
        self.align, self.weight, self.source_weight = align, weight, source_weight
        self.step, self.progress = 0, 0.0

    @abstractmethod
    def gap(self, other: Tensor, target: Tensor) -> Tensor:
        """How far the features (n, d) and (m, d) lie apart: a scalar."""

    def lend(self, rows: AtHand) -> None:
        self.rows = rows

    def begin_step(self, model: TransferModel, step: int, progress: float) -> None:
        self.step, self.progress = step, progress

    def step_loss(self, model: TransferModel) -> Tensor:
        other, own_loss = self.streams(model)
        target = model.backbone(self.rows.unlabeled_batch(self.step, model_device(model)))
        return self.weight * self.gap(other.float(), target.float()) + own_loss

    def streams(self, model: TransferModel) -> tuple[Tensor, Tensor]:
        """Features of the step's other rows, and the weighted task loss of the source's."""
        device = model_device(model)
        with statistics_kept(model):
            if self.align == "labelled":
                features: Tensor = model.backbone(self.rows.labelled_batch(self.step, device))
                return features, features.new_zeros(())
            batch, targets = self.rows.source_batch(self.step, device)
            features = model.backbone(batch)
        if not self.source_weight:
            return features, features.new_zeros(())
        assert self.rows.source is not None
        task = self.rows.task
        outputs = task.among(model.head(features).float(), self.rows.source.targets)
        return features, self.source_weight * task.loss(outputs, targets)


def alignment_args(task: TaskInfo, backbone: BackboneInfo, source_weight: float) -> dict[str, Any]:
    """``align`` and ``source_weight`` as the run's data allow."""
    if "source_rows" not in task.offers:
        return {"align": "labelled", "source_weight": 0.0}
    return {"align": "source", "source_weight": source_weight if backbone.has_source_head else 0.0}


def feature_width(model: TransferModel, rows: AtHand) -> int:
    """Features of one row as the backbone gives them now."""
    with torch.no_grad(), statistics_kept(model):
        return int(model.backbone(rows.labelled_batch(0, model_device(model))).shape[1])
