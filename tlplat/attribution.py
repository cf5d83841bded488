"""Attributions of a model's decisions to the pieces of its rows, computed by captum (the extra ``explain``)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tlplat.data.examples import Batch, Inputs, to_device
from tlplat.errors import PluginError
from tlplat.model import TransferModel, model_device
from tlplat.pieces import BATCH, EMBED, Explainer, Gradients, Occlusion
from tlplat.tasks.base import Task

ROWS = 16
"""Rows that are taken apart at once."""
STEPS, MOST_STEPS = 32, 512
"""Points of the path that gradients are integrated over, doubled until the sum is near enough."""
TOLERANCE = 0.02
"""How far a row's attributions may be from adding up, as a share of the sum of their sizes."""
AT_ONCE = 512
"""Rows that pass through the network together."""


@dataclass(frozen=True)
class Attribution:
    """What each piece of each row adds to the decision.

    Attributes:
        values: (n, pieces) float32; of integrated gradients a row's sum is ``decision - neutral`` within ``gap``.
        outputs: (n, outputs) float32, the model's. decision: (n,) what is explained. neutral: (n,) the same of a row
            that says nothing; None for occlusion, whose attributions do not add up.
        gap: the largest error of a row's sum, as a share of the sum of sizes; None for occlusion.
        method, against: in words.
    """

    values: Tensor
    outputs: Tensor
    decision: Tensor
    neutral: Tensor | None
    gap: float | None
    method: str
    against: str


def library() -> Any:
    """The module ``captum.attr``.

    Raises:
        PluginError TL-PLUGIN-EXTRA: captum is not installed.
    """
    try:
        import captum.attr
    except ImportError as error:
        raise PluginError(
            "TL-PLUGIN-EXTRA",
            f"explanations need the package captum: {error}",
            fix="pip install 'tlplat[explain]'",
        ) from error
    return captum.attr


def attribute(
    model: TransferModel,
    task: Task,
    explainer: Explainer,
    inputs: Inputs,
    advance: Callable[[float], None] = lambda rows: None,
) -> Attribution:
    """Take the decisions of ``model`` on all rows of ``inputs`` apart, in eval mode; its weights stay.

    Raises:
        PluginError TL-PLUGIN-EXTRA: captum is not installed.
    """
    attr = library()
    model.eval()
    way = explainer.way(model.backbone)
    rows = inputs.batches(ROWS)
    parts = []
    for index in rows:
        batch = to_device(inputs.take(index), model_device(model))
        if isinstance(way, Gradients):
            parts.append(_integrated(attr, model, task, way, batch))
        else:
            parts.append(_occluded(attr, model, task, way, batch))
        advance(len(index))
    order = torch.argsort(torch.cat(rows))
    values, outputs, decision, neutral, gaps = zip(*parts, strict=True)

    def whole(each: Sequence[Tensor]) -> Tensor:
        return torch.cat(list(each))[order]

    integrated = isinstance(way, Gradients)
    return Attribution(
        values=whole(values),
        outputs=whole(outputs),
        decision=whole(decision),
        neutral=whole(neutral) if integrated else None,
        gap=max(gaps) if integrated else None,
        method="integrated gradients" if integrated else "occlusion",
        against=way.against,
    )


Part = tuple[Tensor, Tensor, Tensor, Tensor, float]
"""values, outputs, decision, neutral, gap."""


def _integrated(attr: Any, model: TransferModel, task: Task, way: Gradients, batch: Any) -> Part:
    with torch.no_grad():
        outputs = model(batch).float()
        chosen = task.chosen(outputs)
        given = _numbers(model, way.at, batch)
        baseline = way.baseline(given, batch)
    names, tensors = _unpacked(batch)

    def decision(numbers: Tensor, chosen: Tensor, *rest: Tensor) -> Tensor:
        with _standing_in(model, way.at, numbers):
            return task.decision(model(_packed(names, rest, way.at, numbers)).float(), chosen)

    with torch.no_grad():
        ends = [decision(numbers, chosen, *tensors) for numbers in (given, baseline)]
    gradients, steps = attr.IntegratedGradients(decision), STEPS
    while True:
        found = gradients.attribute(
            given,
            baselines=baseline,
            additional_forward_args=(chosen, *tensors),
            n_steps=steps,
            internal_batch_size=max(AT_ONCE, len(given)),
        ).detach()
        each = found.flatten(1)
        error = (each.sum(dim=1) - (ends[0] - ends[1])).abs()
        gap = float((error / each.abs().sum(dim=1).clamp(min=1e-6)).max())
        if gap <= TOLERANCE or steps >= MOST_STEPS:
            break
        steps *= 2
    values = way.gather(found, batch).float()
    return values.cpu(), outputs.cpu(), ends[0].cpu(), ends[1].cpu(), gap


def _occluded(attr: Any, model: TransferModel, task: Task, way: Occlusion, batch: Any) -> Part:
    if not isinstance(batch, Tensor):
        raise TypeError("occlusion takes batches of one tensor")
    with torch.no_grad():
        outputs = model(batch).float()
        chosen = task.chosen(outputs)
    kind, numbers, neutral = batch.dtype, batch.float(), way.neutral(batch).float()

    def decision(numbers: Tensor, chosen: Tensor) -> Tensor:
        return task.decision(model(numbers.to(kind)).float(), chosen)

    more = {
        "baselines": neutral,
        "additional_forward_args": (chosen,),
        "perturbations_per_eval": max(1, AT_ONCE // len(batch)),
    }
    if way.window is not None:
        found = attr.Occlusion(decision).attribute(
            numbers, sliding_window_shapes=way.window, strides=way.stride, **more
        )
    else:
        regions = None if way.regions is None else way.regions(batch)
        found = attr.FeatureAblation(decision).attribute(numbers, feature_mask=regions, **more)
    values = way.gather(found.detach(), batch).float()
    said = task.decision(outputs, chosen).cpu()
    return values.cpu(), outputs.cpu(), said, torch.zeros_like(said), 0.0


def _numbers(model: TransferModel, at: str, batch: Batch) -> Tensor:
    """What gradients start from: the batch, what the first block receives, or a block's output."""
    if at == BATCH:
        assert isinstance(batch, Tensor)
        return batch
    if at == EMBED:
        return model.backbone.embed(batch)
    kept: list[Tensor] = []
    hook = model.backbone.blocks[at].register_forward_hook(lambda module, given, output: kept.append(output))
    try:
        model.backbone(batch)
    finally:
        hook.remove()
    return kept[0]


@contextmanager
def _standing_in(model: TransferModel, at: str, numbers: Tensor) -> Iterator[None]:
    """``numbers`` in the place of what the batch would give."""
    if at == EMBED:
        model.backbone.embed = lambda batch: numbers  # type: ignore[method-assign]
        try:
            yield
        finally:
            del model.backbone.embed
    elif at == BATCH:
        yield
    else:
        hook = model.backbone.blocks[at].register_forward_hook(lambda module, given, output: numbers)
        try:
            yield
        finally:
            hook.remove()


def _unpacked(batch: Any) -> tuple[list[str] | None, tuple[Tensor, ...]]:
    """Names and tensors of a batch; captum repeats the tensors with the points of the path."""
    return (list(batch), tuple(batch.values())) if isinstance(batch, Mapping) else (None, (batch,))


def _packed(names: list[str] | None, tensors: tuple[Tensor, ...], at: str, numbers: Tensor) -> Any:
    if at == BATCH:
        return numbers
    return tensors[0] if names is None else dict(zip(names, tensors, strict=True))
