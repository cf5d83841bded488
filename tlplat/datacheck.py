"""``tlplat check-data``: every finding of a target's rows at once, and no training."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tlplat.checks import Issue
from tlplat.checkup import look, look_at_labelled, refusal, shifts, table
from tlplat.config import RunConfig
from tlplat.data.quality import check_quality, problems
from tlplat.errors import DataError, TlplatError
from tlplat.progress import Reporter
from tlplat.registry import Registry
from tlplat.stage import Stage, opened
from tlplat.storage import read_json


def check_data(config: RunConfig, registry: Registry, report: Reporter) -> tuple[dict[str, Any], TlplatError | None]:
    """The document that the command prints, and the error that a run would end with.

    Rows are encoded for the first source, which is loaded or, where the domain pretrains it, pretrained first.
    """
    try:
        sourcing, store = opened(config, registry, report, dry=False)
        (view, *_), _ = sourcing.views(sourcing.names()[:1])
    except DataError as error:  # rows that cannot be read, or parted, can be looked at no further
        return _document(config, [refusal(error)], {}, 1), error
    domain, target = sourcing.domain, view.target
    rows = sourcing.source_rows(view)
    refused = problems(view.labelled, target.test, target.task, target.may_repeat)
    issues = [refusal(error) for error in refused]
    if not any(error.code == "TL-DATA-EMPTY" for error in refused):
        issues += look(dataclasses.replace(view, source_rows=rows), store)
    quality = (
        {} if refused else check_quality(view.labelled, target.test, target.task, domain.least_count, target.may_repeat)
    )
    document = _document(config, issues, quality, domain.least_count)
    document |= {"title": target.title, "source": view.source.name, "warnings": sourcing.context.warnings}
    return document, refused[0] if refused else None


def findings_of(folder: Path, stage: Stage) -> dict[str, Any]:
    """A run's quality.json with its findings; a resumed run reads what was found when it began."""
    path = folder / "data" / "quality.json"
    if path.exists() and "findings" in (known := read_json(path)):
        return dict(known)
    view, store = stage.views[0], stage.bench.store
    if view.source_rows is None and stage.sourcing is not None:
        view = dataclasses.replace(view, source_rows=stage.sourcing.source_rows(view))
    issues = [*look_at_labelled(view, store), *shifts(view, store)]
    return {**stage.quality, "findings": table(issues, stage.domain.least_count)}


def _document(config: RunConfig, issues: Sequence[Issue], quality: dict[str, Any], least: int) -> dict[str, Any]:
    return {"domain": config.domain, "rows": quality, "findings": [issue.to_json(least) for issue in issues]}
