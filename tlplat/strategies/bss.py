"""Batch spectral shrinkage: fine-tuning that lets the weakest directions of the features go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from tlplat.data.examples import Batch
from tlplat.edits import Behaviour
from tlplat.hookspecs import hookimpl
from tlplat.model import BackboneInfo, TaskInfo, TransferModel
from tlplat.plan import Budget, Phase, Ref, TransferPlan
from tlplat.strategies.rates import over_rates, reused_head
from tlplat.strategy import Family, Strategy
from tlplat.taps import Taps


def spectral_penalty(features: Tensor, eta: float, k: int) -> Tensor:
    """eta times the sum of squares of the k smallest singular values of features (rows, d) (Chen et al. 2019, eq. 7).

    There are min(rows, d) singular values; with no more than k of them all count.
    """
    values: Tensor = torch.linalg.svdvals(features)  # in descending order
    return eta * values[-k:].square().sum()


class SpectralShrinkage(Behaviour):
    """Adds the penalty on the features that the head receives; no more than k singular values are left alone."""

    name: ClassVar[str] = "bss"

    def __init__(self, eta: float, k: int) -> None:
        self.eta, self.k = eta, k

    def setup(self, model: TransferModel, generator: torch.Generator) -> None:
        self.taps = Taps([model.backbone])

    def loss(self, model: TransferModel, batch: Batch, outputs: Tensor) -> Tensor | None:
        features = self.taps.outputs[0].float()
        return spectral_penalty(features, self.eta, self.k) if min(features.shape) > self.k else None

    def close(self, model: TransferModel) -> None:
        self.taps.close()


@dataclass(frozen=True)
class BatchSpectralShrinkage(Strategy):
    """Fine-tune with a penalty on the smallest singular values of each batch's features.

    Touches: all parameters. Directions of small singular values are those that transfer worst; they are suppressed
    where other penalties hold on to all that the source knew. A batch that is split for memory is shrunk in parts.
    Wins: when labels are few and part of the source misleads. Costs: a small singular value decomposition a step.
    """

    name: ClassVar[str] = "bss"
    family: ClassVar[Family] = "parameter"
    paper: ClassVar[str] = "Chen et al. 2019, Catastrophic forgetting meets negative transfer: batch spectral shrinkage"
    requires: ClassVar[frozenset[str]] = frozenset({"loss"})

    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    eta: float = 1e-3
    k: int = 1

    def plan(self, task: TaskInfo, backbone: BackboneInfo, measured: Mapping[str, Any], budget: Budget) -> TransferPlan:
        shrinkage = Ref("bss", {"eta": self.eta, "k": self.k})
        phase = Phase(("*",), self.learning_rate, weight_decay=self.weight_decay, behaviours=(shrinkage,))
        return TransferPlan(start=reused_head(backbone), phases=(phase,))

    def unfit(self, task: TaskInfo, backbone: BackboneInfo) -> str | None:
        if backbone.feature_dim <= self.k:
            return f"the backbone {backbone.name} has {backbone.feature_dim} feature(s), no more than are shrunk"
        return super().unfit(task, backbone)

    def grid(self) -> Sequence[BatchSpectralShrinkage]:
        return over_rates(self)


@hookimpl
def tlplat_register_strategies() -> list[type[Strategy]]:
    return [BatchSpectralShrinkage]


@hookimpl
def tlplat_register_behaviours() -> list[type[Behaviour]]:
    return [SpectralShrinkage]
