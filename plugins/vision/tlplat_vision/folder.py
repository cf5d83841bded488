"""A folder as transformers' save_pretrained leaves it, or as tlplat keeps sources, as a source model; no code runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from tlplat.data.examples import state_digest
from tlplat.errors import ModelError
from tlplat.model import SourceModel
from tlplat.modelio import load_source
from tlplat.plan import Ref
from tlplat.storage import read_tensors
from tlplat.tasks.classification import Classification
from tlplat.weights import need_one_file
from tlplat_vision.preprocess import RESAMPLING, Fit, Preprocess
from tlplat_vision.transformer import BACKBONES, KINDS, library

WEIGHTS = "model.safetensors"
LEFT_OUT = ("id2label", "label2id", "transformers_version", "architectures", "dtype", "torch_dtype", "_name_or_path")
"""Keys of config.json that say nothing of the structure."""


@torch.random.fork_rng(devices=[])
def load_folder(path: Path) -> SourceModel:
    """The source model in a folder.

    Raises:
        ModelError TL-MODEL-PATH: neither source.json nor config.json. TL-MODEL-FORMAT: weights, but no safetensors.
        TL-MODEL-UNSUPPORTED: another architecture. TL-MODEL-CONFIG, TL-MODEL-KEYS, TL-MODEL-CORRUPT.
        PluginError TL-PLUGIN-EXTRA: transformers is not installed.
    """
    if (path / "source.json").exists():
        return load_source(path)
    if not (path / "config.json").is_file():
        raise ModelError(
            "TL-MODEL-PATH",
            f"{path} holds no source model",
            where=str(path / "config.json"),
            fix="name a folder made by `tlplat pretrain` or by save_pretrained of a vision model of transformers",
        )
    weights = need_one_file(path, WEIGHTS)
    document = _json(path / "config.json")
    kind = _kind(document, path)
    tensors, _ = read_tensors(weights)  # whole and sound, before the library sees it
    headed = any(name.startswith("classifier.") for name in tensors)
    model = _model(path, kind, headed)
    inner = getattr(model, model.base_model_prefix) if headed else model
    structure = {k: v for k, v in inner.config.to_diff_dict().items() if k not in LEFT_OUT}
    preprocess, mean, std = _preprocess(path, document)
    args = {"config": {**structure, "model_type": kind}, "mean": mean, "std": std}
    parts = BACKBONES[kind].parts(inner)
    state = {f"blocks.{n}.{k}": v.detach().float() for n, block in parts.items() for k, v in block.state_dict().items()}
    state = {k: v if "num_batches" not in k else v.long() for k, v in state.items()}
    head, task = _head(model, document) if headed else (None, None)
    digest = state_digest({**state, **{f"head.{k}": v for k, v in (head or {}).items()}})
    return SourceModel(
        name=path.resolve().name,
        base=Ref(BACKBONES[kind].name, args),
        state=state,
        head=head,
        task=None if task is None else task.info(),
        preprocess=preprocess.to_json(),
        provenance={
            "data": f"a {KINDS[kind]} model in a folder of yours",
            "license": "not stated",
            "citation": "not stated",
            "weights_sha256": digest,
        },
    )


def _json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise ModelError(
            "TL-MODEL-CONFIG", f"{path.name} is no JSON: {error}", where=str(path), fix="save the model again"
        ) from error
    if not isinstance(document, dict):
        raise ModelError("TL-MODEL-CONFIG", f"{path.name} is no object", where=str(path), fix="save the model again")
    return document


def _kind(document: Mapping[str, Any], path: Path) -> str:
    kind = document.get("model_type")
    if isinstance(kind, str) and kind in KINDS:
        return kind
    remote = " that brings code of its own, which is never run" if "auto_map" in document else ""
    raise ModelError(
        "TL-MODEL-UNSUPPORTED",
        f"{path.name} is a {kind!r} model{remote}",
        where=str(path / "config.json"),
        found=f"model_type {kind!r}",
        expected=", ".join(KINDS),
        fix="choose a model of one of these kinds",
    )


def _model(path: Path, kind: str, headed: bool) -> Any:
    """The library's model with the folder's weights, every one of them there."""
    names = library()
    factory = getattr(names, KINDS[kind] + ("ForImageClassification" if headed else "Model"))
    plain = {"add_pooling_layer": False} if kind == "vit" and not headed else {}
    try:
        model, said = factory.from_pretrained(
            str(path),
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            **plain,
        )
    except (ValueError, TypeError, KeyError, AttributeError, OSError, RuntimeError) as error:
        raise ModelError(
            "TL-MODEL-CONFIG",
            f"transformers cannot build the model: {str(error).splitlines()[0]}",
            where=str(path),
            fix="use the config.json that belongs to these weights",
        ) from error
    wrong = sorted(str(k) for key in ("missing_keys", "mismatched_keys") for k in said.get(key, ()))
    if wrong:
        raise ModelError(
            "TL-MODEL-KEYS",
            f"{len(wrong)} tensors of the model are not in its weights",
            where=str(path / WEIGHTS),
            found=", ".join(wrong[:5]),
            fix="use the weights that belong to this config.json; a backbone is never loaded in part",
        )
    return model.eval()


def _head(model: Any, document: Mapping[str, Any]) -> tuple[dict[str, Any], Classification]:
    """The classifier's weight and bias, and what it predicts."""
    linear = [m for m in model.classifier.modules() if hasattr(m, "out_features")][-1]
    names = document.get("id2label") or {}
    labels = [str(names.get(str(i), f"LABEL_{i}")) for i in range(linear.out_features)]
    if len(set(labels)) < len(labels):
        labels = [f"{i} {label}" for i, label in enumerate(labels)]
    head = {"weight": linear.weight.detach().float(), "bias": linear.bias.detach().float()}
    return head, Classification(labels=labels)


def _preprocess(path: Path, document: Mapping[str, Any]) -> tuple[Preprocess, list[float], list[float]]:
    """As preprocessor_config.json says; without it the model's image size, and a mean and spread of a half."""
    file = path / "preprocessor_config.json"
    given = _json(file) if file.is_file() else {}
    size, shape = given.get("size", document.get("image_size", 224)), given.get("crop_size")
    fit: Fit = "stretch"
    crop = 1.0
    side = _side(size)
    if given.get("do_center_crop") and shape is not None:
        fit, crop, side = "crop", min(1.0, _side(shape) / side), _side(shape)
    elif isinstance(size, Mapping) and "shortest_edge" in size and "crop_pct" in given and side < 384:
        fit, crop = "crop", float(given["crop_pct"])
    filters = {int(v): k for k, v in RESAMPLING.items()}
    resample = filters.get(int(given.get("resample", Image.Resampling.BILINEAR)), "bilinear")
    mean, std = (
        [float(v) for v in given.get(key, (0.5,) * 3)] if given.get("do_normalize", True) else list(plain)
        for key, plain in (("image_mean", (0.0,) * 3), ("image_std", (1.0,) * 3))
    )
    channels = int(document.get("num_channels", 3))
    return Preprocess(side, channels, fit, crop, resample=resample), mean[:channels], std[:channels]


def _side(size: Any) -> int:
    if isinstance(size, Mapping):
        return int(size.get("height", size.get("shortest_edge", 224)))
    return int(size[0] if isinstance(size, list) else size)
