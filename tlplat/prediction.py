"""Predictions of a run's model on new data: same preprocessing, the file's order."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch

from tlplat import plugins
from tlplat.cache import cache_root
from tlplat.data.examples import Inputs
from tlplat.data.opening import Limits, is_packed, opened
from tlplat.data.parts import KINDS, PART_ROWS, ending_of, parts
from tlplat.domain import Domain, DomainContext
from tlplat.errors import TlplatError, UsageError, from_json
from tlplat.features import EXTRACTION_BATCH, apply_in_batches
from tlplat.modelio import CALIBRATION, LoadedModel, load_model, required_plugins
from tlplat.progress import Reporter
from tlplat.registry import Registry
from tlplat.storage import read_json

WHOLE = 16 << 20
"""Bytes of a file up to which it is read at once."""
UNBOUNDED = Limits(bytes=1 << 62)
"""Of a file that is read in parts: what expands too much is refused still."""


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
    more than :data:`WHOLE` bytes, or a compressed one, whose records stand alone (:meth:`Domain.parts`) is read in
    parts, so that memory does not grow with it; places in errors then say in which part.
    """
    model = _Answering.of(folder, report)
    if not model.is_long(data):
        yield from model.whole(data)
        return
    with opened(data, UNBOUNDED) as stream:
        yield from model.in_parts(stream, data, PART_ROWS)


def predict_stream(
    folder: Path, stream: IO[bytes], name: Path, report: Reporter, rows: int = PART_ROWS
) -> Iterator[dict[str, Any]]:
    """As :func:`predict`, of a stream; where records stand alone they are answered ``rows`` at a time, as they come.

    Args:
        name: what the stream is called in messages; its ending says what it holds.
    """
    model = _Answering.of(folder, report)
    if model.stand_alone(name):
        yield from model.in_parts(stream, name, rows)
        return
    with tempfile.TemporaryDirectory(prefix="tlplat-predict-") as place:
        path = Path(place) / name.name
        with path.open("wb") as copy:
            shutil.copyfileobj(stream, copy)
        with _named(path, name, 0):
            yield from model.whole(path)


@dataclass(frozen=True)
class _Answering:
    """A run's model and what encodes rows for it."""

    loaded: LoadedModel
    domain: Domain
    context: DomainContext
    calibration: Mapping[str, Any] | None

    @classmethod
    def of(cls, folder: Path, report: Reporter) -> _Answering:
        loaded, registry = load_run_model(folder)
        context = DomainContext(registry, cache_root(), threads=torch.get_num_threads(), report=report)
        domain = plugins.domain(loaded.manifest["domain"], registry)
        return cls(loaded, domain, context, calibration_of(folder))

    def stand_alone(self, name: Path) -> bool:
        """Whether records of a file of that name can be answered a part at a time."""
        return ending_of(name) in KINDS and ending_of(name) in self.domain.parts(self.loaded.preprocess)

    def is_long(self, path: Path) -> bool:
        """Whether a path is one to answer in parts; how many rows a compressed file holds is not known before."""
        if not (self.stand_alone(path) and path.is_file()):
            return False
        if is_packed(path):
            return ending_of(path) != "parquet"  # which is compressed in itself: inside another its reader refuses it
        return path.stat().st_size > WHOLE

    def whole(self, path: Path) -> Iterator[dict[str, Any]]:
        ids, inputs = self.domain.encode(path, self.loaded.preprocess, self.context)
        yield from predict_inputs(self.loaded, ids, inputs, self.calibration, self.context.report)

    def in_parts(self, stream: IO[bytes], name: Path, rows: int) -> Iterator[dict[str, Any]]:
        """Rows of a stream of bytes that are not compressed (any more), ``rows`` at a time."""
        with tempfile.TemporaryDirectory(prefix="tlplat-predict-") as place:
            path = Path(place) / name.name
            for first, part in parts(stream, ending_of(name), rows):
                path.write_bytes(part)
                with _named(path, name, first):
                    ids, inputs = self.domain.encode(path, self.loaded.preprocess, self.context)
                ids = [f"row {first + i + 1}" if said == f"row {i + 1}" else said for i, said in enumerate(ids)]
                yield from predict_inputs(self.loaded, ids, inputs, self.calibration, self.context.report)


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
