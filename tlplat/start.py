"""A trial's model before its first step, and what is asked of it after the last one."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tlplat.bench import Bench, Rows
from tlplat.data.examples import to_device
from tlplat.data.splits import inner_folds
from tlplat.edits import apply_edits, fit_edits
from tlplat.errors import PluginError
from tlplat.features import apply_in_batches, finite
from tlplat.model import SourceModel, TransferModel, model_device
from tlplat.plan import TransferPlan
from tlplat.tasks.base import Task


def start_model(source: SourceModel, plan: TransferPlan, bench: Bench, train: Rows, seed: int) -> TransferModel:
    """The model before its first step: weights, then edits, then the head that ``plan.start`` asks for."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone = source.build(bench.registry, random=plan.weights == "random")
        model = TransferModel(backbone, bench.task.head(backbone.feature_dim))
        generator = torch.Generator().manual_seed(seed)
        model.example = train.example()
        apply_edits(model, plan.edits, bench.registry, generator)
    model.to(bench.device)
    model.example = to_device(model.example, bench.device)
    fit_edits(model, model.edits, bench.registry, bench.at_hand(train, seed))
    if plan.start == "fresh":
        return model
    if plan.start == "source_head":
        assert source.head is not None
        assert source.task is not None
        _set_head(model, *bench.task.adopt_head(source.head["weight"], source.head["bias"], source.task))
    else:
        z = _start_features(model, plan, source, bench, train)
        options = {**_fit_options(plan, source, bench.task), **inner_folds(train.taken(), bench.task)}
        fitted = bench.task.fit_head(z, train.targets, options)
        _set_head(model, fitted.weight, fitted.bias)
    return model


def _fit_options(plan: TransferPlan, source: SourceModel, task: Task) -> dict[str, Any]:
    """The plan's options, with the source's head where it says ``"toward": "source"``."""
    options = dict(plan.fit_options)
    if options.get("toward") == "source":
        assert source.head is not None
        assert source.task is not None
        options["toward"] = task.adopt_head(source.head["weight"], source.head["bias"], source.task)
    return options


def _keeps_features(plan: TransferPlan, bench: Bench) -> bool:
    """Before any step the model's features are those of the source."""
    return plan.weights == "source" and all(bench.registry.get("edits", e.name).head_only for e in plan.edits)


def _start_features(model: TransferModel, plan: TransferPlan, source: SourceModel, bench: Bench, train: Rows) -> Tensor:
    if _keeps_features(plan, bench):
        return bench.store.features(source, train.examples.inputs)[train.index]
    return finite(apply_in_batches(model.backbone, model.backbone, train.taken().inputs))


def _set_head(model: TransferModel, weight: Tensor, bias: Tensor) -> None:
    head = model.head
    if not isinstance(head, nn.Linear) or head.weight.shape != weight.shape:
        raise PluginError(
            "TL-PLUGIN-CONTRACT",
            f"the plan asks for a head of shape {tuple(weight.shape)}, but the edited model has {head}",
            fix="let the strategy start from a fresh or fitted head where its edits change the features",
        )
    with torch.no_grad():
        head.weight.copy_(weight)
        head.bias.copy_(bias)


def finish_model(model: TransferModel, plan: TransferPlan, bench: Bench, seed: int) -> None:
    """Edits after training, and eval mode."""
    apply_edits(model, plan.finish, bench.registry, torch.Generator().manual_seed(seed))
    model.eval()


def concluded_task(model: TransferModel, plan: TransferPlan, source: SourceModel, bench: Bench, train: Rows) -> Task:
    """The task with what it takes from the fitted model's outputs on the training rows."""
    if not bench.task.concludes:
        return bench.task
    return bench.task.concluded(outputs_of(model, plan, source, bench, train), train.targets)


def outputs_of(model: TransferModel, plan: TransferPlan, source: SourceModel, bench: Bench, rows: Rows) -> Tensor:
    """The model's outputs; a frozen plan needs only the head on cached features."""
    if plan.frozen and _keeps_features(plan, bench):
        z = bench.store.features(source, rows.examples.inputs)[rows.index].to(bench.device)
        with torch.no_grad():
            outputs: Tensor = model.head(z)
            return outputs
    return apply_in_batches(model, model, rows.examples.inputs.select(rows.index))


def multiply_adds(model: TransferModel, rows: Rows) -> float:
    """Multiply-adds of one row's forward (half of torch's flop count)."""
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    batch = to_device(rows.examples.inputs.take(rows.index[:1]), model_device(model))
    with torch.no_grad(), counter:
        model(batch)
    return counter.get_total_flops() / 2
