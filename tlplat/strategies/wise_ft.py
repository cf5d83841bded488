"""WiSE-FT: the weights between the start and the fine-tuned ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from tlplat.hookspecs import hookimpl
from tlplat.model import BackboneInfo, TaskInfo
from tlplat.plan import Budget, Phase, TransferPlan
from tlplat.strategies.rates import over_rates, solved_head
from tlplat.strategy import Family, Strategy


@dataclass(frozen=True)
class WiseFt(Strategy):
    """Fine-tune, then go back part of the way towards the start, as far as validation says.

    Touches: all parameters; the result is (1 - c) start + c fine-tuned, with c chosen among ``coefficients``. The
    start is the source with its own head, or with one solved on frozen features where the labels differ.
    Wins: under distribution shift, where fine-tuning gains on the target's labels and loses what the source knew.
    Costs: a fine-tuning and one pass over the validation rows a coefficient; at inference nothing.
    """

    name: ClassVar[str] = "wise_ft"
    family: ClassVar[Family] = "parameter"
    paper: ClassVar[str] = "Wortsman et al. 2022, Robust fine-tuning of zero-shot models"
    requires: ClassVar[frozenset[str]] = frozenset({"fit_head", "loss"})

    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    coefficients: tuple[float, ...] = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)

    def plan(self, task: TaskInfo, backbone: BackboneInfo, measured: Mapping[str, Any], budget: Budget) -> TransferPlan:
        phase = Phase(trainable=("*",), learning_rate=self.learning_rate, weight_decay=self.weight_decay)
        return TransferPlan(
            start=solved_head(backbone), phases=(phase,), combine="interpolate", coefficients=self.coefficients
        )

    def grid(self) -> Sequence[WiseFt]:
        return over_rates(self)


@hookimpl
def tlplat_register_strategies() -> list[type[Strategy]]:
    return [WiseFt]
