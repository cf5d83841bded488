"""What a linear head reads after each block: of the source, of the adapted model, and of the same network untrained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tlplat.data.examples import Examples
from tlplat.data.splits import Fold, inner_folds, least_rows, partition
from tlplat.errors import DataError
from tlplat.features import apply_in_batches, finite
from tlplat.model import Backbone, SourceModel, model_device
from tlplat.registry import Registry
from tlplat.tasks.base import Task

FOLDS = 5
MOST_ROWS = 400
"""Rows that heads are fitted and tried on."""
UNTRAINED_SEED = 0


def probes(
    source: SourceModel, adapted: Backbone, task: Task, rows: Examples, registry: Registry
) -> dict[str, Any] | None:
    """The primary metric of a cross-validated linear head on each block's pooled features (Alain & Bengio 2017).

    Args:
        rows: that neither network was trained on (test rows): heads are fitted on four fifths and tried on the rest.
            At most 400 are taken, from the first on: they should stand in no order.

    Returns:
        ``blocks``: for each block of the adapted model its ``name``; ``source``, ``adapted`` and ``untrained`` (random
        weights) the metric, or None; ``moved``: how far its weights are from the source's, as a share of their size.
        ``kept``: of what the adapted model's last block tells beyond a guess, the share that the source's told already;
        ``by_chance``: that the untrained network's tells.
        None where the task fits no head on features, or the rows are too few to be parted.
    """
    rows = rows.select(torch.arange(min(len(rows), MOST_ROWS)))
    smallest = least_rows(task.strata(rows.targets).numpy())
    if "fit_head" not in task.info().offers or task.prepares or smallest < 2:
        return None
    try:
        folds = partition(rows, 0, task, FOLDS)
    except DataError:  # rows of a time so short that each overlaps with all others
        return None
    before = source.build(registry)
    same = _equal(before, adapted)
    scores = {"source": _scores(before.to(model_device(adapted)), rows, task, folds), "untrained": list[float]()}
    if not before.frozen:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(UNTRAINED_SEED)
            untrained = source.build(registry, random=True)
        scores["untrained"] = _scores(untrained.to(model_device(adapted)), rows, task, folds)
    scores["adapted"] = scores["source"] if same else _scores(adapted, rows, task, folds)
    names = list(adapted.blocks)
    blocks = []
    for i, name in enumerate(names):
        at = {key: values[i] if i < len(values) else None for key, values in scores.items()}
        blocks.append({"name": name, **at, "moved": _moved(before, adapted, name)})
    guess = _guess(rows, task)
    last = len(scores["source"]) - 1
    reached = scores["adapted"][len(names) - 1]
    return {
        "blocks": blocks,
        "rows": len(rows),
        "guess": guess,
        "kept": _share(scores["source"][last], reached, guess),
        "by_chance": _share(scores["untrained"][last], reached, guess) if scores["untrained"] else None,
    }


def _scores(backbone: Backbone, rows: Examples, task: Task, folds: Sequence[Fold]) -> list[float]:
    return [_probe(z, rows, task, folds) for z in _features(backbone, rows)]


def _features(backbone: Backbone, rows: Examples) -> list[Tensor]:
    widths: list[int] = []

    def joined(batch: Any) -> Tensor:
        each = backbone.depth_features(batch)
        widths[:] = [z.shape[1] for z in each]
        return torch.cat(each, dim=1)

    whole = finite(apply_in_batches(joined, backbone, rows.inputs))
    return list(torch.split(whole, widths, dim=1))


def _probe(z: Tensor, rows: Examples, task: Task, folds: Sequence[Fold]) -> float:
    """Mean over the folds: embeddings of two fits cannot be compared."""
    found = []
    for fold in folds:
        train = rows.select(fold.train)
        settled = task.settled(train.targets)
        head = settled.fit_head(z[fold.train], train.targets, inner_folds(train, task))
        weight, bias = head.weight.to(z.dtype), head.bias.to(z.dtype)
        if settled.concludes:
            settled = settled.concluded(z[fold.train] @ weight.T + bias, train.targets)
        said = settled.decode(z[fold.validation] @ weight.T + bias)
        found.append(float(task.metrics[0](rows.targets[fold.validation].numpy(), said)[0]))
    known = [score for score in found if np.isfinite(score)]
    return float(np.mean(known)) if known else float("nan")


def _guess(rows: Examples, task: Task) -> float:
    """The metric of the same prediction for every row."""
    settled = task.settled(rows.targets)
    said = np.broadcast_to(settled.trivial(rows.targets), (len(rows), *np.shape(settled.trivial(rows.targets))))
    return float(task.metrics[0](rows.targets.numpy(), said)[0])


def _share(told: float, reached: float, guess: float) -> float | None:
    """How much of the way from ``guess`` to ``reached`` ``told`` is; None where there is no way, or it is another."""
    share = (told - guess) / (reached - guess) if reached != guess else np.nan
    return float(share) if np.isfinite(share) and share > 0 else None


def _equal(a: Backbone, b: Backbone) -> bool:
    ours, theirs = a.state_dict(), b.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(v, theirs[k].cpu()) for k, v in ours.items())


def _moved(before: Backbone, after: Backbone, name: str) -> float | None:
    """|W' - W| / |W| over a block's weights; None where the block is another."""
    if name not in before.blocks:
        return None
    ours, theirs = (dict(b.blocks[name].named_parameters()) for b in (before, after))
    if not ours or {k: v.shape for k, v in ours.items()} != {k: v.shape for k, v in theirs.items()}:
        return None
    change = sum(float((theirs[k].detach().cpu() - v.detach()).square().sum()) for k, v in ours.items())
    size = sum(float(v.detach().square().sum()) for v in ours.values())
    return float((change / size) ** 0.5) if size else None
