"""Predictions of a run's model on new data: same preprocessing, the file's order."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import torch

from tlplat import plugins
from tlplat.cache import cache_root
from tlplat.data.examples import Inputs
from tlplat.data.parts import KINDS, PART_ROWS, ending_of, parts
from tlplat.domain import DomainContext
from tlplat.errors import TlplatError, UsageError, from_json
from tlplat.features import EXTRACTION_BATCH, apply_in_batches
from tlplat.modelio import CALIBRATION, LoadedModel, load_model, required_plugins
from tlplat.progress import Reporter
from tlplat.registry import Registry
from tlplat.storage import read_json

WHOLE = 16 << 20
"""Bytes of a file up to which it is read at once."""


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

    For classification ``probabilities`` and ``calibrated`` ({label: p}; see the task's ``prediction_rows``). A file of
    more than :data:`WHOLE` bytes whose records stand alone (:meth:`Domain.parts`) is read in parts, so that memory does
    not grow with it; places in errors then say in which part.
    """
    if ending_of(data) in KINDS and data.is_file() and data.stat().st_size > WHOLE:
        with data.open("rb") as stream:
            yield from predict_stream(folder, stream, data, report)
        return
    loaded, registry = load_run_model(folder)
    context = DomainContext(registry, cache_root(), threads=torch.get_num_threads(), report=report)
    domain = plugins.domain(loaded.manifest["domain"], registry)
    ids, inputs = domain.encode(data, loaded.preprocess, context)
    yield from predict_inputs(loaded, ids, inputs, calibration_of(folder), report)


def predict_stream(
    folder: Path, stream: IO[bytes], name: Path, report: Reporter, rows: int = PART_ROWS
) -> Iterator[dict[str, Any]]:
    """As :func:`predict`, of a stream; where records stand alone they are answered ``rows`` at a time, as they come.

    Args:
        name: what the stream is called in messages; its ending says what it holds.
    """
    loaded, registry = load_run_model(folder)
    context = DomainContext(registry, cache_root(), threads=torch.get_num_threads(), report=report)
    domain = plugins.domain(loaded.manifest["domain"], registry)
    calibration, ending = calibration_of(folder), ending_of(name)
    with tempfile.TemporaryDirectory(prefix="tlplat-predict-") as place:
        path = Path(place) / name.name
        if ending not in domain.parts(loaded.preprocess):
            with path.open("wb") as whole:
                shutil.copyfileobj(stream, whole)
            with _named(path, name, 0):
                ids, inputs = domain.encode(path, loaded.preprocess, context)
            yield from predict_inputs(loaded, ids, inputs, calibration, report)
            return
        for first, part in parts(stream, ending, rows):
            path.write_bytes(part)
            with _named(path, name, first):
                ids, inputs = domain.encode(path, loaded.preprocess, context)
            ids = [f"row {first + i + 1}" if said == f"row {i + 1}" else said for i, said in enumerate(ids)]
            yield from predict_inputs(loaded, ids, inputs, calibration, report)


@contextmanager
def _named(path: Path, name: Path, first: int) -> Iterator[None]:
    """Errors speak of the file that the user knows, and say from which record a part's places count."""
    try:
        yield
    except TlplatError as error:
        said = json.loads(json.dumps(error.to_json()).replace(json.dumps(str(path))[1:-1], json.dumps(str(name))[1:-1]))
        if first:
            place = said["error"]["where"] or str(name)
            said["error"]["where"] = f"{place}, counted from record {first + 1} of the file on"
        raise from_json(said) from error


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
