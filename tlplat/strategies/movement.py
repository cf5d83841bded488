"""Scores of connections by their movement, and the mask that they decide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from tlplat.edits import Behaviour
from tlplat.model import TransferModel

RAMP = (0.1, 0.4)
"""Shares of the phase at which pruning begins, and at which the last connection has gone."""
SETTLED = 0.5
"""From here on validation may keep the weights. A final fit on all labelled rows may be 5/4 as long as the one that
chose its last step, so 0.4 of it is over by then."""


def sparsity_at(progress: float, final: float) -> float:
    """Share of connections that are gone: cubic from 0 to ``final`` over ``RAMP`` (Sanh et al. 2020, section 4)."""
    done = min(1.0, max(0.0, (progress - RAMP[0]) / (RAMP[1] - RAMP[0])))
    return final * (1 - (1 - done) ** 3)


class Movement(Behaviour):
    """Scores each weight of ``layers`` by its movement and holds those of least score at zero.

    After each step S -= W * dL/dW (Sanh et al. 2020, eq. 3): the score grows while a weight moves away from zero. A
    pruned weight keeps its value aside and goes on being scored, so it can come back until the ramp ends.
    """

    name: ClassVar[str] = "movement"

    def __init__(self, layers: Sequence[str], sparsity: float) -> None:
        self.names, self.sparsity = [f"{layer}.weight" for layer in layers], sparsity
        self.weights: dict[str, Tensor] = {}
        self.scores: dict[str, Tensor] = {}
        self.kept: dict[str, Tensor] = {}
        self.progress = torch.zeros(())

    @property
    def settled(self) -> bool:
        return float(self.progress) >= SETTLED

    def setup(self, model: TransferModel, generator: torch.Generator) -> None:
        parameters = {name: model.get_parameter(name).detach() for name in self.names}
        self.weights = {name: p.clone() for name, p in parameters.items()}
        self.scores = {name: torch.zeros_like(p) for name, p in parameters.items()}
        self.kept = {name: torch.ones_like(p, dtype=torch.bool) for name, p in parameters.items()}

    @torch.no_grad()
    def on_step(self, model: TransferModel, progress: float) -> None:
        goal, ramping = sparsity_at(progress, self.sparsity), float(self.progress) < RAMP[1]
        for name in self.names:
            p = model.get_parameter(name)
            assert p.grad is not None
            self.scores[name] -= self.weights[name] * p.grad
            self.weights[name] = torch.where(self.kept[name], p, self.weights[name])
            if ramping:
                gone = torch.argsort(self.scores[name].flatten(), stable=True)[: round(goal * p.numel())]
                self.kept[name] = torch.ones_like(self.kept[name]).flatten().index_fill(0, gone, False).view_as(p)
            p.copy_(torch.where(self.kept[name], self.weights[name], 0))
        self.progress = torch.tensor(progress)

    def state_dict(self) -> dict[str, Tensor]:
        parts = {"weights": self.weights, "scores": self.scores, "kept": self.kept}
        named = {f"{part}/{name}": value for part, values in parts.items() for name, value in values.items()}
        return {**named, "progress": self.progress}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        for part in ("weights", "scores", "kept"):
            setattr(self, part, {name: state[f"{part}/{name}"].clone() for name in self.names})
        self.progress = state["progress"]
