"""Explanations of a run's model: of its test rows for the report, or of rows of a file."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tlplat import plugins
from tlplat.attribution import Attribution, attribute, library
from tlplat.cache import cache_root
from tlplat.config import from_toml
from tlplat.data.examples import Examples, Inputs
from tlplat.depths import MOST_ROWS, probes
from tlplat.domain import Domain, DomainContext
from tlplat.errors import DataError, UsageError
from tlplat.importance import as_words, by_place, by_text, permuted
from tlplat.modelio import LoadedModel
from tlplat.pieces import Explainer
from tlplat.prediction import load_run_model
from tlplat.progress import Reporter
from tlplat.report import load_report, write_report
from tlplat.stage import Stage, load_registry, prepare
from tlplat.storage import lock
from tlplat.tasks.base import Task
from tlplat.view import View

SHOWN = 4
"""Rows that are shown where nobody says how many."""
PRIVATE = "the {domain} domain shows no single row"

WHOLE = "the {domain} domain does not say how rows like these fall into pieces: the blocks alone are probed"


def explain_run(folder: Path, shown: int | None, report: Reporter) -> dict[str, Any]:
    """The explanation of a finished run over a sample of its test rows, as report.json holds it.

    Args:
        shown: how many of the rows to show one by one; None: as many as the domain allows, at most four.

    Raises:
        UsageError: TL-REPORT-MISSING, no finished run; TL-EXPLAIN-SOURCE, its source was handed in through Python.
        PluginError TL-PLUGIN-EXTRA: captum is not installed. What preparing the run's data raises.
    """
    library()
    load_report(folder)
    loaded, _ = load_run_model(folder)
    config = from_toml(folder / "config.toml")
    stage = prepare(config, load_registry(config), report, folder=folder)
    view = _view(stage, loaded, folder)
    test = _drawn(view.target.test, config.data_seed)
    explainer = stage.domain.explainer(loaded.preprocess, loaded.model.backbone)
    found: dict[str, Any] = {"warnings": [] if explainer else [WHOLE.format(domain=stage.domain.name)]}
    if explainer is not None:
        rows = test.select(torch.arange(min(len(test), explainer.sample)))
        found |= _explained(stage.domain, explainer, loaded, rows.inputs, rows.ids, rows.targets, shown, report)
        with report.task("shuffling columns"):
            found["permutation"] = permuted(loaded.model, loaded.task, explainer, test)
    with report.task("probing blocks"):
        found["depths"] = probes(view.source, loaded.model.backbone, loaded.task, test, stage.bench.registry)
    return found


def explain_rows(folder: Path, data: Path, shown: int | None, report: Reporter) -> dict[str, Any]:
    """The explanation of the rows of a file by a run's model, or by a ``model/`` folder on its own.

    Raises:
        UsageError: TL-RUN-MISSING; TL-EXPLAIN-NONE, the domain says nothing of its rows' pieces. DataError
        TL-EXPLAIN-FEW: fewer rows than the domain lets figures stand for. PluginError TL-PLUGIN-EXTRA: captum is not
        installed. What reading the file raises.
    """
    library()
    loaded, registry = load_run_model(folder)
    context = DomainContext(registry, cache_root(), threads=torch.get_num_threads(), report=report)
    domain = plugins.domain(loaded.manifest["domain"], registry)
    ids, inputs = domain.encode(data, loaded.preprocess, context)
    return explain_inputs(domain, loaded, ids, inputs, shown, report)


def explain_inputs(
    domain: Domain, loaded: LoadedModel, ids: Sequence[str], inputs: Inputs, shown: int | None, report: Reporter
) -> dict[str, Any]:
    """As :func:`explain_rows`, for encoded rows: the first ``sample`` of the explainer, or ``shown``."""
    explainer = domain.explainer(loaded.preprocess, loaded.model.backbone)
    if explainer is None:
        raise UsageError(
            "TL-EXPLAIN-NONE",
            f"the domain {domain.name} does not say how its rows fall into pieces",
            fix="leave out DATA: the blocks of the run's model are probed without",
        )
    count = min(len(inputs), max(explainer.sample, shown or 0))
    found = _explained(domain, explainer, loaded, inputs.select(torch.arange(count)), ids[:count], None, shown, report)
    left = [f"the first {count} of {len(inputs)} rows are explained"] if count < len(inputs) else []
    return {**found, "warnings": [*found["warnings"], *left]}


def publish(folder: Path, explanation: Mapping[str, Any]) -> None:
    """Put an explanation into the run's report.json and report.html, in the place of an earlier one."""
    with lock(folder / ".lock"):
        write_report(folder, {**load_report(folder), "explanation": explanation})


