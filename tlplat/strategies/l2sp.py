"""L2-SP: fine-tuning with a pull towards the source's weights."""

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


def l2sp_penalty(
    now: Sequence[Tensor], start: Sequence[Tensor], fresh: Sequence[Tensor], alpha: float, beta: float
) -> Tensor:
    """alpha/2 ||w - w0||^2 over transferred weights + beta/2 ||w||^2 over fresh ones (Li et al. 2018, eq. 2)."""
    pull = torch.stack([(w - w0).square().sum() for w, w0 in zip(now, start, strict=True)]).sum()
    decay = torch.stack([w.square().sum() for w in fresh]).sum() if fresh else pull.new_zeros(())
    return 0.5 * alpha * pull + 0.5 * beta * decay


class TowardsStart(Behaviour):
    """Adds the L2-SP penalty; the reference is the backbone at the start of the phase."""

    name: ClassVar[str] = "l2sp"

    def __init__(self, alpha: float, beta: float) -> None:
        self.alpha, self.beta = alpha, beta
        self.start: dict[str, Tensor] = {}
        self.moving: list[Tensor] = []
        self.fresh: list[Tensor] = []

    def setup(self, model: TransferModel, generator: torch.Generator) -> None:
        named = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.start = {name: p.detach().clone() for name, p in named.items() if name.startswith("backbone.")}
        self.moving = [named[name] for name in self.start]
        self.fresh = [p for name, p in named.items() if name not in self.start]

    def loss(self, model: TransferModel, batch: Batch, outputs: Tensor) -> Tensor:
        return l2sp_penalty(self.moving, list(self.start.values()), self.fresh, self.alpha, self.beta)

    def state_dict(self) -> dict[str, Tensor]:
        return self.start

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.start = {name: state[name] for name in self.start}


@dataclass(frozen=True)
class L2SP(Strategy):
    """Fine-tune with a penalty on the distance from the source's weights.

    Touches: all parameters. ``alpha`` pulls the backbone towards its start, ``beta`` decays the head.
    Wins: when labels are few enough that plain fine-tuning forgets. Costs: one more copy of the weights in memory.
    """

    name: ClassVar[str] = "l2sp"
    family: ClassVar[Family] = "parameter"
    paper: ClassVar[str] = "Li et al. 2018, Explicit inductive bias for transfer learning with convolutional networks"
    requires: ClassVar[frozenset[str]] = frozenset({"loss"})

    learning_rate: float = 1e-3
    alpha: float = 0.1
    beta: float = 0.01

    def plan(self, task: TaskInfo, backbone: BackboneInfo, measured: Mapping[str, Any], budget: Budget) -> TransferPlan:
        pull = Ref("l2sp", {"alpha": self.alpha, "beta": self.beta})
        phase = Phase(trainable=("*",), learning_rate=self.learning_rate, behaviours=(pull,))
        return TransferPlan(start=reused_head(backbone), phases=(phase,))

    def grid(self) -> Sequence[L2SP]:
        return over_rates(self)


@hookimpl
def tlplat_register_strategies() -> list[type[Strategy]]:
    return [L2SP]


@hookimpl
def tlplat_register_behaviours() -> list[type[Behaviour]]:
    return [TowardsStart]
