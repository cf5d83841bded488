"""Net2WiderNet: more hidden units that leave the function as it was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from tlplat.edits import Edit
from tlplat.hookspecs import hookimpl
from tlplat.model import BackboneInfo, TaskInfo, TransferModel
from tlplat.plan import Budget, Phase, Ref, TransferPlan
from tlplat.strategies.rates import over_rates, reused_head
from tlplat.strategies.selecting import SelectUnits, hidden_units, joined, no_units
from tlplat.strategy import Family, Strategy
from tlplat.units import Selection, copies, importance, scale_columns, shares

SHARE = -0.5
"""Of a copied unit's outgoing weights, what the copy gets; the original keeps the rest, 1.5.

Chen et al. halve them and break the symmetry by noise. Under Adam, whose step does not depend on the gradient's size,
two halves get the same step and stay copies; shares of opposite sign part them from the first step, and add no noise.
"""


class WidenUnits(SelectUnits):
    """Copy the units of largest norm until each layer has ``factor`` times as many (at most twice)."""

    name: ClassVar[str] = "widen_units"

    @staticmethod
    def resolve(model: TransferModel, args: Mapping[str, Any]) -> dict[str, Any]:
        """The copied units as index lists, and a factor for each column that sees them."""
        parts: list[dict[str, Selection]] = []
        factors: dict[str, list[float]] = {}
        for units in hidden_units(model):
            if factors.keys() & units.readers.keys():
                continue  # a layer that sees two groups side by side is widened by the first
            count = min(units.width, max(1, round((args["factor"] - 1) * units.width)))
            order = torch.argsort(importance(model.backbone, units), descending=True, stable=True)
            chosen = copies(units, sorted(order[:count].tolist()))
            parts.append(chosen)
            factors |= {name: shares(chosen[name].inputs or (), SHARE) for name in units.readers}
        return {**args, "selections": joined(parts), "factors": factors}

    @staticmethod
    def init(model: TransferModel, args: Mapping[str, Any], generator: torch.Generator) -> None:
        """Original and copy together weigh what the original did (Chen et al. 2016, section 2.2)."""
        for name, factors in args["factors"].items():
            scale_columns(model.backbone.get_submodule(name), factors)


@dataclass(frozen=True)
class Net2Wider(Strategy):
    """Widen hidden layers by copies that leave the function unchanged, then fine-tune everything.

    Touches: the structure (``factor`` times the units of each hidden layer whose outputs can be copied), then all
    parameters. Wins: when the source is too small for what the target's labels can teach. Costs: a larger and slower
    model, at training and inference.
    """

    name: ClassVar[str] = "net2wider"
    family: ClassVar[Family] = "structural"
    paper: ClassVar[str] = "Chen et al. 2016, Net2Net: accelerating learning via knowledge transfer"
    requires: ClassVar[frozenset[str]] = frozenset({"loss"})

    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    factor: float = 1.5

    def plan(self, task: TaskInfo, backbone: BackboneInfo, measured: Mapping[str, Any], budget: Budget) -> TransferPlan:
        phase = Phase(trainable=("*",), learning_rate=self.learning_rate, weight_decay=self.weight_decay)
        wider = Ref(WidenUnits.name, {"factor": self.factor})
        return TransferPlan(start=reused_head(backbone), edits=(wider,), phases=(phase,))

    def unfit(self, task: TaskInfo, backbone: BackboneInfo) -> str | None:
        return no_units(backbone) or super().unfit(task, backbone)

    def grid(self) -> Sequence[Net2Wider]:
        return over_rates(self)


@hookimpl
def tlplat_register_strategies() -> list[type[Strategy]]:
    return [Net2Wider]


@hookimpl
def tlplat_register_edits() -> list[type[Edit]]:
    return [WidenUnits]
