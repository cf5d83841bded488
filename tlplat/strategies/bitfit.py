"""BitFit: the bias terms alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from tlplat.hookspecs import hookimpl
from tlplat.model import BackboneInfo, TaskInfo
from tlplat.plan import Budget, Phase, TransferPlan
from tlplat.strategies.rates import over_rates, solved_head
from tlplat.strategy import Family, Strategy

RATES = (1e-3, 3e-3, 1e-2)


def is_bias(name: str) -> bool:
    """Whether the last part of a parameter's name says bias (``bias``, ``bias_ih_l0``, ``in_proj_bias``)."""
    last = name.rpartition(".")[2]
    return last == "bias" or last.startswith("bias_") or last.endswith("_bias")


@dataclass(frozen=True)
class BitFit(Strategy):
    """Train the backbone's bias terms and the head, nothing else.

    Touches: biases, which are few; a batch normalisation has one, so its statistics follow the target too.
    Wins: when labels are few and the source's features need a shift, not new directions; tiny to store.
    Costs: as full fine-tuning in time, a fraction of a percent of the weights in space. Rates are higher.
    """

    name: ClassVar[str] = "bitfit"
    family: ClassVar[Family] = "parameter"
    paper: ClassVar[str] = "Ben Zaken et al. 2022, BitFit: simple parameter-efficient fine-tuning for transformers"
    requires: ClassVar[frozenset[str]] = frozenset({"fit_head", "loss"})

    learning_rate: float = 3e-3

    def plan(self, task: TaskInfo, backbone: BackboneInfo, measured: Mapping[str, Any], budget: Budget) -> TransferPlan:
        biases = (name for name in backbone.parameter_names if is_bias(name))
        phase = Phase(trainable=(*biases, "head.*"), learning_rate=self.learning_rate)
        return TransferPlan(start=solved_head(backbone), phases=(phase,))

    def unfit(self, task: TaskInfo, backbone: BackboneInfo) -> str | None:
        if not any(map(is_bias, backbone.parameter_names)):
            return f"the backbone {backbone.name} has no bias to train"
        return super().unfit(task, backbone)

    def grid(self) -> Sequence[BitFit]:
        return over_rates(self, RATES)


@hookimpl
def tlplat_register_strategies() -> list[type[Strategy]]:
    return [BitFit]
