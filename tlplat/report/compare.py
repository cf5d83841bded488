"""Several runs side by side: what each found, and which of them were scored on the same test rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tlplat.report import findings, words
from tlplat.report.document import Report
from tlplat.report.files import load_report

FLATTERED = "chosen by test rows among several runs, the best one's score is flattered: the more so, the more runs"


def compare_runs(folders: Sequence[Path]) -> dict[str, Any]:
    """The runs as ``runs`` in the order given, and as ``groups`` those with test rows of one name each.

    Runs are of one group where domain, target, metric and the names of the test rows are the same.

    Each run: ``run``, ``title``, ``domain``, ``source``, ``metric``, ``labels`` (training and validation rows),
    ``winner`` and ``reference`` (``name``, ``mean``, ``interval``), ``outcome``, ``difference``, ``interval``,
    ``sentence``. Each group: ``runs``, their numbers from 0 on, the best score first, and ``metric``.

    Raises:
        UsageError TL-REPORT-MISSING, ResourceError TL-REPORT-VERSION, TL-REPORT-CORRUPT: as :func:`load_report`.
    """
    folders = list(dict.fromkeys(folders))
    reports = [Report.of(load_report(folder)) for folder in folders]
    runs = [_row(folder, report) for folder, report in zip(folders, reports, strict=True)]
    alike: dict[tuple[str, str, str, frozenset[str]], list[int]] = {}
    for number, (folder, report) in enumerate(zip(folders, reports, strict=True)):
        target = report.task.target or report.task.title
        alike.setdefault((report.domain, target, report.metric.name, _test_rows(folder)), []).append(number)
    groups = []
    for (_, _, metric, rows), numbers in alike.items():
        if len(numbers) < 2 or not rows or any(not _mean(runs[i]["winner"]) for i in numbers):
            continue
        best = sorted(
            numbers, key=lambda i: runs[i]["winner"]["mean"], reverse=reports[numbers[0]].metric.higher_is_better
        )
        groups.append({"runs": best, "metric": metric})
    return {"runs": runs, "groups": groups}


def table_rows(compared: dict[str, Any]) -> list[dict[str, str]]:
    """The runs as texts: run, labels, source, metric, winner, without transfer, verdict."""
    rows = []
    for run in compared["runs"]:
        difference, interval = run["difference"], run["interval"]
        verdict = "none" if run["outcome"] is None else run["outcome"]
        if difference is not None and interval is not None:
            verdict += f" {difference:+.3f} [{interval[0]:+.3f}, {interval[1]:+.3f}]"
        rows.append(
            {
                "run": run["run"],
                "labels": str(run["labels"]),
                "source": run["source"],
                "metric": run["metric"],
                "winner": _scored(run["winner"]),
                "without": _scored(run["reference"]),
                "verdict": verdict,
            }
        )
    return rows


def sentences(compared: dict[str, Any]) -> list[str]:
    """Which runs may be held against each other, and what to beware of."""
    runs, found = compared["runs"], []
    for group in compared["groups"]:
        names = [runs[i]["run"] for i in group["runs"]]
        best = runs[group["runs"][0]]
        found.append(
            f"{', '.join(names)}: the same test rows. {best['winner']['name']} of {names[0]} has the best "
            f"{best['metric']}; {FLATTERED}."
        )
    together = {i for group in compared["groups"] for i in group["runs"]}
    apart = [run["run"] for i, run in enumerate(runs) if i not in together]
    if apart and len(runs) > 1:
        found.append(f"{', '.join(apart)}: other test rows, or another metric; scores do not compare, verdicts do.")
    return found


def _row(folder: Path, report: Report) -> dict[str, Any]:
    by_name = {candidate.key or candidate.strategy: candidate for candidate in report.candidates}
    verdict = report.verdict

    def scored(name: str) -> dict[str, Any] | None:
        found = by_name.get(name)
        return None if found is None else {"name": name, "mean": found.mean, "interval": found.interval}

    return {
        "run": str(folder),
        "title": report.task.title,
        "domain": report.domain,
        "source": report.task.source or "",
        "metric": words.metric_words(report.metric).title,
        "labels": report.labels.train + report.labels.validation,
        "winner": scored(verdict.winner) if verdict else None,
        "reference": scored(verdict.reference) if verdict else None,
        "outcome": verdict.outcome if verdict else None,
        "difference": verdict.difference if verdict else None,
        "interval": verdict.interval if verdict else None,
        "sentence": findings.verdict_sentence(report),
    }


def _mean(candidate: dict[str, Any] | None) -> bool:
    """Whether it has a score."""
    return candidate is not None and candidate["mean"] is not None


def _scored(candidate: dict[str, Any] | None) -> str:
    return f"{candidate['name']} {candidate['mean']:.3f}" if candidate is not None and _mean(candidate) else ""


def _test_rows(folder: Path) -> frozenset[str]:
    """Names of a run's test rows; none where its table of rows is gone."""
    import pyarrow.parquet as pq

    path = folder / "data" / "splits.parquet"
    if not path.is_file():
        return frozenset()
    table = pq.read_table(path, columns=["id", "split"]).to_pylist()
    return frozenset(row["id"] for row in table if row["split"] == "test")
