"""Self-training: the model's own confident labels of the target's unlabelled rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from tlplat.athand import UNLABELED_SALT, AtHand
from tlplat.data.examples import to_device
from tlplat.data.order import RowOrder
from tlplat.edits import Behaviour
from tlplat.features import apply_in_batches
from tlplat.hookspecs import hookimpl
from tlplat.model import BackboneInfo, TaskInfo, TransferModel, model_device
from tlplat.plan import Budget, Phase, Ref, TransferPlan
from tlplat.strategies.rates import over_rates, reused_head
from tlplat.strategy import Family, Strategy


def pseudo_labels(probabilities: np.ndarray, multi_label: bool) -> tuple[Tensor, Tensor]:
    """Labels and confidence (n,) of probabilities (n, c): of the likeliest class, or of the least certain label."""
    p = torch.from_numpy(probabilities)
    if multi_label:
        return (p >= 0.5).float(), torch.maximum(p, 1 - p).min(dim=1).values
    confidence, labels = p.max(dim=1)
    return labels, confidence


class PseudoLabels(Behaviour):
    """Adds the task's loss on unlabelled rows whose confidence reaches a threshold, with the model's own labels.

    The threshold goes from ``first`` to ``last`` in ``cycles`` equal steps over the phase; at each, all unlabelled rows
    are predicted anew.
    """

    name: ClassVar[str] = "pseudo_labels"

    def __init__(self, first: float, last: float, cycles: int, weight: float) -> None:
        self.first, self.last, self.cycles, self.weight = first, last, cycles, weight
        self.step, self.cycle = 0, -1
        self.labels, self.chosen = torch.zeros(0), torch.zeros(0, dtype=torch.int64)

    def lend(self, rows: AtHand) -> None:
        self.rows = rows

    def threshold(self, cycle: int) -> float:
        return self.first + (self.last - self.first) * cycle / max(1, self.cycles - 1)

    def begin_step(self, model: TransferModel, step: int, progress: float) -> None:
        self.step = step
        cycle = int(progress * self.cycles)
        if cycle != self.cycle:
            assert self.rows.unlabeled is not None
            task = self.rows.task.unbalanced()
            probabilities = task.decode(apply_in_batches(model, model, self.rows.unlabeled))
            self.labels, confidence = pseudo_labels(probabilities, bool(task.info().options.get("multi_label")))
            self.chosen, self.cycle = torch.nonzero(confidence >= self.threshold(cycle)).flatten(), cycle

    def step_loss(self, model: TransferModel) -> Tensor | None:
        if len(self.chosen) < 2:
            return None
        assert self.rows.unlabeled is not None
        order = RowOrder(len(self.chosen), self.rows.batch_size, self.rows.seed + UNLABELED_SALT)
        index, device = self.chosen[order.index(self.step)], model_device(model)
        outputs = model(to_device(self.rows.unlabeled.take(index), device))
        return self.weight * self.rows.task.loss(outputs.float(), self.labels[index].to(device))

    def state_dict(self) -> dict[str, Tensor]:
        return {"cycle": torch.tensor(self.cycle), "labels": self.labels, "chosen": self.chosen}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.cycle, self.labels, self.chosen = int(state["cycle"]), state["labels"], state["chosen"]


@dataclass(frozen=True)
class SelfTraining(Strategy):
    """Fine-tune, then go on with the model's own labels of those unlabelled rows that it is sure of.

    Touches: all parameters. The confidence asked for falls from ``first`` to ``last``, so that easy rows come first.
    Wins: when the model is right more often than not where it is sure, and unlabelled rows are many.
    Costs: another forward pass a step, and predictions of all unlabelled rows ``cycles`` times; can confirm its errors.
    """

    name: ClassVar[str] = "self_training"
    family: ClassVar[Family] = "parameter"
    paper: ClassVar[str] = "Lee 2013, Pseudo-label; schedule: Cascante-Bonilla et al. 2021, Curriculum labeling"
    requires: ClassVar[frozenset[str]] = frozenset({"loss", "probabilities", "unlabeled"})

    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    first: float = 0.95
    last: float = 0.8
    cycles: int = 4
    weight: float = 0.5
    supervised_share: float = 0.4

    def plan(self, task: TaskInfo, backbone: BackboneInfo, measured: Mapping[str, Any], budget: Budget) -> TransferPlan:
        args = {"first": self.first, "last": self.last, "cycles": self.cycles, "weight": self.weight}
        shares = ((self.supervised_share, ()), (1 - self.supervised_share, (Ref("pseudo_labels", args),)))
        phases = tuple(
            Phase(("*",), self.learning_rate, share, self.weight_decay, behaviours=own) for share, own in shares
        )
        return TransferPlan(start=reused_head(backbone), phases=phases)

    def grid(self) -> Sequence[SelfTraining]:
        return over_rates(self)


@hookimpl
def tlplat_register_strategies() -> list[type[Strategy]]:
    return [SelfTraining]


@hookimpl
def tlplat_register_behaviours() -> list[type[Behaviour]]:
    return [PseudoLabels]
