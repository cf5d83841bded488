"""Deep CORAL: fine-tuning with alike covariances of source and target features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from tlplat.edits import Behaviour
from tlplat.hookspecs import hookimpl
from tlplat.model import BackboneInfo, TaskInfo, TransferModel
from tlplat.plan import Budget, Phase, Ref, TransferPlan
from tlplat.strategies.alignment import Alignment, alignment_args
from tlplat.strategies.rates import over_rates, reused_head
from tlplat.strategy import Family, Strategy


def coral_loss(source: Tensor, target: Tensor) -> Tensor:
    """||C_S - C_T||_F^2 / (4 d^2) of features (n, d) and (m, d), n and m at least 2 (Sun & Saenko 2016, eq. 1 to 3)."""
    return (_covariance(source) - _covariance(target)).square().sum() / (4 * source.shape[1] ** 2)


def _covariance(x: Tensor) -> Tensor:
    centred = x - x.mean(dim=0)
    return centred.T @ centred / (len(x) - 1)


class Coral(Alignment):
    """Adds the CORAL loss of the features, in units of its value at the phase's first rows.

    The paper asks for a weight at which CORAL and task loss end up alike; in its own unit the loss is as small as the
    features' scale to the fourth, so ``weight`` is what the term contributes at the start.
    """

    name: ClassVar[str] = "coral"
    unit = torch.ones(())

    def setup(self, model: TransferModel, generator: torch.Generator) -> None:
        self.unit = torch.ones(())
        modes = [(m, m.training) for m in model.modules()]
        model.eval()
        with torch.no_grad():
            other, _ = self.streams(model)
            target = model.backbone(self.rows.unlabeled_batch(0, other.device))
            self.unit = coral_loss(other.double(), target.double()).clamp(min=1e-12).float()
        for m, training in modes:
            m.training = training

    def gap(self, other: Tensor, target: Tensor) -> Tensor:
        return coral_loss(other, target) / self.unit

    def state_dict(self) -> dict[str, Tensor]:
        return {"unit": self.unit}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.unit = state["unit"].to(self.unit.device)


@dataclass(frozen=True)
class DeepCoral(Strategy):
    """Fine-tune everything while the covariances of source and target features are pulled together.

    Aligns unlabelled target rows with the source's labelled rows where the domain lends them (whose task loss is then
    added, where labels match), else with the target's own labelled rows; the plan's ``align`` says which.
    Touches: all parameters. Wins: when few labels stand against many unlabelled rows and the shift is of second order.
    Costs: two more forward passes a step.
    """

    name: ClassVar[str] = "deep_coral"
    family: ClassVar[Family] = "parameter"
    paper: ClassVar[str] = "Sun & Saenko 2016, Deep CORAL: correlation alignment for deep domain adaptation"
    requires: ClassVar[frozenset[str]] = frozenset({"loss", "unlabeled"})
    uses: ClassVar[frozenset[str]] = frozenset({"source_rows"})

    learning_rate: float = 1e-3
    weight: float = 0.5
    source_weight: float = 1.0

    def plan(self, task: TaskInfo, backbone: BackboneInfo, measured: Mapping[str, Any], budget: Budget) -> TransferPlan:
        coral = Ref("coral", {"weight": self.weight, **alignment_args(task, backbone, self.source_weight)})
        phase = Phase(trainable=("*",), learning_rate=self.learning_rate, behaviours=(coral,))
        return TransferPlan(start=reused_head(backbone), phases=(phase,))

    def grid(self) -> Sequence[DeepCoral]:
        return over_rates(self)


@hookimpl
def tlplat_register_strategies() -> list[type[Strategy]]:
    return [DeepCoral]


@hookimpl
def tlplat_register_behaviours() -> list[type[Behaviour]]:
    return [Coral]
