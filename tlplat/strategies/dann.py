"""DANN: fine-tuning against a discriminator that tells source from target features."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tlplat.edits import Behaviour
from tlplat.hookspecs import hookimpl
from tlplat.model import BackboneInfo, TaskInfo, TransferModel, model_device
from tlplat.plan import Budget, Phase, Ref, TransferPlan
from tlplat.strategies.alignment import Alignment, alignment_args, feature_width
from tlplat.strategies.rates import over_rates, reused_head
from tlplat.strategy import Family, Strategy


class GradientReversal(torch.autograd.Function):
    """The identity, whose gradient is multiplied by ``-strength`` (Ganin et al. 2016, eq. 16 and 17)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, strength: float) -> Tensor:
        ctx.strength = strength
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return -ctx.strength * gradients[0], None


def strength_at(progress: float) -> float:
    """2 / (1 + exp(-10 p)) - 1: from 0 to 1, so that a discriminator that knows nothing yet does no harm (eq. 14)."""
    return 2 / (1 + math.exp(-10 * progress)) - 1


class Adversary(Alignment):
    """A discriminator of two layers, trained beside the model and saved in no model, whose gradient is reversed."""

    name: ClassVar[str] = "dann"

    def __init__(self, hidden: int, **args: Any) -> None:
        super().__init__(**args)
        self.hidden = hidden
        self.critic = nn.Sequential()

    def setup(self, model: TransferModel, generator: torch.Generator) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(generator.initial_seed())
            width = feature_width(model, self.rows)
            critic = nn.Sequential(nn.Linear(width, self.hidden), nn.ReLU(), nn.Linear(self.hidden, 1))
        self.critic = critic.to(model_device(model))

    def parameters(self) -> list[nn.Parameter]:
        return list(self.critic.parameters())

    def gap(self, other: Tensor, target: Tensor) -> Tensor:
        """The discriminator's cross-entropy on both streams alike, in nats; it descends, the backbone ascends."""
        strength = strength_at(self.progress)
        scores = [self.critic(GradientReversal.apply(z, strength)).flatten() for z in (other, target)]  # type: ignore[no-untyped-call]
        return 0.5 * (F.softplus(-scores[0]).mean() + F.softplus(scores[1]).mean())

    def state_dict(self) -> dict[str, Tensor]:
        return {name: value.detach().clone() for name, value in self.critic.state_dict().items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.critic.load_state_dict(dict(state))


@dataclass(frozen=True)
class Dann(Strategy):
    """Fine-tune everything so that a discriminator cannot tell source from target features.

    Aligns unlabelled target rows with the source's labelled rows where the domain lends them (whose task loss is then
    added, where labels match), else with the target's own labelled rows; the plan's ``align`` says which.
    Touches: all parameters; the discriminator is thrown away. Wins: when the shift is more than means and covariances.
    Costs: two more forward passes a step; adversarial training is the least stable of the ways to align.
    """

    name: ClassVar[str] = "dann"
    family: ClassVar[Family] = "parameter"
    paper: ClassVar[str] = "Ganin et al. 2016, Domain-adversarial training of neural networks"
    requires: ClassVar[frozenset[str]] = frozenset({"loss", "unlabeled"})
    uses: ClassVar[frozenset[str]] = frozenset({"source_rows"})

    learning_rate: float = 1e-3
    weight: float = 0.5
    hidden: int = 64
    source_weight: float = 1.0

    def plan(self, task: TaskInfo, backbone: BackboneInfo, measured: Mapping[str, Any], budget: Budget) -> TransferPlan:
        args = {"hidden": self.hidden, "weight": self.weight, **alignment_args(task, backbone, self.source_weight)}
        phase = Phase(trainable=("*",), learning_rate=self.learning_rate, behaviours=(Ref("dann", args),))
        return TransferPlan(start=reused_head(backbone), phases=(phase,))

    def grid(self) -> Sequence[Dann]:
        return over_rates(self)


@hookimpl
def tlplat_register_strategies() -> list[type[Strategy]]:
    return [Dann]


@hookimpl
def tlplat_register_behaviours() -> list[type[Behaviour]]:
    return [Adversary]
