"""The demos' rows: texts of one kind that people rated, as positive and negative ones; and which kind a text is of."""

from __future__ import annotations

import html
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tlplat.assets import fetch
from tlplat.domain import DomainContext
from tlplat_nlp.assets import KINDS, TEXTS_CITATION
from tlplat_nlp.rows import Rows

LABELS = ("negative", "positive")
NEUTRAL = 0.5
"""Ratings from -4 to 4; a mean of at most this on either side is left out as neither."""
TOPICS = {"movies": "film", "amazon": "product", "nyt": "public affairs", "tweets": "everyday life"}
"""What texts of a kind are about."""
PER_TOPIC = 1200
"""Rows of each kind, evenly spaced in its file."""


@dataclass(frozen=True)
class Demo:
    """Rows to classify, and what the data card says of them (JSON)."""

    title: str
    labels: tuple[str, ...]
    rows: Rows
    card: dict[str, Any]


def sentiment(kind: str, context: DomainContext) -> Demo:
    """Negative and positive texts of a kind."""
    found, (rows, neutral) = KINDS[kind], rated_rows(kind, context)
    return Demo(
        title=f"-> {found.title}",
        labels=LABELS,
        rows=rows,
        card={
            "about": f"{found.about}, whose mean rating by 20 people is beyond {NEUTRAL} on a scale from -4 to 4",
            "neutral_left_out": neutral,
            **_files(kind),
        },
    )


def topic(context: DomainContext) -> Demo:
    """Texts of all four kinds, whatever their rating; a text's kind tells its topic, and its register as well."""
    parts = []
    for kind in KINDS:
        every = list(_texts(kind, context))
        chosen = [every[i] for i in np.linspace(0, len(every) - 1, PER_TOPIC).astype(int).tolist()]
        parts += [
            (f"{kind} {name}", text, TOPICS[kind], f"{kind} {name.partition('_')[0]}") for name, _, text in chosen
        ]
    ids, texts, labels, groups = zip(*parts, strict=True)
    about = "sentences of film reviews, product reviews and newspaper editorials, and tweets of 2013"
    return Demo(
        "-> four kinds of text",
        tuple(TOPICS.values()),
        Rows(ids, texts, labels, groups),
        {
            "about": f"{about}: a text's source tells its topic, and its register besides",
            **_files(*KINDS),
        },
    )


def rated_rows(kind: str, context: DomainContext) -> tuple[Rows, int]:
    """Texts of the kind whose mean rating is beyond .5 on either side, and how many lie between.

    Sentences of one product review or editorial have its number as their group.
    """
    every = list(_texts(kind, context))
    rated = [(name, score, text) for name, score, text in every if abs(score) > NEUTRAL]
    rows = Rows(
        [f"{kind} {name}" for name, _, _ in rated],
        [text for _, _, text in rated],
        [LABELS[score > 0] for _, score, _ in rated],
        [name.partition("_")[0] if "_" in name else None for name, _, _ in rated],
    )
    return rows, len(every) - len(rated)


def _texts(kind: str, context: DomainContext) -> Iterator[tuple[str, float, str]]:
    """(number, mean rating, text) of each line; a number of two parts names document and sentence."""
    path = fetch(KINDS[kind].asset, context.cache, offline=context.offline, report=context.report)
    for line in path.read_text(encoding="utf-8").splitlines():
        name, score, text = line.split("\t", 2)
        yield name, float(score), html.unescape(text.strip())


def _files(*kinds: str) -> dict[str, Any]:
    """Licence, citation, and where the files come from."""
    assets = [KINDS[kind].asset for kind in kinds]
    return {
        "license": assets[0].license,
        "citation": TEXTS_CITATION,
        "files": {a.name: {"sha256": a.sha256, "origin": str(a.origin)} for a in assets},
    }
