"""What matters over all rows: mean size of attributions by place or by text, and permutation importance."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tlplat.attribution import Attribution
from tlplat.data.examples import Examples, TensorInputs
from tlplat.features import apply_in_batches
from tlplat.model import TransferModel
from tlplat.pieces import Explainer
from tlplat.tasks.base import Task

SHUFFLES = 5
FEWEST = 3
"""A text that occurs in fewer rows has no figure of its own."""
MOST_TEXTS = 20


def by_place(found: Attribution, explainer: Explainer, texts: Sequence[Sequence[str]]) -> list[dict[str, Any]]:
    """Mean size of the attributions at each place, over the rows that have a piece there; in the rows' order."""
    there = torch.tensor([[bool(text) for text in row] for row in texts])
    count = there.sum(dim=0)
    mean = (found.values.abs() * there).sum(dim=0) / count.clamp(min=1)
    names = explainer.places(found.values.shape[1])
    return [{"name": name, "value": float(mean[i])} for i, name in enumerate(names) if int(count[i])]


def by_text(found: Attribution, texts: Sequence[Sequence[str]]) -> list[dict[str, Any]]:
    """Mean size of the attributions of each text that at least three rows hold; the largest first, at most 20."""
    sizes: dict[str, list[float]] = defaultdict(list)
    rows: dict[str, int] = defaultdict(int)
    for row, values in zip(texts, found.values.abs().tolist(), strict=True):
        for text in {t.strip() for t in row if t}:
            rows[text] += 1
        for text, value in zip(row, values, strict=True):
            if text:
                sizes[text.strip()].append(value)
    known = [
        {"name": text, "value": float(np.mean(v)), "rows": rows[text]}
        for text, v in sizes.items()
        if rows[text] >= FEWEST
    ]
    return sorted(known, key=_weight, reverse=True)[:MOST_TEXTS]


def _weight(place: dict[str, Any]) -> float:
    return float(place["value"])


def as_words(found: Attribution, texts: Sequence[Sequence[str]]) -> tuple[Attribution, list[list[str]]]:
    """Pieces of running words made whole: a text without a space before it goes on the word before.

    A word stands where its first piece did, with the sum of its pieces; the places of the others are empty.
    """
    values, whole = found.values.clone(), [list(row) for row in texts]
    for row, words in enumerate(whole):
        begin = None
        for place, text in enumerate(words):
            if not text:
                begin = None
            elif begin is None or text[:1].isspace():
                begin = place
            else:
                words[begin] += text
                values[row, begin] += values[row, place]
                words[place], values[row, place] = "", 0.0
    return dataclasses.replace(found, values=values), whole


def permuted(
    model: TransferModel, task: Task, explainer: Explainer, rows: Examples, seed: int = 0
) -> list[dict[str, Any]] | None:
    """How much the primary metric loses where a piece is shuffled among the rows (Breiman 2001), mean of five shuffles.

    Positive means that the model needs it, whatever the metric's direction. None where pieces cannot be shuffled.
    """
    owners = explainer.owners()
    if owners is None or not isinstance(rows.inputs, TensorInputs):
        return None
    metric, targets, table = task.metrics[0], rows.targets.numpy(), rows.inputs.tensor
    sign = 1.0 if metric.higher_is_better else -1.0

    def score(tensor: Tensor) -> float:
        outputs = apply_in_batches(model, model, TensorInputs(tensor))
        return sign * float(metric(targets, task.decode(outputs))[0])

    whole, generator = score(table), torch.Generator().manual_seed(seed)
    found = []
    for piece, name in enumerate(explainer.places(int(owners.max()) + 1)):
        mine = owners == piece
        drops = []
        for _ in range(SHUFFLES):
            shuffled = table.clone()
            order = torch.randperm(len(table), generator=generator)
            shuffled[:, mine] = table[order][:, mine]
            drops.append(whole - score(shuffled))
        found.append({"name": name, "value": float(np.mean(drops)), "spread": float(np.std(drops, ddof=1))})
    return found
