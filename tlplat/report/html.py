"""report.html: one self-contained page. Every figure on it is looked up in the document by JSON pointer."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from tlplat.report import asked, curves, explained, findings, searched, views, words
from tlplat.report.document import CandidatePart, DetailPart, Report, by_key, ranked
from tlplat.report.plain import printable

MATRIX_LABELS = 12
"""More labels than these are shown as the commonest confusions instead of a matrix."""
CONFUSIONS = 15


def render(report: Report) -> str:
    """The page. Names and texts of the document are escaped, control characters made visible."""
    document = report.to_json()
    higher = report.metric.higher_is_better
    position = {c.key: i for i, c in enumerate(report.candidates)}
    axis, bars = views.bars(report)
    figures = [views.score_against_time(report), views.score_against_labels(report)]
    template = _environment().get_template("report.html.j2")
    return template.render(
        report=report,
        document=document,
        fig=Figures(document, words.metric_words(report.metric)),
        words=words.metric_words(report.metric),
        names=by_key(report),
        rows=[(position[c.key], c) for c in ranked(report.candidates, report.metric.higher_is_better)],
        position=position,
        undefined=findings.undefined(report),
        sentence=findings.verdict_sentence(report),
        advice=findings.advice(report),
        remarks=findings.remarks(report),
        axis=axis,
        bars=bars,
        lead=views.lead(report),
        curves=curves.learning_curves(report),
        single_curves=curves.single_curves(report),
        trade=[f for f in figures if f is not None],
        closer=[f for f in (views.roc(report), views.calibration(report), *asked.asked(report)) if f is not None],
        confusions=[c for k, d in report.details.items() if (c := confusion(k, d, report)) is not None],
        pictures=explained.pictures(report),
        positions=explained.positions(report),
        important=explained.important(report),
        permuted=explained.permuted(report),
        depths=explained.depths(report),
        rows_shown=explained.rows(report),
        searched=[searched.lines(report.search, i, higher) for i in range(len(report.search.rounds))],
        seeds=max((len(c.seeds) for c in report.candidates), default=0),
    )


@dataclass(frozen=True)
class Figures:
    """Writes a figure of the document as ``<data>``, so that page and document cannot differ."""

    document: Mapping[str, Any]
    words: words.MetricWords

    def __call__(self, pointer: str, kind: str) -> Markup:
        """The value at ``pointer`` (RFC 6901) as ``kind`` reads: score, points, count, compact, duration, ..."""
        value = look_up(self.document, pointer)
        raw, said = printable(json.dumps(value, ensure_ascii=False)), printable(self.read(value, kind))
        said = breakable(said) if isinstance(value, str) else words.minus(said)
        return Markup('<data value="{}" data-at="{}">{}</data>').format(raw, printable(pointer), said)

    def read(self, value: Any, kind: str) -> str:
        """The text of a value; ``points`` is signed."""
        if kind == "points":
            return words.points(value, self.words, signed=True)
        readers: dict[str, Callable[[Any], str]] = {
            "score": words.score,
            "count": words.count,
            "compact": words.compact,
            "duration": words.duration,
            "percent": words.percent,
            "general": words.general,
        }
        return readers[kind](value)


def breakable(text: str) -> Markup:
    """Escaped text in which a long word (a hash, a path) may break after every 16 characters."""
    pieces = re.split(r"(\S{24,})", text)
    return Markup("").join(
        Markup("<wbr>").join(word[i : i + 16] for i in range(0, len(word), 16)) if n % 2 else word
        for n, word in enumerate(pieces)
    )


def whole(text: str) -> Markup:
    """Escaped text in which an interval does not break."""
    return Markup(
        re.sub(r"(\[[-\u2212+.,\d]+,) ([-\u2212+.,\d]+\])", "\\1\u00a0\\2", words.minus(str(escape(printable(text)))))
    )


def look_up(document: Any, pointer: str) -> Any:
    """The value at a JSON pointer (RFC 6901)."""
    value = document
    for part in pointer.split("/")[1:]:
        part = part.replace("~1", "/").replace("~0", "~")
        value = value[int(part)] if isinstance(value, list) else value[part]
    return value


@dataclass(frozen=True)
class Confusion:
    """A matrix to show. ``shares[i][j]`` is the cell's part of its row; None where a cell is suppressed."""

    key: str
    candidate: CandidatePart
    labels: tuple[str, ...]
    shares: tuple[tuple[float | None, ...], ...]
    pairs: tuple[tuple[int, int], ...]
    """The commonest confusions (true, predicted); empty where the matrix itself is shown."""
    note: str | None


def confusion(key: str, detail: DetailPart, report: Report) -> Confusion | None:
    """The candidate's confusion matrix, or its commonest confusions where the labels are many."""
    if not detail.confusion:
        return None
    size = len(detail.confusion)
    labels = report.task.labels if len(report.task.labels) == size else tuple(str(i) for i in range(size))
    shares = tuple(_shares(row) for row in detail.confusion)
    pairs: tuple[tuple[int, int], ...] = ()
    if size > MATRIX_LABELS:
        cells = {(i, j): v for i, row in enumerate(detail.confusion) for j, v in enumerate(row) if i != j}
        known = {at: v for at, v in cells.items() if isinstance(v, float | int) and v > 0}
        pairs = tuple(sorted(known, key=lambda at: -known[at])[:CONFUSIONS])
    return Confusion(key, by_key(report)[key], labels, shares, pairs, detail.note)


def _shares(row: tuple[float | str | None, ...]) -> tuple[float | None, ...]:
    total = sum(v for v in row if isinstance(v, float | int)) or 1.0
    return tuple(v / total if isinstance(v, float | int) else None for v in row)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("tlplat.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: printable(value) if type(value) is str else value,
    )
    environment.filters |= {
        "pointer": lambda key: str(key).replace("~", "~0").replace("/", "~1"),
        "whole": whole,
        "called": words.called,
        "family": words.family,
        "title_of": words.title_of,
        "percent": words.percent,
        "key_of": views.key_of,
        "humane": lambda key: str(key).replace("_", " "),
        "capital": lambda text: text[:1].upper() + text[1:],
        "known": lambda bounds: bounds is not None and any(b is not None for b in bounds),
        "href": lambda relative: "../" + quote(relative, safe="/"),
        "pretty": lambda value: json.dumps(value, indent=2, ensure_ascii=False),
    }
    environment.tests["table"] = _is_table
    environment.tests["short_list"] = lambda v: isinstance(v, list) and not any(isinstance(x, dict | list) for x in v)
    return environment


def _is_table(value: Any) -> bool:
    """A list of dicts of scalars with the same keys reads best as a table."""
    if not (isinstance(value, list) and len(value) > 1 and all(isinstance(v, dict) and v for v in value)):
        return False
    scalars = all(not isinstance(x, dict | list) for v in value for x in v.values())
    return scalars and len(value[0]) <= 6 and all(list(v) == list(value[0]) for v in value)
