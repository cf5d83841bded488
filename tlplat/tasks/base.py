"""The task contract: head, loss, closed fits, metrics, the trivial baseline, decoding, and how predictions read.

A strategy never asks which task it serves: it asks what the task offers. Capabilities that a task may offer:

- ``loss``: :meth:`Task.loss` has a gradient, so that weights can be trained by steps.
- ``row_loss``: besides, the loss of a batch is the mean over its rows, so that a batch may be split.
- ``fit_head``: :meth:`Task.fit_head` solves a linear head on fixed features.
- ``probabilities``: :meth:`Task.decode` gives probabilities of ``info().labels``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, Self

import numpy as np
import torch
from torch import Tensor, nn

from tlplat.errors import DataError, Finding, UsageError, did_you_mean
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


@dataclass(frozen=True)
class Evidence:
    """What a closer look at one candidate rests on.

    Attributes:
        targets, predictions: of the test rows; predictions of the first seed, whose fit is the one that is kept.
        seen, said: targets and out-of-fold predictions of validation rows, those of all seeds one after the other.
        rows: validation rows of one seed.
        least: a count of fewer rows must not be shown; 1 shows all. Above 1 no single row's values may be shown either.
    """

    targets: np.ndarray
    predictions: np.ndarray
    seen: np.ndarray
    said: np.ndarray
    rows: int
    least: int = 1


def check_whole(targets: Tensor, ids: Sequence[str], bound: int, what: str = "label") -> None:
    """Refuse (TL-DATA-LABEL-RANGE) whole numbers (n,) outside [0, ``bound``), each named by its row and id."""
    wrong = torch.nonzero((targets < 0) | (targets >= bound)).flatten().tolist()
    if wrong:
        raise DataError(
            "TL-DATA-LABEL-RANGE",
            f"{len(wrong)} of {len(targets)} {what}s are outside [0, {bound})",
            findings=[
                Finding(f"{what} out of range", f"row {i} ({ids[i]})", str(int(targets[i])), f"[0, {bound})")
                for i in wrong
            ],
            fix=f"number the {what}s 0 to {bound - 1}, or declare more of them",
        )


class Task(ABC):
    """One kind of prediction. An instance knows its labels and options, and holds no data.

    Targets are a tensor whose first dimension is the rows; what a row of it holds is the task's affair (a class, a
    number, time and event, a padded list of boxes), and so is what a row of outputs and of predictions holds.

    A fit goes: ``settled`` on the training rows' targets; where ``prepares``, their targets are extended; ``head`` or
    ``fit_head``; steps on ``loss``; where ``concludes``, ``concluded`` on the fitted model's outputs; ``decode``. The
    task of the end is saved with the model, as ``info().options``.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    loss_unit: Literal["row", "set"] = "row"
    """``set``: the loss is over the whole batch (a risk set), so a step is never split."""
    least_batch: int = 1
    """A step takes at least so many rows, where there are as many: a loss over a set means little on a few."""
    prepares: bool = False
    concludes: bool = False
    trivial_name: ClassVar[str] = "trivial"
    """What the baseline of :meth:`trivial` is called."""
    decision_words: str = "the mean of the model's outputs"
    """What :meth:`decision` is, in words."""
    trivial_summary: ClassVar[str] = "predicts the same for every row, from the training rows' targets alone"

    @classmethod
    def example(cls) -> Task:
        """An instance with plain options, that listings and docs describe; needed where an argument has no default."""
        return cls()

    @abstractmethod
    def info(self) -> TaskInfo:
        """The task as values; ``registry.get("tasks", info.kind)(**info.options)`` builds it again."""

    @property
    @abstractmethod
    def metrics(self) -> Sequence[Metric]:
        """The first is primary: it decides selection and verdict. They are the same before and after ``settled``."""

    def metric_unit(self, name: str) -> str:
        """What the metric is measured in, such as ``mm``; empty for a pure number."""
        return ""

    def measured_by(self, metric: str) -> Self:
        """The task with that one of its metrics as the primary one; it must have an option ``metric``.

        Raises:
            UsageError TL-TASK-METRIC: it has no such metric, or no choice of one.
        """
        known = [m.name for m in self.metrics]
        options = self.info().options
        if metric not in known or "metric" not in options:
            raise UsageError(
                "TL-TASK-METRIC",
                f"this {self.name} task cannot be measured by {metric!r}{did_you_mean(metric, known)}",
                expected=", ".join(known if "metric" in options else known[:1]),
                fix="give one of these to --metric, or leave it out",
            )
        return type(self)(**{**options, "metric": metric})

    def balanced(self) -> Task:
        """The task in which classes count alike, however rare; for tasks that choose among classes.

        Raises:
            UsageError TL-TASK-BALANCE: it chooses among none.
        """
        raise UsageError(
            "TL-TASK-BALANCE",
            f"a {self.name} task has no classes to balance",
            fix="leave out --balance",
        )

    def unbalanced(self) -> Task:
        """The task as it was before :meth:`balanced`; default: itself."""
        return self

    def as_they_occur(self, evidence: Evidence) -> np.ndarray:
        """The test rows' predictions with classes as frequent as they are; default: the predictions.

        For what acts on probabilities: costs, thresholds, net benefit.
        """
        return evidence.predictions

    def among(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Outputs as :meth:`loss` takes them for rows of another set, of which ``targets`` are all; default: the same.

        Where classes count alike, with the frequencies of that set in place of those of the training rows.
        """
        return outputs

    def rebalanced(self, predictions: np.ndarray) -> np.ndarray:
        """Predictions of the :meth:`unbalanced` task, of a baseline say, as this one makes them; default: the same.

        Called on a task that is ``settled``.
        """
        return predictions

    @abstractmethod
    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean loss over the rows, a scalar with gradient."""

    @abstractmethod
    def decode(self, outputs: Tensor) -> np.ndarray:
        """Head outputs (n, outputs) as float64 predictions (n, ...), in the targets' own units.

        Probabilities (n, classes) for classification. Metrics, baselines and reports know predictions, not outputs.
        """

    @abstractmethod
    def trivial(self, targets: Tensor) -> np.ndarray:
        """One row of predictions, that of the baseline that looks at the targets alone."""

    @property
    def prediction_shape(self) -> tuple[int, ...] | None:
        """Shape of one row's prediction; None where it varies. Default: one number an output."""
        return (self.info().outputs,)

    def settled(self, targets: Tensor) -> Task:
        """The task with what it takes from the training rows' targets (a scale, a time grid); default: as it is.

        Never called with a validation or test row. Options that come of it must be part of ``info().options``.
        """
        return self

    def prepare(self, train: tuple[Tensor, Tensor], others: Sequence[tuple[Tensor, Tensor]], seed: int) -> list[Tensor]:
        """Targets of ``train``, then of each of ``others``, extended by columns that ``loss`` needs.

        Called where ``prepares``, before a fit, with (features (n, d), targets) pairs. Columns for training rows are
        cross-fitted: a row's own target has no part in them. Those for others come from all training rows. Features
        are the frozen source's; of width 0 for a baseline that must use nothing of the source.
        """
        raise TypeError(f"task {self.name} prepares no targets")

    def concluded(self, outputs: Tensor, targets: Tensor) -> Task:
        """The task with what ``decode`` takes from the fitted model's outputs on training rows (a baseline hazard).

        Called where ``concludes``, after a fit.
        """
        return self

    def head(self, feature_dim: int) -> nn.Module:
        """A fresh head; the caller's RNG decides its weights."""
        return nn.Linear(feature_dim, self.info().outputs)

    def fit_head(self, z: Tensor, y: Tensor, options: Mapping[str, Any]) -> HeadFit:
        """Solve the linear head on fixed features z (n, d); offered where ``info().offers`` has ``fit_head``.

        Args:
            options: ``weight_decays`` tried by cross-validation: the penalty is half of it times |W|^2, beside the mean
                loss a row on standardised features. ``fold``: (n,) numbers of the folds for it, where rows must not be
                dealt out (blocks of time).
        """
        raise TypeError(f"task {self.name} offers no fit_head")

    def takes_head(self, source: TaskInfo) -> bool:
        """Whether a head that predicts ``source`` predicts what this task does; default: same kind and labels."""
        mine = self.info()
        return (source.kind, source.labels, source.outputs) == (mine.kind, mine.labels, mine.outputs)

    def adopt_head(self, weight: Tensor, bias: Tensor, source: TaskInfo) -> tuple[Tensor, Tensor]:
        """The source's linear head in this task's units, where :meth:`takes_head`; default: as it is."""
        return weight, bias

    def strata(self, targets: Tensor) -> Tensor:
        """(n,) int64 that splits are stratified by, or (n, c) of {0, 1} where a row is of several; default: one."""
        return torch.zeros(len(targets), dtype=torch.int64)

    def regressands(self, targets: Tensor) -> Tensor | None:
        """Targets as transferability scores take them: (n,) int64 classes, (n,) or (n, k) float numbers, or None."""
        return targets

    def check(self, targets: Tensor, ids: Sequence[str]) -> None:
        """Raise DataError for targets that the task cannot learn from."""

    def check_labelled(self, targets: Tensor) -> None:
        """Raise DataError where the labelled rows, training and validation, are too few of a kind to be split."""

    def facts(self, targets: Tensor) -> dict[str, Any]:
        """What quality.json says of a part's targets: counts and moments, no row's value (JSON)."""
        return {}

    def calibration(self, evidence: Evidence) -> dict[str, Any] | None:
        """What held-out predictions say on how to read the model's (JSON, kept as calibration.json); None for nothing.

        A temperature, the half-width of an interval. :meth:`prediction_rows` is handed it back.
        """
        return None

    def prediction_rows(self, decoded: np.ndarray, calibration: Mapping[str, Any] | None) -> list[dict[str, Any]]:
        """What ``tlplat predict`` says of each row: ``prediction``, then scalars or {name: number} maps (JSON)."""
        return [{"prediction": row} for row in decoded.tolist()]

    def outputs_text(self) -> str:
        """How the head's outputs become predictions, as :meth:`decode` does it, in words and formulas.

        It goes with every exported model, beside ``options`` (those of :meth:`info`) and ``calibration``.
        """
        return ""

    def chosen(self, outputs: Tensor) -> Tensor:
        """What an explanation of each row asks of :meth:`decision`, one row of a tensor each; default: nothing."""
        return outputs.new_zeros(len(outputs))

    def decision(self, outputs: Tensor, chosen: Tensor) -> Tensor:
        """(rows,) one number a row, with gradient, that an explanation takes apart; default: the mean output.

        Args:
            chosen: what :meth:`chosen` said of the outputs of the rows as they are; held while their pieces change.
        """
        return outputs.mean(dim=1)

    def detail(self, evidence: Evidence) -> dict[str, Any]:
        """A closer look at the two best candidates, for report.json's ``details``.

        ``charts`` and ``tables`` are drawn by the report, as :mod:`tlplat.report.parts` says; other keys are kept as
        they are.
        """
        return {}
