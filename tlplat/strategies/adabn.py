"""AdaBN: normalisation statistics of the target's unlabelled rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from tlplat.athand import AtHand
from tlplat.data.examples import Inputs, to_device
from tlplat.edits import Edit
from tlplat.features import EXTRACTION_BATCH
from tlplat.hookspecs import hookimpl
from tlplat.model import BackboneInfo, TaskInfo, TransferModel, model_device
from tlplat.plan import Budget, Ref, TransferPlan
from tlplat.strategies.rates import reused_head
from tlplat.strategy import Family, Strategy


@torch.no_grad()
def target_statistics(module: nn.Module, inputs: Inputs) -> dict[str, tuple[Tensor, Tensor]]:
    """Mean and unbiased variance (channels,) of what each batch norm of ``module`` receives, over all rows.

    One pass, in which a layer normalises by its batch's own statistics (Li et al. 2017, algorithm 1); moments are
    summed in float64. ``module`` is left as it was.
    """
    layers = {n: m for n, m in module.named_modules() if isinstance(m, _BatchNorm) and m.running_mean is not None}
    seen: dict[str, list[Tensor]] = {name: [] for name in layers}
    hooks = [layer.register_forward_pre_hook(partial(_record, seen[name])) for name, layer in layers.items()]
    modes = [(m, m.training) for m in module.modules()]
    module.eval()
    for layer in layers.values():
        layer.training, layer.track_running_stats = True, False
    try:
        for index in torch.tensor_split(torch.arange(len(inputs)), -(-len(inputs) // EXTRACTION_BATCH)):
            module(to_device(inputs.take(index), model_device(module)))
    finally:
        for hook in hooks:
            hook.remove()
        for layer in layers.values():
            layer.track_running_stats = True
        for m, training in modes:
            m.training = training
    return {name: _moments(torch.stack(parts).sum(dim=0)) for name, parts in seen.items()}


def _record(into: list[Tensor], layer: nn.Module, given: tuple[Tensor, ...]) -> None:
    x = given[0].double().transpose(0, 1).flatten(1)
    into.append(torch.stack([torch.full_like(x[:, 0], x.shape[1]), x.sum(dim=1), x.square().sum(dim=1)]))


def _moments(sums: Tensor) -> tuple[Tensor, Tensor]:
    count, first, second = sums
    mean = first / count
    return mean, (second - count * mean.square()) / (count - 1)


class AdaptBatchNorm(Edit):
    """Give every batch norm of the backbone the statistics of the unlabelled rows; weights stay."""

    name: ClassVar[str] = "adabn"

    @staticmethod
    def build(model: TransferModel, args: Mapping[str, Any]) -> None:
        """The structure stays as it is."""

    @staticmethod
    def fit(model: TransferModel, args: Mapping[str, Any], rows: AtHand) -> None:
        assert rows.unlabeled is not None
        for name, (mean, variance) in target_statistics(model.backbone, rows.unlabeled).items():
            layer: Any = model.backbone.get_submodule(name)
            layer.running_mean.copy_(mean)
            layer.running_var.copy_(variance)


@dataclass(frozen=True)
class AdaBN(Strategy):
    """Replace the statistics of batch normalisation by those of the target's unlabelled rows; train nothing.

    Touches: running means and variances alone; every weight of the source stays bit-identical. ``head``: the source's
    own where label spaces match (no label is used then), or one solved on the adapted features.
    Wins: when the target differs from the source in scale, contrast or composition. Costs: one pass over the rows.
    """

    name: ClassVar[str] = "adabn"
    family: ClassVar[Family] = "feature"
    paper: ClassVar[str] = "Li et al. 2017, Revisiting batch normalization for practical domain adaptation"
    requires: ClassVar[frozenset[str]] = frozenset({"fit_head", "unlabeled"})

    head: Literal["reused", "fitted"] = "reused"

    def plan(self, task: TaskInfo, backbone: BackboneInfo, measured: Mapping[str, Any], budget: Budget) -> TransferPlan:
        own = self.head == "reused" and reused_head(backbone) == "source_head"
        return TransferPlan(start="source_head" if own else "fitted", edits=(Ref("adabn"),))

    def unfit(self, task: TaskInfo, backbone: BackboneInfo) -> str | None:
        if not any(m.kind.endswith("BatchNorm") or m.kind.startswith("BatchNorm") for m in backbone.modules.values()):
            return f"the backbone {backbone.name} has no batch normalisation whose statistics could be replaced"
        return super().unfit(task, backbone)

    def grid(self) -> Sequence[AdaBN]:
        return [self, dataclasses.replace(self, head="fitted")]


@hookimpl
def tlplat_register_strategies() -> list[type[Strategy]]:
    return [AdaBN]


@hookimpl
def tlplat_register_edits() -> list[type[Edit]]:
    return [AdaptBatchNorm]
