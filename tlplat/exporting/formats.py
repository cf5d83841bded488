"""The formats, and the one way to write them: into a temporary place, read back, compared, moved."""

from __future__ import annotations

import logging
import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tlplat.errors import ModelError, PluginError, UsageError
from tlplat.exporting.plain import Ready
from tlplat.isolate import kept_quiet
from tlplat.storage import read_tensors, write_tensors

TOLERANCE = 1e-4
"""Largest difference of an output, beside the larger of 1 and its size."""

Run = Callable[[tuple[Tensor, ...]], Tensor]


@dataclass(frozen=True)
class Format:
    """A format.

    Attributes:
        suffixes: of the file; the first is the default. summary: for the help.
        write: puts the file there and returns what runs it: input tensors to outputs, read back from the file.
        extra: of tlplat that brings what it needs. decodes: it gives predictions, not the head's outputs.
    """

    name: str
    suffixes: tuple[str, ...]
    summary: str
    write: Callable[[Ready, Path], Run]
    extra: str = ""
    decodes: bool = False


@dataclass(frozen=True)
class Exported:
    """What was written: the file, the rows it was checked on, and the largest difference that they showed."""

    path: Path
    form: str
    rows: int
    difference: float


def _safetensors(ready: Ready, path: Path) -> Run:
    """Weights by name, with structure and preprocessing as JSON in the metadata; tlplat rebuilds the module."""
    write_tensors(path, dict(ready.loaded.model.state_dict()), ready.text())
    tensors, _ = read_tensors(path)

    def run(rows: tuple[Tensor, ...]) -> Tensor:
        batch = rows[0] if len(rows) == 1 else dict(zip(ready.names, rows, strict=True))
        found: Tensor = torch.func.functional_call(ready.loaded.model, tensors, (batch,))
        return found

    return run


def _torch_export(ready: Ready, path: Path) -> Run:
    """A torch.export program, which runs where torch is, without tlplat."""
    program = torch.export.export(ready.module, ready.rows, dynamic_shapes={"tensors": ready.shapes()})
    torch.export.save(program, path, extra_files=ready.text())
    again = torch.export.load(path).module()

    def run(rows: tuple[Tensor, ...]) -> Tensor:
        found: Tensor = again(*rows)
        return found

    return run


def _onnx(ready: Ready, path: Path) -> Run:
    """An ONNX model, checked by onnxruntime."""
    try:
        import onnxruntime
        import onnxscript  # noqa: F401  torch's exporter needs it
    except ImportError as error:
        raise PluginError(
            "TL-PLUGIN-EXTRA", f"exporting to ONNX needs {error.name}", fix="pip install 'tlplat[onnx]'"
        ) from error
    log = logging.getLogger("torch.onnx")
    level = log.level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of torch, at its own code
        log.setLevel(logging.ERROR)
        try:
            program = torch.onnx.export(
                ready.module,
                ready.rows,
                input_names=list(ready.names),
                output_names=["outputs"],
                dynamic_shapes={"tensors": ready.shapes()},
                dynamo=True,
                verbose=False,
            )
        finally:
            log.setLevel(level)
    assert program is not None
    program.model.metadata_props.update(ready.text())
    program.save(str(path), external_data=False)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def run(rows: tuple[Tensor, ...]) -> Tensor:
        given = {name: t.numpy() for name, t in zip(ready.names, rows, strict=True)}
        wanted = {i.name for i in session.get_inputs()}  # an input that the model does not use is dropped
        return torch.from_numpy(np.asarray(session.run(None, {k: v for k, v in given.items() if k in wanted})[0]))

    return run


def _keras(ready: Ready, path: Path) -> Run:
    """A Keras model, for sources that were one: its own layers and a new output layer."""
    from tlplat.kerasio.export import export_keras

    predict = export_keras(ready.loaded, path)
    return lambda rows: torch.from_numpy(predict(rows[0].numpy()))


FORMATS: Mapping[str, Format] = {
    f.name: f
    for f in (
        Format(
            "safetensors", (".safetensors",), "weights by name, with structure and labels as metadata", _safetensors
        ),
        Format("onnx", (".onnx",), "runs in onnxruntime and many others", _onnx, "onnx"),
        Format("torch-export", (".pt2",), "a torch.export program: runs where torch is", _torch_export),
        Format("keras", (".keras", ".h5"), "a Keras model, of a source that was one", _keras, "keras", decodes=True),
    )
}


def export(ready: Ready, form: str, path: Path) -> Exported:
    """Write the model in a format; the file appears only when what it says of the rows equals what the model says.

    Raises:
        UsageError TL-OUT-EXISTS: the file is there. TL-USAGE: another suffix than the format's.
        ModelError TL-EXPORT-FAILED: the model cannot be written in this format. TL-EXPORT-DIFFERS: it says something
            else there. PluginError TL-PLUGIN-EXTRA: what writes the format is not installed.
    """
    made = FORMATS[form]
    if path.exists():
        raise UsageError("TL-OUT-EXISTS", f"{path} exists already", fix="name another file, or remove it")
    if path.suffix not in made.suffixes:
        raise UsageError(
            "TL-USAGE", f"{path.name} does not end in {' or '.join(made.suffixes)}", fix="give the file that ending"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(dir=path.parent, prefix=".tlplat-export-"))
    try:
        try:
            with kept_quiet():  # an exporter that fails prints its graph first
                run = made.write(ready, place / path.name)
        except (ModelError, PluginError, OSError):
            raise
        except Exception as error:  # exporters raise types of their own
            raise ModelError(
                "TL-EXPORT-FAILED",
                f"the model cannot be written as {form}: {_root(error)}",
                fix="choose another format (`tlplat export --help`), or a strategy that leaves the structure plain; "
                "TLPLAT_DEBUG=1 shows all that was said",
            ) from error
        difference = _difference(run, ready, made.decodes)
        os.replace(place / path.name, path)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return Exported(path, form, len(ready.outputs), difference)


def _root(error: BaseException) -> str:
    """The first line of what the innermost error says, without colours."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__


def _difference(run: Run, ready: Ready, decodes: bool) -> float:
    """The largest difference over all rows at once and over each of the first few alone."""
    worst, outputs = 0.0, ready.outputs
    if decodes:
        decoded = torch.from_numpy(ready.loaded.task.decode(outputs))
        outputs = decoded[:, None] if decoded.ndim == 1 else decoded
    for part in (slice(None), *(slice(i, i + 1) for i in range(min(2, len(ready.outputs))))):
        with torch.no_grad():
            found = run(tuple(t[part] for t in ready.rows))
        wanted = outputs[part]
        if found.shape != wanted.shape:
            raise _differs(f"shape {tuple(found.shape)} where the model gives {tuple(wanted.shape)}")
        off = (found.double() - wanted.double()).abs() / wanted.double().abs().clamp_min(1)
        worst = max(worst, float(off.max()) if bool(torch.isfinite(off).all()) else float("inf"))
    if worst > TOLERANCE:
        raise _differs(f"off by {worst:.2g} (relative), more than {TOLERANCE:g}")
    return worst


def _differs(said: str) -> ModelError:
    return ModelError(
        "TL-EXPORT-DIFFERS",
        "the exported model says something else than the model, so that nothing was written",
        found=said,
        fix="choose another format (`tlplat export --help`)",
    )


def as_json(done: Exported) -> dict[str, Any]:
    """For ``--json``."""
    return {
        "path": str(done.path),
        "format": done.form,
        "checked_rows": done.rows,
        "largest_difference": done.difference,
    }
