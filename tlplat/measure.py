"""What a strategy may measure before it plans: features, probes and gradients on the training rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tlplat.bench import Bench, Rows
from tlplat.data.examples import to_device
from tlplat.data.splits import fold_numbers, inner_folds
from tlplat.features import EXTRACTION_BATCH
from tlplat.model import BackboneInfo, SourceModel, TaskInfo, TransferModel
from tlplat.plan import TransferPlan
from tlplat.start import start_model
from tlplat.tasks.base import Task
from tlplat.tasks.linear import dealt_folds


@dataclass
class Measure:
    """:class:`tlplat.strategy.MeasureContext` over the training rows."""

    bench: Bench
    source: SourceModel
    backbone: BackboneInfo
    task: TaskInfo
    rows: Rows

    @property
    def targets(self) -> Tensor:
        return self.rows.targets

    @property
    def problem(self) -> Task:
        return self.bench.task

    def features(self) -> Tensor:
        return self.bench.store.features(self.source, self.rows.examples.inputs)[self.rows.index]

    def depth_features(self) -> Sequence[Tensor]:
        found = self.bench.store.depths(self.source, self.rows.examples.inputs)
        return [z[self.rows.index] for z in found]

    def probe_score(self, features: Tensor) -> float:
        task = self.bench.task
        return task.fit_head(features, self.targets, inner_folds(self.rows.taken(), task)).validation_loss

    def folds(self, count: int) -> Tensor:
        whole = fold_numbers(self.rows.taken(), self.bench.task, count)
        return dealt_folds(self.bench.task.strata(self.targets), count) if whole is None else whole

    def gradient_norms(self) -> Mapping[str, tuple[float, float]]:
        model = self._start()
        self._backward(model)
        return {
            f"backbone.{name}": (0.0 if p.grad is None else float(p.grad.norm()), float(p.detach().norm()))
            for name, p in model.backbone.named_parameters()
        }

    def channel_effects(self) -> Mapping[str, Sequence[float]]:
        model = self._start()
        dim = model.backbone.channel_dim
        effects: dict[str, Tensor] = {}

        def watch(name: str, output: Tensor) -> None:
            def add(gradient: Tensor) -> None:
                each = (output.detach() * gradient).movedim(dim, 0).flatten(1).sum(dim=1).double().cpu()
                effects[name] = effects.get(name, torch.zeros_like(each)) - each

            output.register_hook(add)  # type: ignore[no-untyped-call]

        for name, block in model.backbone.blocks.items():
            block.register_forward_hook(lambda _, __, output, name=name: watch(name, output))
        self._backward(model)
        return {name: effects[name].tolist() for name in model.backbone.blocks}

    def _start(self) -> TransferModel:
        start = TransferPlan(start="source_head" if self.backbone.has_source_head else "fitted")
        return start_model(self.source, start, self.bench, self.rows, seed=0).eval()

    def _backward(self, model: nn.Module) -> None:
        """The gradient of the mean loss over the training rows."""
        task, index = self.bench.task, self.rows.index
        for part in torch.split(index, EXTRACTION_BATCH if task.loss_unit == "row" else len(index)):
            batch = to_device(self.rows.examples.inputs.take(part), self.bench.device)
            loss = task.loss(model(batch).float(), self.rows.examples.targets[part].to(self.bench.device))
            (loss * (len(part) / len(index))).backward()  # type: ignore[no-untyped-call]
