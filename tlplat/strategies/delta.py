"""DELTA: fine-tuning that keeps the feature maps that matter for the target near the source's."""

from __future__ import annotations

import copy
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
from tlplat.strategy import Family, MeasureContext, Strategy
from tlplat.taps import Taps

TEMPERATURE = 5.0
MOST_MAPS = 4


def attention(effects: Sequence[float]) -> list[float]:
    """Softmax over channels of how much the loss rises without each, standardised, over the temperature; sums to 1."""
    x = torch.tensor(effects, dtype=torch.float64)
    scale = x.std(correction=0)
    weights: list[float] = torch.softmax((x - x.mean()) / (TEMPERATURE * scale if scale > 0 else 1.0), dim=0).tolist()
    return [float(f"{w:.6g}") for w in weights]


def map_distance(now: Tensor, start: Tensor, weights: Tensor) -> Tensor:
    """Mean over rows of 1/2 sum_j w_j ||FM_j - FM*_j||^2 (Li et al. 2019, eq. 4 and 5), times channels / positions.

    Args:
        now, start: feature maps (rows, channels, positions). weights: (channels,), sum 1.
    """
    _, channels, positions = now.shape
    squared = (now - start).square().sum(dim=2)
    return 0.5 * channels / positions * (squared * weights).sum(dim=1).mean()


class TowardsMaps(Behaviour):
    """Adds alpha times the distance of the maps in ``weights`` (block to attention), and beta/2 ||head||^2.

    The reference is the backbone at the start of the phase, in eval mode.
    """

    name: ClassVar[str] = "delta"

    def __init__(self, alpha: float, beta: float, weights: Mapping[str, Sequence[float]]) -> None:
        self.alpha, self.beta, self.blocks = alpha, beta, list(weights)
        self.weights = [torch.tensor(w) for w in weights.values()]

    def setup(self, model: TransferModel, generator: torch.Generator) -> None:
        self.reference = copy.deepcopy(model.backbone).eval().requires_grad_(False)
        self.now = Taps(model.backbone.blocks[b] for b in self.blocks)
        self.then = Taps(self.reference.blocks[b] for b in self.blocks)
        self.head = [p for p in model.head.parameters() if p.requires_grad]

    def loss(self, model: TransferModel, batch: Batch, outputs: Tensor) -> Tensor:
        with torch.no_grad():
            self.reference(batch)
        decay = torch.stack([p.square().sum() for p in self.head]).sum() if self.head else outputs.new_zeros(())
        total = 0.5 * self.beta * decay
        for i, weights in enumerate(self.weights):
            maps = [taps.outputs[i].float().movedim(model.backbone.channel_dim, 1) for taps in (self.now, self.then)]
            now, then = (m.flatten(2) if m.ndim > 2 else m[..., None] for m in maps)
            total = total + self.alpha * map_distance(now, then, weights.to(now.device))
        return total

    def state_dict(self) -> dict[str, Tensor]:
        return dict(self.reference.state_dict())

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.reference.load_state_dict(state)

    def close(self, model: TransferModel) -> None:
        self.now.close()
        self.then.close()


@dataclass(frozen=True)
class Delta(Strategy):
    """Fine-tune with a penalty on the distance of feature maps from the source's, channels weighted by importance.

    Touches: all parameters. A channel weighs more when the target's loss rises more without it: to first order, from
    one backward pass, where the paper switches filters off one by one; the source's head, or one solved on frozen
    features, judges. At most four blocks, evenly spaced, are held.
    Wins: when labels are few and the source's features, not its weights, should be kept.
    Costs: one more forward a step, and one more copy of the weights in memory.
    """

    name: ClassVar[str] = "delta"
    family: ClassVar[Family] = "parameter"
    paper: ClassVar[str] = "Li et al. 2019, DELTA: deep learning transfer using feature map with attention"
    requires: ClassVar[frozenset[str]] = frozenset({"fit_head", "loss"})

    learning_rate: float = 1e-3
    alpha: float = 0.1
    beta: float = 0.01

    def measure(self, context: MeasureContext) -> dict[str, Any]:
        """The attention over the channels of each held block."""
        effects, blocks = context.channel_effects(), context.backbone.blocks
        count = min(MOST_MAPS, len(blocks))
        held = [blocks[len(blocks) * i // count - 1] for i in range(1, count + 1)]
        return {"attention": {block: attention(effects[block]) for block in held}}

    def plan(self, task: TaskInfo, backbone: BackboneInfo, measured: Mapping[str, Any], budget: Budget) -> TransferPlan:
        hold = Ref("delta", {"alpha": self.alpha, "beta": self.beta, "weights": measured["attention"]})
        phase = Phase(trainable=("*",), learning_rate=self.learning_rate, behaviours=(hold,))
        return TransferPlan(start=reused_head(backbone), phases=(phase,))

    def unfit(self, task: TaskInfo, backbone: BackboneInfo) -> str | None:
        if not backbone.blocks:
            return f"the backbone {backbone.name} names no blocks whose feature maps could be held"
        return super().unfit(task, backbone)

    def grid(self) -> Sequence[Delta]:
        return over_rates(self)


@hookimpl
def tlplat_register_strategies() -> list[type[Strategy]]:
    return [Delta]


@hookimpl
def tlplat_register_behaviours() -> list[type[Behaviour]]:
    return [TowardsMaps]
