"""A model on disk: safetensors and JSON, no pickle, no import path; rebuilt from registered factories and edits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from torch import Tensor

from tlplat.edits import rebuild_edits
from tlplat.errors import Finding, ModelError
from tlplat.model import SourceModel, TaskInfo, TransferModel
from tlplat.plan import Ref
from tlplat.registry import Registry
from tlplat.storage import check_manifest, read_json, read_tensors, write_json, write_manifest, write_tensors
from tlplat.tasks.base import Task

FORMAT = 1
CALIBRATION = "calibration.json"
"""What held-out predictions say on how to read the model's (:meth:`Task.calibration`), in its folder."""


@dataclass(frozen=True)
class LoadedModel:
    """A model read back, with its task and preprocessing."""

    model: TransferModel
    task: Task
    preprocess: Mapping[str, Any]
    manifest: Mapping[str, Any]


def save_model(
    folder: Path,
    model: TransferModel,
    task: TaskInfo,
    preprocess: Mapping[str, Any],
    registry: Registry,
    extra: Mapping[str, Any],
    plugins: Iterable[tuple[str, str]] = (),
) -> None:
    """Write ``model.safetensors structure.json preprocess.json labels.json`` and, last, the manifest.

    Args:
        extra: further facts for the manifest. plugins: (kind, name) needed beyond the model's own parts.
    """
    write_tensors(folder / "model.safetensors", dict(model.state_dict()))
    write_json(
        folder / "structure.json",
        {"format": FORMAT, "base": _ref(model.base), "edits": [_ref(e) for e in model.edits]},
    )
    write_json(folder / "preprocess.json", dict(preprocess))
    write_json(folder / "labels.json", {"task": task.kind, "labels": list(task.labels), "options": dict(task.options)})
    needed = [("backbones", model.base.name), ("tasks", task.kind), *(("edits", e.name) for e in model.edits), *plugins]
    write_manifest(folder, {**extra, "requires": requirements(needed, registry)})


def load_model(folder: Path, registry: Registry) -> LoadedModel:
    """Rebuild the model of :func:`save_model` and check every file against the manifest first.

    ``registry`` must hold the parts that :func:`required_plugins` names.

    Raises:
        ModelError TL-MODEL-CORRUPT: a file is missing or fails its checksum.
        ModelError TL-MODEL-VERSION: written by a newer tlplat.
        ModelError TL-MODEL-KEYS: tensors do not fit the structure.
    """
    manifest = check_manifest(folder)
    structure = read_json(folder / "structure.json")
    if structure.get("format", 0) > FORMAT:
        raise ModelError(
            "TL-MODEL-VERSION",
            f"the model has format {structure['format']}, and this tlplat reads up to {FORMAT}",
            where=str(folder / "structure.json"),
            fix="pip install --upgrade tlplat",
        )
    labels = read_json(folder / "labels.json")
    task: Task = registry.get("tasks", labels["task"])(**labels["options"])
    backbone = registry.get("backbones", structure["base"]["name"])(**structure["base"]["args"])
    model = TransferModel(backbone, task.head(backbone.feature_dim))
    rebuild_edits(model, [Ref(**e) for e in structure["edits"]], registry)
    tensors, _ = read_tensors(folder / "model.safetensors")
    load_state(model, tensors, str(folder / "model.safetensors"))
    return LoadedModel(model.eval(), task, read_json(folder / "preprocess.json"), manifest)


def load_state(model: Any, tensors: Mapping[str, Tensor], where: str) -> None:
    """``load_state_dict`` with every missing, unexpected or misshapen tensor named."""
    own = model.state_dict()
    missing, unexpected = sorted(own.keys() - tensors.keys()), sorted(tensors.keys() - own.keys())
    if missing or unexpected:
        raise ModelError(
            "TL-MODEL-KEYS",
            f"the tensors do not fit the structure: {len(missing)} missing, {len(unexpected)} unexpected",
            where=where,
            found=f"missing {missing[:5]}, unexpected {unexpected[:5]}",
            fix="use the weights that belong to this structure.json; the backbone is never loaded in part",
        )
    wrong = [k for k, v in own.items() if v.shape != tensors[k].shape]
    if wrong:
        raise ModelError(
            "TL-MODEL-SHAPE",
            f"{len(wrong)} tensors have another shape than the structure",
            where=where,
            findings=[Finding(f"expected {tuple(own[k].shape)}, got {tuple(tensors[k].shape)}", k) for k in wrong],
            fix="use the weights that belong to this structure",
        )
    model.load_state_dict(dict(tensors))


def required_plugins(folder: Path) -> list[tuple[str, str]]:
    """(entry-point group, name) of the plugins that the model in ``folder`` needs."""
    return [(r["group"], r["plugin"]) for r in check_manifest(folder)["requires"] if r["plugin"]]


def requirements(needed: Iterable[tuple[str, str]], registry: Registry) -> list[dict[str, str]]:
    """What to install to load the model: plugin, distribution and version of each (kind, name)."""
    found: dict[tuple[str, str], dict[str, str]] = {}
    for kind, name in needed:
        group, plugin = registry.plugins[kind, name]
        owner = registry.owner(kind, name)
        found[group, plugin] = {"group": group, "plugin": plugin, "distribution": owner}
    return [found[key] for key in sorted(found)]


def save_source(folder: Path, source: SourceModel, domain: str | None = None) -> None:
    """Write a source model: ``model.safetensors source.json`` and the manifest. ``domain``: that made it."""
    tensors = {f"backbone.{k}": v for k, v in source.state.items()}
    tensors |= {f"head.{k}": v for k, v in (source.head or {}).items()}
    write_tensors(folder / "model.safetensors", tensors)
    task = source.task
    write_json(
        folder / "source.json",
        {
            "format": FORMAT,
            "name": source.name,
            **({} if domain is None else {"domain": domain}),
            "base": _ref(source.base),
            "task": task
            and {"kind": task.kind, "outputs": task.outputs, "labels": task.labels, "options": task.options},
            "preprocess": dict(source.preprocess),
            "provenance": dict(source.provenance),
        },
    )
    write_manifest(folder, {"kind": "source"})


def load_source(folder: Path) -> SourceModel:
    """The source of :func:`save_source`, checksums verified."""
    check_manifest(folder)
    document = read_json(folder / "source.json")
    tensors, _ = read_tensors(folder / "model.safetensors")
    head = {k.removeprefix("head."): v for k, v in tensors.items() if k.startswith("head.")}
    task = document["task"]
    return SourceModel(
        name=document["name"],
        base=Ref(**document["base"]),
        state={k.removeprefix("backbone."): v for k, v in tensors.items() if k.startswith("backbone.")},
        head=head or None,
        task=TaskInfo(task["kind"], task["outputs"], tuple(task["labels"]), task["options"]) if task else None,
        preprocess=document["preprocess"],
        provenance=document["provenance"],
    )


def package_versions(names: Iterable[str]) -> dict[str, str]:
    """Installed versions of distributions; those not installed are left out."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _ref(ref: Ref) -> dict[str, Any]:
    return {"name": ref.name, "args": dict(ref.args)}
