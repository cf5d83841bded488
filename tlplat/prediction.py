"""Predictions of a run's model on new data: same preprocessing, the file's order, probabilities."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from tlplat import plugins
from tlplat.cache import cache_root
from tlplat.calibration import CALIBRATION, apply_temperature
from tlplat.data.examples import Inputs
from tlplat.domain import DomainContext
from tlplat.errors import UsageError
from tlplat.features import EXTRACTION_BATCH, apply_in_batches
from tlplat.modelio import LoadedModel, load_model, required_plugins
from tlplat.progress import Reporter
from tlplat.registry import Registry
from tlplat.storage import read_json


def load_run_model(folder: Path) -> tuple[LoadedModel, Registry]:
    """The model of a run directory, or of a ``model/`` folder on its own, with the plugins that it needs.

    Raises:
        UsageError TL-RUN-MISSING: no model there. PluginError: a plugin that it needs is not installed.
        ModelError: damaged or too new.
    """
    place = folder / "model" if (folder / "model").is_dir() else folder
    if not (place / "structure.json").exists():
        raise UsageError(
            "TL-RUN-MISSING",
            f"{folder} holds no model",
            where=str(place / "structure.json"),
            fix=f"finish the run first (tlplat resume {folder}), or name the folder that `tlplat run` printed",
        )
    registry = Registry()
    for group, name in required_plugins(place):
        plugins.load(group, [name], registry)
    return load_model(place, registry), registry


def predict(folder: Path, data: Path, report: Reporter) -> Iterator[dict[str, Any]]:
    """One row for each record of ``data``, in its order: ``{"id", "prediction", "probabilities": {label: p}}``.

    ``calibrated`` holds the probabilities at the temperature that was fitted on validation rows, where there is one.
    ``prediction`` is the most probable label; for multi-label the list of labels at probability 0.5 and above.
    """
    loaded, registry = load_run_model(folder)
    context = DomainContext(registry, cache_root(), threads=torch.get_num_threads(), report=report)
    domain = plugins.domain(loaded.manifest["domain"], registry)
    ids, inputs = domain.encode(data, loaded.preprocess, context)
    temperature = _temperature(folder / "model" if (folder / "model").is_dir() else folder)
    with report.task("predicting", total=len(inputs)) as advance:
        for start in range(0, len(inputs), EXTRACTION_BATCH):
            rows = torch.arange(start, min(start + EXTRACTION_BATCH, len(inputs)))
            yield from _rows(loaded, [ids[i] for i in rows.tolist()], inputs.select(rows), temperature)
            advance(len(rows))


def _temperature(place: Path) -> float | None:
    path = place / CALIBRATION
    return float(read_json(path)["temperature"]) if path.exists() else None


def _rows(
    loaded: LoadedModel, ids: list[str], inputs: Inputs, temperature: float | None = None
) -> Iterator[dict[str, Any]]:
    labels = loaded.task.info().labels
    multi = bool(loaded.task.info().options.get("multi_label"))
    decoded = loaded.task.decode(apply_in_batches(loaded.model, loaded.model, inputs))
    scaled = None if temperature is None else apply_temperature(decoded, temperature, multi).tolist()
    for i, (name, row) in enumerate(zip(ids, decoded.tolist(), strict=True)):
        probabilities = dict(zip(labels, row, strict=True))
        chosen = [label for label, p in probabilities.items() if p >= 0.5]
        best = max(probabilities, key=probabilities.__getitem__)
        found = {"id": name, "prediction": chosen if multi else best, "probabilities": probabilities}
        if scaled is not None:
            found["calibrated"] = dict(zip(labels, scaled[i], strict=True))
        yield found
