"""The task contract: head, loss, closed fits, metrics, the trivial baseline, decoding."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from tlplat.model import TaskInfo


class Metric(Protocol):
    """A score of predictions: its name (``auroc``, ``accuracy``), its direction, and the score itself."""

    @property
    def name(self) -> str: ...
    @property
    def higher_is_better(self) -> bool: ...

    def __call__(self, targets: np.ndarray, predictions: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        """The score for each row of ``weights`` (b, n), shape (b,); without weights one score, shape (1,).

        Undefined (one class only) is NaN.
        """


@dataclass(frozen=True)
class HeadFit:
    """A head solved on fixed features.

    Attributes:
        weight: (outputs, d). bias: (outputs,).
        validation_loss: cross-validated mean loss a row at the chosen options; NaN where nothing was chosen.
        chosen: what the solver chose (JSON).
    """

    weight: Tensor
    bias: Tensor
    validation_loss: float
    chosen: Mapping[str, Any]


class Task(ABC):
    """One kind of prediction. An instance knows its labels and options, and holds no data."""

    name: ClassVar[str]
    summary: ClassVar[str]
    loss_unit: ClassVar[Literal["row", "set"]] = "row"
    """``set``: the loss is over the whole batch (a risk set), so a step is never split."""

    @abstractmethod
    def info(self) -> TaskInfo:
        """The task as values; ``registry.get("tasks", info.kind)(**info.options)`` builds it again."""

    @property
    @abstractmethod
    def metrics(self) -> Sequence[Metric]:
        """The first is primary: it decides selection and verdict."""

    @abstractmethod
    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean loss over the rows, a scalar with gradient."""

    @abstractmethod
    def decode(self, outputs: Tensor) -> np.ndarray:
        """Head outputs (n, outputs) as predictions: float64 probabilities (n, classes) for classification."""

    @abstractmethod
    def trivial(self, targets: Tensor) -> np.ndarray:
        """One prediction row (classes,) of the baseline that looks at the targets alone."""

    def head(self, feature_dim: int) -> nn.Module:
        """A fresh head; the caller's RNG decides its weights."""
        return nn.Linear(feature_dim, self.info().outputs)

    def fit_head(self, z: Tensor, y: Tensor, options: Mapping[str, Any]) -> HeadFit:
        """Solve the linear head on fixed features z (n, d); offered where ``info().offers`` has ``fit_head``."""
        raise TypeError(f"task {self.name} offers no fit_head")

    def strata(self, targets: Tensor) -> Tensor:
        """(n,) int64 that splits are stratified by; default: one stratum."""
        return torch.zeros(len(targets), dtype=torch.int64)

    def check(self, targets: Tensor, ids: Sequence[str]) -> None:
        """Raise DataError for targets that the task cannot learn from."""
