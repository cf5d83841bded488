"""tlplat from Python: what the commands do, as calls, and models in memory where the command line takes files."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from tlplat import plugins
from tlplat.arrays.backbone import Factory, as_source, refilled, registered
from tlplat.arrays.rows import fitting, keep, read, rows_of
from tlplat.cache import cache_root
from tlplat.config import RunConfig, keys
from tlplat.data.examples import TensorInputs
from tlplat.domain import DomainContext
from tlplat.errors import UsageError, did_you_mean
from tlplat.explanation import explain_inputs
from tlplat.exporting import FORMATS, Exported, export
from tlplat.exporting.plain import ready
from tlplat.exporting.rows import MOST, example_rows
from tlplat.exporting.told import told
from tlplat.features import EXTRACTION_BATCH, apply_in_batches
from tlplat.modelio import LoadedModel
from tlplat.prediction import calibration_of, load_run_model, predict_inputs
from tlplat.progress import Reporter
from tlplat.registry import Registry
from tlplat.resolve import flag, guessed, resolve
from tlplat.runner import Run, run
from tlplat.stage import load_registry

if TYPE_CHECKING:
    from tlplat.model import SourceModel

ARRAYS = "arrays"
EXAMPLE_ROWS = 4


def transfer(
    domain: str,
    data: str | os.PathLike[str] | tuple[Any, ...] | None = None,
    *,
    source: str | os.PathLike[str] | nn.Module | None = None,
    factory: Factory | None = None,
    head: str | None = None,
    source_labels: Sequence[str] = (),
    progress: bool = False,
    **settings: Any,
) -> Run:
    """Find out whether transfer helps and which strategy wins, and keep the adapted model: ``tlplat run`` as a call.

    Args:
        domain: as after ``--domain``; ``arrays`` for rows and modules in memory.
        data: a path; with ``arrays`` also ``(x, y)`` or ``(x, y, groups)``: rows (n, ...) of numbers, and for each a
            class name, an integer class or a number to predict; or y (n, labels) of 0 and 1 for any number of labels a
            row, named by the columns of a data frame. None runs the domain's demo.
        source: as after ``--source``; with ``arrays`` a Keras model (``.keras``, ``.h5``), or a pretrained module
            (rows -> features or outputs).
        factory: builds that module with fresh weights. Needed where a layer cannot draw its weights anew by
            ``reset_parameters``, and to load the model again.
        head: name of the module's own output layer, which is replaced; None keeps all layers as the extractor.
        source_labels: class names of the source's own outputs, in order. Where they are the target's, its output
            layer is a start for strategies, and ``zero_shot`` says what the module does without adapting.
        progress: show bars on stderr.
        settings: the flags of ``tlplat run`` with ``_`` for ``-`` (``labels=40``, ``strategy="full_ft,lora"``,
            ``budget="10m"``, ``out="my-run"``), the domain's own options, and tables as mappings
            (``train={"steps": 50}``).

    Raises:
        UsageError TL-USAGE: a setting that is not known or of another type. TlplatError: as the command.
    """
    flags = _flags(domain, settings)
    if isinstance(data, tuple):
        _only_arrays(domain, "rows in memory")
        flags["data.path"] = str(keep(rows_of(*data), cache_root()))
    elif data is not None:
        flags["data.path"] = os.fspath(data)
    if source is not None and not isinstance(source, nn.Module):
        flags["source"] = os.fspath(source)
        flags |= {"options.source_labels": list(source_labels)} if source_labels else {}
    registry = plugins.load("domains", [domain])
    config, origins = resolve(flags, domain=registry.get("domains", domain))
    registry = load_registry(config)
    report = _reporter(progress)
    if (said := guessed(config, origins)) is not None:
        report.say(said)
    own = None
    if isinstance(source, nn.Module):
        _only_arrays(domain, "a module as the source")
        own = _own(source, factory, head, source_labels, config, registry)
    return run(config, registry, report, origins, own)


@dataclass(frozen=True)
class Model:
    """An adapted model.

    Attributes:
        module: the ``torch.nn.Module``, in eval mode, with ``backbone`` and ``head``.
        labels: class names in the order of its outputs; empty where the task has none.
        loaded: with task, preprocessing and manifest.
    """

    loaded: LoadedModel
    registry: Registry
    folder: Path

    @property
    def module(self) -> nn.Module:
        return self.loaded.model

    @property
    def labels(self) -> tuple[str, ...]:
        return self.loaded.task.info().labels

    def predict(self, data: Any) -> list[dict[str, Any]]:
        """A row for each record, in order: ``id``, ``prediction`` and what the task adds, as ``tlplat predict`` prints.

        Args:
            data: a file; for models of rows in memory also an array (n, ...).
        """
        ids, inputs = self._encoded(data)
        return list(predict_inputs(self.loaded, ids, inputs, calibration_of(self.folder), Reporter()))

    def decode(self, data: Any) -> np.ndarray:
        """float64 predictions (n, ...): (n, classes) probabilities for classification, numbers for regression."""
        _, inputs = self._encoded(data)
        parts = torch.split(torch.arange(len(inputs)), EXTRACTION_BATCH)
        model, task = self.loaded.model, self.loaded.task
        return np.concatenate([task.decode(apply_in_batches(model, model, inputs.select(p))) for p in parts])

    def explain(self, data: Any, rows: int | None = None) -> dict[str, Any]:
        """What the decisions on these rows go by (see docs/explain.md), the first ``rows`` of them one by one.

        Args:
            data: as :meth:`predict` takes it.

        Raises:
            PluginError TL-PLUGIN-EXTRA: captum is not installed. UsageError TL-EXPLAIN-NONE, DataError TL-EXPLAIN-FEW.
        """
        ids, inputs = self._encoded(data)
        domain = plugins.domain(self.loaded.manifest["domain"], self.registry)
        return explain_inputs(domain, self.loaded, ids, inputs, rows, Reporter())

    def export(self, path: str | os.PathLike[str], data: Any = None, form: str | None = None) -> Exported:
        """Write the model as one file for others to run: ``tlplat export`` as a call.

        Args:
            path: its ending chooses the format, ``.onnx``, ``.pt2`` (torch.export), ``.safetensors``,
                ``.keras`` or ``.h5``.
            data: rows to check it on, as :meth:`predict` takes them; default: the run's test rows.
            form: the format, where the ending does not say it.

        Raises:
            UsageError: TL-EXPORT-ROWS, TL-OUT-EXISTS, TL-USAGE. ModelError: TL-EXPORT-FAILED, TL-EXPORT-DIFFERS.
            PluginError TL-PLUGIN-EXTRA: what writes the format is not installed.
        """
        named = form or next((f.name for f in FORMATS.values() if Path(path).suffix in f.suffixes), "onnx")
        if data is None or isinstance(data, str | os.PathLike):
            given = None if data is None else Path(data)
            rows = example_rows(self.folder, self.loaded, self.registry, given, Reporter())
        else:
            rows = self._encoded(data)[1].take(torch.arange(min(len(data), MOST)))
        about = told(self.folder, self.loaded, self.registry)
        return export(ready(self.loaded, rows, about), named, Path(path))

    def _encoded(self, data: Any) -> tuple[Sequence[str], Any]:
        if isinstance(data, str | os.PathLike):
            domain = plugins.domain(self.loaded.manifest["domain"], self.registry)
            context = DomainContext(self.registry, cache_root(), threads=torch.get_num_threads())
            return domain.encode(Path(data), self.loaded.preprocess, context)
        _only_arrays(self.loaded.manifest["domain"], "rows in memory")
        rows = fitting(rows_of(data), {**self.loaded.preprocess, "cast": True}, "the arrays")
        return [f"row {i}" for i in range(len(rows))], TensorInputs(rows.x)


def load_model(path: str | os.PathLike[str], factory: Factory | None = None) -> Model:
    """The adapted model of a run directory, or of its ``model/`` folder alone.

    Args:
        factory: builds the module, where the source was a ``torch.nn.Module`` of yours.

    Raises:
        UsageError TL-RUN-MISSING: no model there. ModelError TL-MODEL-FACTORY: a factory is needed; TL-MODEL-CORRUPT,
        TL-MODEL-SHAPE. PluginError: a plugin that it needs is not installed.
    """
    folder, registry = Path(path), Registry()
    if factory is not None:
        registered(plugins.load("domains", [ARRAYS], registry), factory)
    return Model(*load_run_model(folder, registry), folder)


def _own(
    module: nn.Module,
    factory: Factory | None,
    head: str | None,
    labels: Sequence[str],
    config: RunConfig,
    registry: Registry,
) -> SourceModel:
    if config.data.path is None:
        raise UsageError("TL-USAGE", "a module as the source needs rows", fix="pass data=(x, y) or a file")
    example = read(config.data.path).x[:EXAMPLE_ROWS]
    return as_source(module, factory or refilled(module), example, head, registry, labels)


def _flags(domain: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by dotted key: flags of a run, tables, and what is left as options of the domain."""
    named = {flag(key).replace("-", "_"): key for key in keys() if not key.startswith("train.")}
    options = plugins.load("domains", [domain]).get("domains", domain).Options.model_fields
    found: dict[str, Any] = {"domain": domain}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            found |= {f"{name}.{leaf}": inner for leaf, inner in value.items()}
        elif name in named and named[name] != "domain":
            found[named[name]] = _plain(value)
        elif name in options:
            found[f"options.{name}"] = _plain(value)
        else:
            known = sorted({*named, *options} - {"domain", "data"})
            raise UsageError(
                "TL-USAGE",
                f"transfer() has no setting {name!r}{did_you_mean(name, known)}",
                found=", ".join(known),
                fix="use the flags of `tlplat run` with _ for -, or tables such as train={'steps': 50}",
            )
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return list(value) if isinstance(value, tuple | set) else value


def _only_arrays(domain: str, what: str) -> None:
    if domain != ARRAYS:
        raise UsageError(
            "TL-USAGE", f"the domain {domain} takes no {what}", fix=f"use the domain {ARRAYS}, or give a file"
        )


def _reporter(progress: bool) -> Reporter:
    if not progress:
        return Reporter()
    from tlplat.cli.progress import TerminalReporter

    return TerminalReporter(False)


__all__ = ["Model", "Run", "load_model", "transfer"]
