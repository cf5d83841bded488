"""Movement pruning: connections go whose weights fine-tuning moves towards zero."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from tlplat.edits import Behaviour, Edit
from tlplat.hookspecs import hookimpl
from tlplat.model import BackboneInfo, TaskInfo, TransferModel
from tlplat.plan import Budget, Phase, Ref, TransferPlan
from tlplat.strategies.layers import KINDS
from tlplat.strategies.movement import Movement
from tlplat.strategies.rates import over_rates, reused_head
from tlplat.strategy import Family, Strategy


class BakeMask(Edit):
    """Record which share of each layer's connections is gone; the zeros are in the weights already."""

    name: ClassVar[str] = "bake_mask"

    @staticmethod
    def resolve(model: TransferModel, args: Mapping[str, Any]) -> dict[str, Any]:
        """``sparsity`` of all ``layers`` together and of each, in [0, 1]."""
        zeros = {n: model.get_parameter(f"{n}.weight").detach() == 0 for n in args["layers"]}
        total = sum(int(z.sum()) for z in zeros.values()) / sum(z.numel() for z in zeros.values())
        return {"sparsity": total, "layers": {n: float(z.float().mean()) for n, z in zeros.items()}}

    @staticmethod
    def build(model: TransferModel, args: Mapping[str, Any]) -> None:
        for layer in args["layers"]:
            assert isinstance(model.get_parameter(f"{layer}.weight"), nn.Parameter)


@dataclass(frozen=True)
class MovementPrune(Strategy):
    """Fine-tune everything while the connections whose weights shrink are removed, up to ``sparsity``.

    Touches: all parameters; at the end that share of the weights of each linear and convolution layer is zero.
    Wins: when a small or compressible model is wanted: it beats pruning by size where the target is far from the
    source. Costs: three more tensors the size of the weights in training; dense kernels run no faster for the zeros.
    """

    name: ClassVar[str] = "movement_prune"
    family: ClassVar[Family] = "structural"
    paper: ClassVar[str] = "Sanh et al. 2020, Movement pruning: adaptive sparsity by fine-tuning"
    requires: ClassVar[frozenset[str]] = frozenset({"loss"})

    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    sparsity: float = 0.5

    def plan(self, task: TaskInfo, backbone: BackboneInfo, measured: Mapping[str, Any], budget: Budget) -> TransferPlan:
        layers = _layers(backbone)
        phase = Phase(
            trainable=("*",),
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            behaviours=(Ref(Movement.name, {"layers": layers, "sparsity": self.sparsity}),),
        )
        baked = Ref(BakeMask.name, {"layers": layers})
        return TransferPlan(start=reused_head(backbone), phases=(phase,), finish=(baked,))

    def unfit(self, task: TaskInfo, backbone: BackboneInfo) -> str | None:
        if not _layers(backbone):
            return f"the backbone {backbone.name} has no linear or convolution layer whose connections could go"
        return super().unfit(task, backbone)

    def grid(self) -> Sequence[MovementPrune]:
        return over_rates(self)


def _layers(backbone: BackboneInfo) -> list[str]:
    return [name for name, m in backbone.modules.items() if m.kind in KINDS]


@hookimpl
def tlplat_register_strategies() -> list[type[Strategy]]:
    return [MovementPrune]


@hookimpl
def tlplat_register_behaviours() -> list[type[Behaviour]]:
    return [Movement]


@hookimpl
def tlplat_register_edits() -> list[type[Edit]]:
    return [BakeMask]
