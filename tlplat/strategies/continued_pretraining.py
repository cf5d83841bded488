"""Continued pretraining: the backbone's own self-supervised task on the target's unlabelled rows, then fine-tuning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from tlplat.athand import AtHand
from tlplat.edits import Behaviour
from tlplat.hookspecs import hookimpl
from tlplat.model import BackboneInfo, TaskInfo, TransferModel, model_device
from tlplat.plan import Budget, Phase, Ref, TransferPlan
from tlplat.pretext import Pretext
from tlplat.strategies.alignment import statistics_kept
from tlplat.strategies.rates import over_rates, reused_head
from tlplat.strategy import Family, Strategy


class SelfSupervised(Behaviour):
    """Adds the backbone's self-supervised loss on the step's unlabelled rows."""

    name: ClassVar[str] = "self_supervised"
    settled = False
    """The weights are on their way: no validation of this phase keeps them."""
    pretext: Pretext

    def lend(self, rows: AtHand) -> None:
        self.rows, self.step = rows, 0

    def setup(self, model: TransferModel, generator: torch.Generator) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(generator.initial_seed())
            made = model.backbone.pretext()
        assert made is not None
        self.pretext, self.seed = made.to(model_device(model)), generator.initial_seed()

    def parameters(self) -> list[nn.Parameter]:
        return list(self.pretext.parameters())

    def begin_step(self, model: TransferModel, step: int, progress: float) -> None:
        self.step = step

    def step_loss(self, model: TransferModel) -> Tensor:
        drawn = torch.Generator().manual_seed((self.seed + self.step) % 2**63)
        batch = self.rows.unlabeled_batch(self.step, model_device(model))
        with statistics_kept(model):
            return self.pretext.loss(model.backbone, batch, drawn).float()

    def state_dict(self) -> dict[str, Tensor]:
        return {name: value.detach().clone() for name, value in self.pretext.state_dict().items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.pretext.load_state_dict(dict(state))


@dataclass(frozen=True)
class ContinuedPretraining(Strategy):
    """Go on with self-supervised pretraining on the target's unlabelled rows, then fine-tune everything.

    The task is the one that the backbone offers (masked bases for the genomics CNNs); its layers are thrown away.
    Touches: all parameters. Wins: when unlabelled rows are many, far from the source's, and a frozen source reads them
    badly. Costs: ``share`` of the trial's steps, so that as many fewer see labels.
    """

    name: ClassVar[str] = "continued_pretraining"
    family: ClassVar[Family] = "parameter"
    paper: ClassVar[str] = "Gururangan et al. 2020, Don't stop pretraining (task-adaptive pretraining)"
    requires: ClassVar[frozenset[str]] = frozenset({"loss", "unlabeled"})

    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    share: float = 0.4

    def plan(self, task: TaskInfo, backbone: BackboneInfo, measured: Mapping[str, Any], budget: Budget) -> TransferPlan:
        own = (Ref("self_supervised"),)
        first = Phase(("backbone.*",), self.learning_rate, self.share, behaviours=own, supervised=False)
        then = Phase(("*",), self.learning_rate, 1 - self.share, self.weight_decay)
        return TransferPlan(start=reused_head(backbone), phases=(first, then))

    def unfit(self, task: TaskInfo, backbone: BackboneInfo) -> str | None:
        if not backbone.self_supervised:
            return f"the backbone {backbone.name} offers no self-supervised task to go on with"
        return super().unfit(task, backbone)

    def grid(self) -> Sequence[ContinuedPretraining]:
        return over_rates(self)


@hookimpl
def tlplat_register_strategies() -> list[type[Strategy]]:
    return [ContinuedPretraining]


@hookimpl
def tlplat_register_behaviours() -> list[type[Behaviour]]:
    return [SelfSupervised]
