"""A weights file of the user's as a source model, where it is of one of the networks that this domain pretrains."""

from __future__ import annotations

from pathlib import Path

import torch
from pydantic import TypeAdapter, ValidationError

from tlplat.intake import told
from tlplat.model import Backbone, SourceModel
from tlplat.weights import metadata_of
from tlplat.weightsource import WeightsFile
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
    file = WeightsFile.read(path)
    backbone = _nearest({k: tuple(t.shape) for k, t in file.backbone.items()}, task)
    preprocess, labels = told(metadata_of(path), "genomics")
    return file.source(backbone, (_told(preprocess) or Preprocess(WINDOWS[task][2])).to_json(), labels)


def _nearest(shapes: dict[str, tuple[int, ...]], task: str) -> Backbone:
    """Of the networks that are pretrained for the task, and then for the other, the one that fits most tensors."""
    bases = [recipe.base for (of, _), recipe in sorted(RECIPES.items(), key=lambda item: item[0][0] != task)]
    made = [NETWORKS[base.name](**base.args) for base in bases]

    def fitting(net: Backbone) -> int:
        return len({(k, tuple(t.shape)) for k, t in net.state_dict().items()} & set(shapes.items()))

    return max(made, key=fitting)


def _told(preprocess: object) -> Preprocess | None:
    if preprocess is None:
        return None
    try:
        fields = {name: preprocess[name] for name in Preprocess.__dataclass_fields__}  # type: ignore[index]
        return TypeAdapter(Preprocess).validate_python(fields)
    except (KeyError, TypeError, ValidationError):
        return None
