"""MODEL_CARD.md beside the model: what it is, for what, how good, how far, and whose work it rests on."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tlplat.report import findings, words
from tlplat.report.document import CandidatePart, Report, by_key, ranked
from tlplat.report.markdown import bullets, code_block, md, table
from tlplat.report.parts import TablePart
from tlplat.report.plain import printable

HUB_LICENSES = {"apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "gpl-3.0"}
FEW_TEST_ROWS, FEW_SEEDS = 500, 3


def model_card(document: Report | Mapping[str, Any]) -> str:
    """The card of the model that the run put into ``model/``: the best transferred one.

    Without a verdict there is no such model, and the card says so.
    """
    report = Report.of(document)
    model = by_key(report)[report.verdict.winner] if report.verdict else None
    parts = [
        _header(report, model),
        f"# {md(report.task.title)}",
        md(findings.verdict_sentence(report)),
        md(findings.advice(report)),
        *_section("Intended use", _use(report, model)),
        *_section("How to load it", _load(report)),
        *_section("The model", _model(report, model)),
        *_section("Data", _data(report)),
        *_section("Evaluation", _evaluation(report)),
        *_section("Limits", bullets(_limits(report))),
        *_section("Licences and citations", bullets(_credits(report))),
        *_section("How it was made", _made(report)),
    ]
    return "\n\n".join(p for p in parts if p) + "\n"


def _section(title: str, body: str) -> list[str]:
    return [f"## {title}", body] if body else []


def _header(report: Report, model: CandidatePart | None) -> str:
    """The YAML header that model hubs read. Every string is a JSON string, which YAML reads as one."""
    licenses = sorted({value.lower() for value in _facts(report.source_card, ("license", "licence"))})
    license_ = licenses[0] if len(licenses) == 1 and licenses[0] in HUB_LICENSES else "other"
    lines = ["---", f"license: {license_}", "library_name: tlplat"]
    lines += ["tags:", "- transfer-learning", f"- {_quoted(report.domain)}", f"- {_quoted(report.task.kind)}"]
    lines += ["metrics:", f"- {_quoted(report.metric.name)}"]
    if model is not None and model.mean is not None:
        target = report.task.target or report.task.title
        lines += [
            "model-index:",
            f"- name: {_quoted(words.called(model))}",
            "  results:",
            f"  - task: {{type: {_quoted(report.task.kind)}, name: {_quoted(report.task.title)}}}",
            f"    dataset: {{type: {_quoted(report.domain)}, name: {_quoted(target)}}}",
            "    metrics:",
            f"    - {{type: {_quoted(report.metric.name)}, value: {model.mean:.6g}}}",
        ]
    return "\n".join([*lines, "---"])


def _quoted(text: str) -> str:
    return json.dumps(printable(text), ensure_ascii=False)


def _use(report: Report, model: CandidatePart | None) -> str:
    task = report.task
    told = [f"The task is {md(task.kind)}: {md(task.title)}."]
    if task.labels:
        any_of = ", of which a row may have any number, or none" if task.several else ""
        told.append(f"Its labels are {', '.join(md(label) for label in task.labels)}{any_of}.")
    if task.balanced:
        told.append(
            "Its predictions are those for labels that are equally frequent, however rare they are; the column "
            "`calibrated` of `tlplat predict` has their probabilities as they occur."
        )
    if task.source and model is not None:
        told.append(
            f"The model was transferred from {md(task.source)}{f' to {md(task.target)}' if task.target else ''}."
        )
    told.append(
        "It is meant for rows drawn as the test rows were. Elsewhere its score is unknown: label some rows of the new "
        "kind and run `tlplat run` on them first. It is not meant to decide alone where an error does harm."
    )
    return " ".join(told)


def _load(report: Report) -> str:
    run = report.run_dir or "RUN"
    probabilities = " and a probability for every label" if report.task.kind == "classification" else ""
    return (
        code_block(f"tlplat predict {shlex.quote(run)} FILE")
        + f"\n\n`FILE` holds rows as the training file did; the answer has, for each, the prediction{probabilities}. "
        "The folder `model/` alone, with the packages that its manifest.json lists, is enough."
    )


def _model(report: Report, model: CandidatePart | None) -> str:
    if model is None:
        return "This run made no transferred model."
    rows: list[tuple[str, str]] = [
        ("strategy", f"{md(model.strategy)} ({words.family(model)})"),
        ("what it does", md(model.summary or "")),
        ("source", md(model.source or "")),
        ("weights trained", f"{words.count(model.trained_parameters)} of {words.count(model.total_parameters)}"),
        ("multiply-adds a row", words.compact(model.inference_cost)),
        *((name, md(_brief(value))) for name, value in model.hyperparameters.items()),
    ]
    return table(("", ""), [(md(name), value) for name, value in rows if value])


def _data(report: Report) -> str:
    labels = report.labels
    sizes = (
        f"{words.count(labels.train + labels.validation)} labelled rows ({words.count(labels.train)} to train, "
        f"{words.count(labels.validation)} to select; {md(labels.selection)}) and {words.count(labels.test)} test "
        "rows, looked at once, after selection."
    )
    rows = [(md(path), md(value)) for path, value in _flat(report.data_card)]
    return sizes + ("\n\n" + table(("", ""), rows) if rows else "")


def _evaluation(report: Report) -> str:
    metric = words.metric_words(report.metric)
    head = (
        "candidate",
        "family",
        md(f"{metric.title} ({words.percent(report.level)} interval)"),
        "weights trained",
        "time",
    )
    rows = []
    for c in ranked(report.candidates, report.metric.higher_is_better):
        ours = report.verdict is not None and c.key == report.verdict.winner
        name = f"**{md(words.called(c))}** (this model)" if ours else md(words.called(c))
        figure = words.score(c.mean) + (f" {words.interval(c.interval)}" if c.mean is not None else "")
        rows.append((name, words.family(c), md(figure), words.compact(c.trained_parameters), words.duration(c.seconds)))
    higher = "Higher" if report.metric.higher_is_better else "Lower"
    meaning = " " + md(f"{metric.title[0].upper()}{metric.title[1:]}: {metric.meaning}.") if metric.meaning else ""
    said = f"On the test rows, mean of the seeds. {higher} is better.{meaning}\n\n" + table(head, rows)
    detail = report.details.get(report.verdict.winner) if report.verdict else None
    return "\n\n".join([said, *(_asked(t) for t in (detail.tables if detail else ()))])


def _asked(part: TablePart) -> str:
    """A table that the task asks for, of this model."""
    cells = [[md(words.general(c) if isinstance(c, int | str) else words.score(c)) for c in row] for row in part.rows]
    caption = f"\n\n{md(part.caption)}" if part.caption else ""
    return f"{md(part.title)}:\n\n{table([md(c) for c in part.columns], cells)}{caption}"


def _limits(report: Report) -> Iterator[str]:
    verdict = report.verdict
    if verdict is not None and verdict.outcome == "hurts":
        yield f"A model made without transfer is better: {words.called(by_key(report)[verdict.recommended])}."
    if verdict is not None and verdict.outcome == "ties" and not findings.undefined(report):
        yield "It is not clearly better than what can be done without transfer."
    yield from findings.remarks(report)
    if report.labels.test < FEW_TEST_ROWS:
        yield f"There were only {words.count(report.labels.test)} test rows."
    seeds = max((len(c.seeds) for c in report.candidates), default=0)
    if 0 < seeds < FEW_SEEDS:
        yield f"Only {seeds} seed{'s were' if seeds > 1 else ' was'} run: the spread between trainings is hardly known."
    detail = report.details.get(verdict.winner) if verdict else None
    if detail is not None and detail.ece is not None:
        yield f"Its probabilities are off by {words.score(detail.ece)} on average (expected calibration error)."
    scaling = detail.scaling if detail is not None else None
    if scaling is not None and scaling.ece is not None and scaling.temperature != 1:
        yield (
            f"At the temperature {words.score(scaling.temperature)} (column `calibrated` of predictions) they are off "
            f"by {words.score(scaling.ece[1])}{'' if report.task.balanced else '; the order of the labels stays'}."
        )
    yield from report.warnings


def _credits(report: Report) -> Iterator[str]:
    for name, card in (("Source model", report.source_card), ("Data", report.data_card)):
        for label, keys in (("licence", ("license", "licence")), ("citation", ("citation", "cite"))):
            found = list(dict.fromkeys(_facts(card, keys)))
            yield f"{name}, {label}: {'; '.join(found) if found else 'not stated'}"


def _made(report: Report) -> str:
    command = code_block(report.run.command) if report.run.command else ""
    versions = report.run.environment.get("versions")
    named = [f"{k} {v}" for k, v in versions.items()] if isinstance(versions, dict) else [f"tlplat {report.tlplat}"]
    budget = f" Each trial had {words.count(report.budget.steps)} steps." if report.budget.steps is not None else ""
    told = (
        f"With {md(', '.join(named))}.{budget} The report beside the model, `../report/report.html`, has every figure."
    )
    return f"{command}\n\n{told}" if command else told


def _facts(value: Any, keys: Sequence[str]) -> Iterator[str]:
    """Texts under any of the keys, at any depth."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key.lower() in keys and isinstance(inner, str):
                yield inner
            else:
                yield from _facts(inner, keys)
    elif isinstance(value, list):
        for inner in value:
            yield from _facts(inner, keys)


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """The scalars of a card by path, in order; a list of scalars is one."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _flat(inner, f"{path} / {key}" if path else key)
    elif isinstance(value, list) and any(isinstance(v, dict | list) for v in value):
        for i, inner in enumerate(value, 1):
            yield from _flat(inner, f"{path} {i}")
    else:
        yield path.replace("_", " "), _brief(value)


def _brief(value: Any) -> str:
    if isinstance(value, dict | list) and not value:
        return "none"
    return ", ".join(words.general(v) for v in value) if isinstance(value, list) else words.general(value)
