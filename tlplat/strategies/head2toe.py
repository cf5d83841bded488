"""Head2Toe: a linear head on selected features of all blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from tlplat.data.examples import Batch
from tlplat.edits import Edit
from tlplat.hookspecs import hookimpl
from tlplat.model import Backbone, BackboneInfo, TaskInfo, TransferModel
from tlplat.plan import Budget, Ref, TransferPlan
from tlplat.strategies.relevance import group_lasso
from tlplat.strategy import Family, MeasureContext, Strategy
from tlplat.tasks.base import Task

FOLDS = 3


class Tapped(Backbone):
    """A backbone whose features are the numbers ``kept`` among the pooled features of all its blocks, in order."""

    name: ClassVar[str] = "tapped"
    kept: Tensor

    def __init__(self, inner: Backbone, kept: Sequence[int]) -> None:
        super().__init__()
        self.inner = inner
        self.register_buffer("kept", torch.tensor(list(kept), dtype=torch.int64), persistent=False)

    @property
    def blocks(self) -> nn.ModuleDict:  # type: ignore[override]
        return self.inner.blocks

    def config(self) -> dict[str, Any]:
        return self.inner.config()

    def embed(self, batch: Batch) -> Tensor:
        return self.inner.embed(batch)

    def pool(self, hidden: Tensor) -> Tensor:
        return self.inner.pool(hidden)

    @property
    def block_dims(self) -> tuple[int, ...]:
        return (*self.inner.block_dims[:-1], len(self.kept))

    def forward(self, batch: Batch) -> Tensor:
        return torch.cat(self.inner.depth_features(batch), dim=1)[:, self.kept]


class TapBlocks(Edit):
    """Replace the features by those numbered ``kept`` among all blocks' pooled features, and the head's width."""

    name: ClassVar[str] = "tapped_blocks"

    @staticmethod
    def build(model: TransferModel, args: Mapping[str, Any]) -> None:
        model.backbone = Tapped(model.backbone, args["kept"])
        assert isinstance(model.head, nn.Linear)
        model.head = nn.Linear(len(args["kept"]), model.head.out_features)


def relevance(z: Tensor, targets: Tensor, task: Task, share: float) -> Tensor:
    """(d,) |W_:i|_2 of a group lasso on standardised features z (n, d): Evci et al. 2022, section 3."""
    spread = z.std(dim=0, correction=0)
    x = (z - z.mean(dim=0)) / torch.where(spread > 1e-6, spread, torch.ones_like(spread))
    length: Tensor = group_lasso(x, targets, task.info().outputs, task.loss, share).norm(dim=0)
    return length


@dataclass(frozen=True)
class Head2Toe(Strategy):
    """Solve a linear head on the most relevant features of all blocks, the extractor frozen.

    Touches: the head, and which features reach it; every weight of the extractor stays bit-identical. Relevance is that
    of a group lasso over all pooled features; the share that is kept is chosen by cross-validation, with the relevance
    found anew on each fold's training rows.
    Wins: when the target differs from the source, so that the last block has dropped what it needs.
    Costs: one pass over the rows, and a few convex fits; inference as the source's.
    """

    name: ClassVar[str] = "head2toe"
    family: ClassVar[Family] = "feature"
    paper: ClassVar[str] = "Evci et al. 2022, Head2Toe: utilizing intermediate representations for better transfer"
    requires: ClassVar[frozenset[str]] = frozenset({"fit_head"})

    shares: tuple[float, ...] = (0.05, 0.2, 0.5, 1.0)
    penalty: float = 0.02
    weight_decays: tuple[float, ...] = (1e-2, 1e-1, 1.0)

    def measure(self, context: MeasureContext) -> dict[str, Any]:
        """Held-out loss of each share, the best share, and the numbers of the features that it keeps."""
        z, y, task = torch.cat(list(context.depth_features()), dim=1), context.targets, context.problem
        fold, losses = context.folds(FOLDS), [0.0] * len(self.shares)
        for number in range(int(fold.max()) + 1):
            out = fold == number
            ranking = relevance(z[~out], y[~out], task, self.penalty).argsort(descending=True, stable=True)
            for i, share in enumerate(self.shares):
                kept = ranking[: self._count(share, z)]
                head = task.fit_head(z[~out][:, kept], y[~out], {"weight_decays": list(self.weight_decays)})
                loss = task.loss(z[out][:, kept] @ head.weight.T + head.bias, y[out])
                losses[i] += float(loss) * int(out.sum()) / len(z)
        best = self.shares[min(range(len(losses)), key=losses.__getitem__)]
        ranking = relevance(z, y, task, self.penalty).argsort(descending=True, stable=True)
        return {"losses": losses, "share": best, "kept": sorted(ranking[: self._count(best, z)].tolist())}

    @staticmethod
    def _count(share: float, z: Tensor) -> int:
        return max(1, round(share * z.shape[1]))

    def plan(self, task: TaskInfo, backbone: BackboneInfo, measured: Mapping[str, Any], budget: Budget) -> TransferPlan:
        taps = Ref("tapped_blocks", {"kept": list(measured["kept"])})
        return TransferPlan(start="fitted", edits=(taps,), fit_options={"weight_decays": list(self.weight_decays)})

    def unfit(self, task: TaskInfo, backbone: BackboneInfo) -> str | None:
        if len(backbone.blocks) < 2:
            return f"the backbone {backbone.name} has one block, so its last features are all there are"
        return super().unfit(task, backbone)


@hookimpl
def tlplat_register_strategies() -> list[type[Strategy]]:
    return [Head2Toe]


@hookimpl
def tlplat_register_edits() -> list[type[Edit]]:
    return [TapBlocks]
