"""report.json and report.html in a run folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tlplat import storage
from tlplat.errors import Finding, ResourceError, UsageError
from tlplat.report.document import SCHEMA_VERSION, Report
from tlplat.report.findings import verdict_sentence
from tlplat.report.html import render

JSON, HTML = Path("report", "report.json"), Path("report", "report.html")


def write_report(folder: Path, document: Report | Mapping[str, Any]) -> dict[str, Any]:
    """Check the document, complete its verdict's sentence, and write both files; returns what report.json holds.

    Raises:
        pydantic.ValidationError: the document is not of the schema; nothing is written.
        ResourceError: the disk refused.
    """
    report = complete(Report.of(document))
    content, page = report.to_json(), render(report)
    storage.write_json(folder / JSON, content)
    storage.write_text(folder / HTML, page)
    return content


def complete(report: Report) -> Report:
    """The report with its verdict's sentence filled."""
    if report.verdict is None or report.verdict.sentence:
        return report
    verdict = report.verdict.model_copy(update={"sentence": verdict_sentence(report)})
    return report.model_copy(update={"verdict": verdict})


def load_report(folder: Path) -> dict[str, Any]:
    """The report.json of a run.

    Raises:
        UsageError TL-REPORT-MISSING: the run has no report, or the folder is none.
        ResourceError TL-REPORT-VERSION: another tlplat wrote it, in a later form.
        ResourceError TL-REPORT-CORRUPT: it is not a report.
    """
    path = folder / JSON
    if not path.is_file():
        raise UsageError(
            "TL-REPORT-MISSING",
            f"{folder} holds no report",
            where=str(path),
            fix=f"name a finished run's folder, or finish this one: tlplat resume {folder}",
        )
    content = storage.read_json(path)
    version = content.get("schema_version") if isinstance(content, dict) else None
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise ResourceError(
            "TL-REPORT-VERSION",
            f"the report has format {version}; this version of tlplat reads {SCHEMA_VERSION}",
            where=str(path),
            fix="upgrade tlplat: pip install --upgrade tlplat",
        )
    try:
        return Report.of(content).to_json()
    except ValidationError as error:
        raise ResourceError(
            "TL-REPORT-CORRUPT",
            "report.json does not hold a report",
            where=str(path),
            findings=[Finding(e["msg"], "/".join(map(str, e["loc"])) or "document") for e in error.errors()],
            fix="restore the file, or run again: the trials beside it are kept, so that it takes little time",
        ) from error
