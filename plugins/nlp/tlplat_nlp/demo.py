"""The demo's rows: texts of one kind that people rated, as positive and negative ones."""

from __future__ import annotations

import html

from tlplat.assets import fetch
from tlplat.domain import DomainContext
from tlplat_nlp.assets import KINDS
from tlplat_nlp.rows import Rows

LABELS = ("negative", "positive")
NEUTRAL = 0.5
"""Ratings from -4 to 4; a mean of at most this on either side is left out as neither."""


def rated_rows(kind: str, context: DomainContext) -> tuple[Rows, int]:
    """Texts of the kind whose mean rating is beyond .5 on either side, and how many lie between.

    Sentences of one product review or editorial have its number as their group.
    """
    asset = KINDS[kind].asset
    path = fetch(asset, context.cache, offline=context.offline, report=context.report)
    ids: list[str] = []
    texts: list[str] = []
    labels: list[str | None] = []
    groups: list[str | None] = []
    neutral = 0
    for line in path.read_text(encoding="utf-8").splitlines():
        name, score, text = line.split("\t", 2)
        if abs(float(score)) <= NEUTRAL:
            neutral += 1
            continue
        ids.append(f"{kind} {name}")
        texts.append(html.unescape(text.strip()))
        labels.append(LABELS[float(score) > 0])
        groups.append(name.partition("_")[0] if "_" in name else None)
    return Rows(ids, texts, labels, groups), neutral
