"""A weights file of the user's as a source model: tensors of a backbone and, under ``head.``, of its head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from tlplat.data.examples import state_digest
from tlplat.errors import ModelError
from tlplat.model import Backbone, SourceModel
from tlplat.modelio import load_state
from tlplat.plan import Ref
from tlplat.tasks.classification import Classification
from tlplat.weights import read_weights


@dataclass(frozen=True)
class WeightsFile:
    """What a file holds, parted.

    Attributes:
        tensors: as they are named in the file. backbone: without the prefix ``backbone.``. head: float32, without
            ``head.``; empty where the file has none.
    """

    path: Path
    tensors: Mapping[str, Tensor]
    backbone: Mapping[str, Tensor]
    head: Mapping[str, Tensor]

    @classmethod
    def read(cls, path: Path) -> WeightsFile:
        """The file, safetensors or a state dict of torch's; raises what :func:`tlplat.weights.read_weights` raises."""
        tensors = read_weights(path)
        body = {k.removeprefix("backbone."): t for k, t in tensors.items() if not k.startswith("head.")}
        head = {k.removeprefix("head."): t.float() for k, t in tensors.items() if k.startswith("head.")}
        return cls(path, tensors, body, head)

    def source(self, backbone: Backbone, preprocess: Mapping[str, Any], labels: Sequence[str]) -> SourceModel:
        """The source whose weights the file holds; ``backbone`` is of its architecture and takes the weights.

        Classes are numbered where ``labels`` does not name each of them.

        Raises:
            ModelError TL-MODEL-KEYS, TL-MODEL-SHAPE: tensors are missing, unexpected or do not fit.
        """
        load_state(backbone, dict(self.backbone), str(self.path))
        task = self._task(backbone.feature_dim, labels)
        return SourceModel(
            name=self.path.stem,
            base=Ref(backbone.name, backbone.config()),
            state={name: t.clone() for name, t in backbone.state_dict().items()},
            head=dict(self.head) if task is not None else None,
            task=None if task is None else task.info(),
            preprocess=dict(preprocess),
            provenance={
                "data": f"not known: the file {self.path.name} of the user's",
                "license": "not stated",
                "citation": "not stated",
                "weights_sha256": state_digest(self.tensors),
            },
        )

    def _task(self, width: int, labels: Sequence[str]) -> Classification | None:
        """Classes of the head; None where there is no head over classes."""
        if not self.head:
            return None
        classes = len(self.head["weight"]) if "weight" in self.head else 0
        if {k: tuple(t.shape) for k, t in self.head.items()} != {"weight": (classes, width), "bias": (classes,)}:
            raise ModelError(
                "TL-MODEL-SHAPE",
                f"the head in {self.path.name} does not fit the network",
                where=str(self.path),
                found=", ".join(f"{k} {tuple(t.shape)}" for k, t in self.head.items()),
                expected=f"weight (classes, {width}) and bias (classes,)",
                fix="save backbone and head of one model, or leave the head out",
            )
        if classes < 2:
            return None
        return Classification(labels if len(labels) == classes else [f"class-{i}" for i in range(classes)])
