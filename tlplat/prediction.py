"""Predictions of a run's model on new data: same preprocessing, the file's order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from tlplat import plugins
from tlplat.cache import cache_root
from tlplat.data.examples import Inputs
from tlplat.domain import DomainContext
from tlplat.errors import UsageError
from tlplat.features import EXTRACTION_BATCH, apply_in_batches
from tlplat.modelio import CALIBRATION, LoadedModel, load_model, required_plugins
from tlplat.progress import Reporter
from tlplat.registry import Registry
from tlplat.storage import read_json


def load_run_model(folder: Path, registry: Registry | None = None) -> tuple[LoadedModel, Registry]:
    """The model of a run directory, or of a ``model/`` folder on its own, with the plugins that it needs.

    ``registry``: what is loaded already, which goes before what plugins bring.

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
    registry = Registry() if registry is None else registry
    for group, name in required_plugins(place):
        plugins.load(group, [name], registry)
    return load_model(place, registry), registry


def predict(folder: Path, data: Path, report: Reporter) -> Iterator[dict[str, Any]]:
    """One row for each record of ``data``, in its order: ``id``, ``prediction`` and what else the task says of it.

    For classification ``probabilities`` and ``calibrated`` ({label: p}; see the task's ``prediction_rows``).
    """
    loaded, registry = load_run_model(folder)
    context = DomainContext(registry, cache_root(), threads=torch.get_num_threads(), report=report)
    domain = plugins.domain(loaded.manifest["domain"], registry)
    ids, inputs = domain.encode(data, loaded.preprocess, context)
    yield from predict_inputs(loaded, ids, inputs, calibration_of(folder), report)


def predict_inputs(
    loaded: LoadedModel, ids: Sequence[str], inputs: Inputs, calibration: Mapping[str, Any] | None, report: Reporter
) -> Iterator[dict[str, Any]]:
    """As :func:`predict`, for rows that are encoded already."""
    with report.task("predicting", total=len(inputs)) as advance:
        for start in range(0, len(inputs), EXTRACTION_BATCH):
            rows = torch.arange(start, min(start + EXTRACTION_BATCH, len(inputs)))
            decoded = loaded.task.decode(apply_in_batches(loaded.model, loaded.model, inputs.select(rows)))
            said = loaded.task.prediction_rows(decoded, calibration)
            yield from ({"id": ids[i], **row} for i, row in zip(rows.tolist(), said, strict=True))
            advance(len(rows))


def calibration_of(folder: Path) -> dict[str, Any] | None:
    """What held-out rows said of the model's probabilities or errors; None where there were too few."""
    place = folder / "model" if (folder / "model").is_dir() else folder
    path = place / CALIBRATION
    return dict(read_json(path)) if path.exists() else None
