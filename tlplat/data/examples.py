"""Rows as strategies see them: inputs of any shape, targets, and the units that must stay together."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

Batch: TypeAlias = Tensor | Mapping[str, Tensor]
"""What a backbone's forward receives: a tensor, or named tensors (token ids and mask)."""


class Inputs(ABC):
    """n model inputs that can be taken by index and hashed; how they are stored is the domain's affair."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def take(self, index: Tensor) -> Batch:
        """The batch of the rows ``index`` (int64, any order, repeats allowed), first dimension = len(index)."""

    def varied(self, index: Tensor) -> Batch:
        """As :meth:`take`, the way a training step sees rows: a domain may alter them (augmentation).

        Random numbers come from torch's default generator, which the loop seeds for each step.
        """
        return self.take(index)

    @abstractmethod
    def select(self, index: Tensor) -> Inputs:
        """The rows ``index`` as inputs of their own."""

    @abstractmethod
    def digest(self) -> str:
        """SHA-256 of the content, which keys the feature cache: equal rows, equal digest."""

    def batches(self, size: int) -> list[Tensor]:
        """Row numbers of batches that are computed one after another, each row in one; at most ``size`` rows each.

        Default: in order. Inputs of different lengths may sort, so that rows of like length are padded together.
        """
        return list(torch.split(torch.arange(len(self)), size))


class TensorInputs(Inputs):
    """Rows of one tensor (n, ...), in memory."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor

    def __len__(self) -> int:
        return len(self.tensor)

    def take(self, index: Tensor) -> Tensor:
        return self.tensor[index]

    def select(self, index: Tensor) -> TensorInputs:
        return TensorInputs(self.tensor[index])

    def digest(self) -> str:
        return tensor_digest(self.tensor)


@dataclass(frozen=True)
class Examples:
    """Labelled rows.

    Attributes:
        inputs: n model inputs.
        targets: (n,) int64 class indices, (n, c) float for multi-label, or as the task defines.
        ids: n names, as the user would search for them (record id, file, row number).
        groups: (n,) int64 or None; rows of one group never sit on both sides of a split or fold.
        units: (n,) int64 or None; what the bootstrap resamples (patient, sequence cluster, time block).
        spans: (n, 2) int64 or None, for rows of time series: the first and the last moment that a row's inputs and
            target are made of, the last one later by an embargo where there is one. Folds are then blocks of time, and
            rows whose spans overlap never sit on both sides.
        validation: (n,) bool or None: rows that the user set apart to choose by; they are then the one fold.
    """

    inputs: Inputs
    targets: Tensor
    ids: Sequence[str]
    groups: Tensor | None = None
    units: Tensor | None = None
    spans: Tensor | None = None
    validation: Tensor | None = None

    def __post_init__(self) -> None:
        n = len(self.inputs)
        sizes = {"targets": len(self.targets), "ids": len(self.ids)}
        sizes |= {k: len(v) for k in ("groups", "units", "spans", "validation") if (v := getattr(self, k)) is not None}
        wrong = {k: v for k, v in sizes.items() if v != n}
        if wrong:
            raise ValueError(f"Examples of {n} inputs with lengths {wrong}")

    def __len__(self) -> int:
        return len(self.inputs)

    def select(self, index: Tensor) -> Examples:
        """The rows ``index`` (int64) as examples of their own."""
        return Examples(
            inputs=self.inputs.select(index),
            targets=self.targets[index],
            ids=[self.ids[i] for i in index.tolist()],
            groups=None if self.groups is None else self.groups[index],
            units=None if self.units is None else self.units[index],
            spans=None if self.spans is None else self.spans[index],
            validation=None if self.validation is None else self.validation[index],
        )


def tensor_digest(tensor: Tensor) -> str:
    """SHA-256 over dtype, shape and bytes."""
    data = tensor.detach().cpu().contiguous()
    digest = hashlib.sha256(f"{data.dtype}{tuple(data.shape)}".encode())
    digest.update(data.flatten().view(torch.uint8).numpy().data if data.numel() else b"")
    return digest.hexdigest()


def state_digest(state: Mapping[str, Tensor]) -> str:
    """SHA-256 over the names and contents of a state dict, in name order."""
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(f"{name}={tensor_digest(state[name])};".encode())
    return digest.hexdigest()


def to_device(batch: Batch, device: torch.device) -> Any:
    """The batch on ``device``; a no-op where it is there already."""
    if isinstance(batch, Tensor):
        return batch.to(device)
    return {k: v.to(device) for k, v in batch.items()}
