"""What a strategy may measure before it plans: features, probes and gradients on the training rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from tlplat.bench import Bench, Rows
from tlplat.model import BackboneInfo, SourceModel, TaskInfo


@dataclass
class Measure:
    """:class:`tlplat.strategy.MeasureContext` over the training rows."""

    bench: Bench
    source: SourceModel
    backbone: BackboneInfo
    task: TaskInfo
    rows: Rows

    @property
    def targets(self) -> Tensor:
        return self.rows.targets

    def depth_features(self) -> Sequence[Tensor]:
        found = self.bench.store.depths(self.source, self.rows.examples.inputs)
        return [z[self.rows.index] for z in found]

    def probe_score(self, features: Tensor) -> float:
        return self.bench.task.fit_head(features, self.targets, {}).validation_loss
