"""A weights file of the user's as a source model, where it is of one of the networks that this domain pretrains."""

from __future__ import annotations

from pathlib import Path

import torch
from pydantic import TypeAdapter, ValidationError

from tlplat.data.examples import state_digest
from tlplat.errors import ModelError
from tlplat.intake import told
from tlplat.model import Backbone, SourceModel
from tlplat.modelio import load_state
from tlplat.plan import Ref
from tlplat.tasks.classification import Classification
from tlplat.weights import metadata_of, read_weights
from tlplat_genomics.backbone import StrandedCnn
from tlplat_genomics.codon import CodonFrames
from tlplat_genomics.normed import NormedCnn
from tlplat_genomics.preprocess import Preprocess
from tlplat_genomics.sources import RECIPES
from tlplat_genomics.windows import WINDOWS

NETWORKS: dict[str, type[Backbone]] = {net.name: net for net in (StrandedCnn, NormedCnn, CodonFrames)}


@torch.random.fork_rng(devices=[])
def load_checkpoint(path: Path, task: str) -> SourceModel:
    """The network whose tensors the file holds, told by their names and shapes, for windows of the task's length.

    A file of ``tlplat export --format safetensors`` brings the length of its windows and its labels.

    Raises:
        ModelError TL-MODEL-KEYS, TL-MODEL-SHAPE: the tensors do not fit the network that is nearest. What
            :func:`tlplat.weights.read_weights` raises.
    """
    tensors = read_weights(path)
    plain = {k.removeprefix("backbone."): t for k, t in tensors.items() if not k.startswith("head.")}
    head = {k.removeprefix("head."): t.float() for k, t in tensors.items() if k.startswith("head.")}
    backbone = _nearest({k: tuple(t.shape) for k, t in plain.items()}, task)
    load_state(backbone, plain, str(path))
    preprocess, labels = told(metadata_of(path), "genomics")
    classes = len(head["weight"]) if "weight" in head else 0
    shapes = {"weight": (classes, backbone.feature_dim), "bias": (classes,)}
    if head and {k: tuple(t.shape) for k, t in head.items()} != shapes:
        raise ModelError(
            "TL-MODEL-SHAPE",
            f"the head in {path.name} does not fit the network",
            where=str(path),
            found=", ".join(f"{k} {tuple(t.shape)}" for k, t in head.items()),
            expected=f"weight (classes, {backbone.feature_dim}) and bias (classes,)",
            fix="save backbone and head of one model, or leave the head out",
        )
    named = labels if len(labels) == classes else tuple(f"class-{i}" for i in range(classes))
    kept = Classification(labels=list(named)) if classes >= 2 else None
    return SourceModel(
        name=path.stem,
        base=Ref(backbone.name, backbone.config()),
        state={name: t.clone() for name, t in backbone.state_dict().items()},
        head=head if kept else None,
        task=kept.info() if kept else None,
        preprocess=(_told(preprocess) or Preprocess(WINDOWS[task][2])).to_json(),
        provenance={
            "data": f"not known: the file {path.name} of the user's",
            "license": "not stated",
            "citation": "not stated",
            "weights_sha256": state_digest(tensors),
        },
    )


def _nearest(shapes: dict[str, tuple[int, ...]], task: str) -> Backbone:
    """Of the networks that are pretrained for the task, and then for the other, the one that fits most tensors."""
    bases = [recipe.base for (of, _), recipe in sorted(RECIPES.items(), key=lambda item: item[0][0] != task)]
    made = [NETWORKS[base.name](**base.args) for base in bases]

    def fitting(net: Backbone) -> int:
        return len({(k, tuple(t.shape)) for k, t in net.state_dict().items()} & set(shapes.items()))

    return max(made, key=fitting)


def _told(preprocess: object) -> Preprocess | None:
    try:
        return (
            None
            if preprocess is None
            else TypeAdapter(Preprocess).validate_python(
                {name: preprocess[name] for name in Preprocess.__dataclass_fields__}  # type: ignore[index]
            )
        )
    except (KeyError, TypeError, ValidationError):
        return None