def _explained(
    domain: Domain,
    explainer: Explainer,
    loaded: LoadedModel,
    inputs: Inputs,
    ids: Sequence[str],
    targets: Tensor | None,
    shown: int | None,
    report: Reporter,
) -> dict[str, Any]:
    if len(inputs) < domain.least_count:
        raise DataError(
            "TL-EXPLAIN-FEW",
            f"{len(inputs)} rows are too few for figures over all rows in the {domain.name} domain",
            found=f"{len(inputs)} rows",
            expected=f"{domain.least_count} or more",
            fix=f"give a file of at least {domain.least_count} rows",
        )
    private = domain.least_count > 1 or not domain.keeps_rows
    with report.task("explaining", total=len(inputs)) as advance:
        found = attribute(loaded.model, loaded.task, explainer, inputs, advance)
    batch = inputs.take(torch.arange(len(inputs)))
    texts = explainer.texts(batch)
    if explainer.look == "words":
        found, texts = as_words(found, texts)
    warnings = [PRIVATE.format(domain=domain.name)] if private and shown else []
    count = 0 if private else (SHOWN if shown is None else shown)
    chosen = _spread(found.outputs, loaded.task, min(count, len(inputs)))
    tells = [] if private and explainer.by == "text" else _importance(explainer, found, texts)
    return {
        "unit": explainer.unit,
        "by": explainer.by,
        "look": explainer.look,
        "method": found.method,
        "against": found.against,
        "decision": loaded.task.decision_words,
        "rows": len(inputs),
        "gap": found.gap,
        "importance": tells,
        "picture": None if private else _overall(explainer, batch, found),
        "shown": [_row(explainer, loaded.task, found, batch, texts, ids, targets, i) for i in chosen],
        "warnings": warnings,
    }


def _importance(explainer: Explainer, found: Attribution, texts: Sequence[Sequence[str]]) -> list[dict[str, Any]]:
    return by_text(found, texts) if explainer.by == "text" else by_place(found, explainer, texts)


def _row(
    explainer: Explainer,
    task: Task,
    found: Attribution,
    batch: Any,
    texts: Sequence[Sequence[str]],
    ids: Sequence[str],
    targets: Tensor | None,
    row: int,
) -> dict[str, Any]:
    values = found.values[row]
    said = task.prediction_rows(task.decode(found.outputs[row : row + 1]), None)[0]
    places = explainer.places(len(values))
    each = zip(texts[row], places, values.tolist(), strict=True)
    pieces = [{"text": text, "place": place, "value": value} for text, place, value in each if text]
    info = task.info()
    several = bool(info.options.get("multi_label"))
    drawn = explainer.picture(batch[row], values) if explainer.look == "image" else None
    return {
        "id": str(ids[row]),
        "prediction": said["prediction"],
        "of": info.labels[int(task.chosen(found.outputs[row : row + 1])[0])] if several else "",
        "target": None if targets is None else _target(task, targets[row]),
        "decision": float(found.decision[row]),
        "neutral": None if found.neutral is None else float(found.neutral[row]),
        "pieces": pieces,
        "picture": _data_uri(drawn),
    }


def _overall(explainer: Explainer, batch: Any, found: Attribution) -> str | None:
    """The mean row with the mean sizes laid over it."""
    if explainer.look != "image":
        return None
    mean = batch.float().mean(dim=0).round().to(batch.dtype)
    return _data_uri(explainer.picture(mean, found.values.abs().mean(dim=0)))


def _data_uri(png: bytes | None) -> str | None:
    return None if png is None else f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"


def _target(task: Task, target: Tensor) -> Any:
    """The label, the labels or the number of one row; None for what is none of these."""
    labels = task.info().labels
    if task.info().options.get("multi_label"):
        return [label for label, has in zip(labels, target.tolist(), strict=True) if has]
    if target.ndim:
        return None
    return labels[int(target)] if labels and not target.is_floating_point() else target.item()


def _spread(outputs: Tensor, task: Task, count: int) -> list[int]:
    """The first rows, each predicted label in turn."""
    chosen = task.chosen(outputs)
    if chosen.ndim != 1 or not count:
        return list(range(count))
    rank = np.zeros(len(chosen), dtype=np.int64)
    for label in np.unique(chosen.numpy()):
        mine = np.flatnonzero(chosen.numpy() == label)
        rank[mine] = np.arange(len(mine))
    return [int(i) for i in np.argsort(rank, kind="stable")[:count]]


def _drawn(test: Examples, seed: int) -> Examples:
    """Test rows in an order of chance, as many as anything here asks for."""
    order = torch.randperm(len(test), generator=torch.Generator().manual_seed(seed))
    return test.select(order[: max(MOST_ROWS, 512)])


def _view(stage: Stage, loaded: LoadedModel, folder: Path) -> View:
    """The target as the model's own source sees it."""
    name = loaded.manifest.get("source")
    for view in stage.views:
        if view.source.name == name and dict(view.target.preprocess) == dict(loaded.preprocess):
            return view
    raise UsageError(
        "TL-EXPLAIN-SOURCE",
        f"the run's source {name} cannot be had again from its configuration",
        where=str(folder),
        fix="give rows to explain: tlplat explain RUN DATA",
    )
