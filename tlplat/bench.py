"""What all trials of a run share, and the rows that they run over."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from tlplat.athand import AtHand
from tlplat.data.examples import Batch, Examples, Inputs
from tlplat.features import FeatureStore
from tlplat.model import TaskInfo
from tlplat.registry import Registry
from tlplat.tasks.base import Task
from tlplat.train import FitSettings


@dataclass(frozen=True)
class Rows:
    """Rows ``index`` of ``examples``; features are cached for the whole of ``examples`` and indexed."""

    examples: Examples
    index: Tensor

    @classmethod
    def all(cls, examples: Examples) -> Rows:
        return cls(examples, torch.arange(len(examples)))

    def taken(self) -> Examples:
        return self.examples.select(self.index)

    @property
    def targets(self) -> Tensor:
        return self.examples.targets[self.index]

    def retargeted(self, targets: Tensor) -> Rows:
        """The same rows with these targets (len(index), ...); rows outside the index have none (NaN)."""
        whole = targets.new_full((len(self.examples), *targets.shape[1:]), torch.nan)
        whole[self.index] = targets
        return Rows(dataclasses.replace(self.examples, targets=whole), self.index)

    def example(self) -> Batch:
        """The first two rows."""
        return self.examples.inputs.take(self.index[:2])


@dataclass(frozen=True)
class Bench:
    """What all trials of a run share.

    Attributes:
        steps: optimiser steps of a fit on ``n`` training rows.
        fit_settings: of the training loop.
        unlabeled: rows of the target without labels, or None. source_rows: labelled rows of the source, or None.
        count_costs: a fit counts its multiply-adds, which takes as long as several steps.
        keep_rows: a model may hold training rows (:attr:`tlplat.domain.Domain.keeps_rows`).
    """

    task: Task
    registry: Registry
    store: FeatureStore
    fit_settings: FitSettings
    steps: Callable[[int], int]
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    warn: Callable[[str], None] = lambda sentence: None
    unlabeled: Inputs | None = None
    source_rows: Examples | None = None
    keep_rows: bool = True
    count_costs: bool = True

    @property
    def task_info(self) -> TaskInfo:
        """The task as strategies see it: with what the run's data offer besides."""
        info = self.task.info()
        here = {"unlabeled": self.unlabeled, "source_rows": self.source_rows, "keep_rows": self.keep_rows or None}
        return dataclasses.replace(info, offers=info.offers | {k for k, v in here.items() if v is not None})

    def at_hand(self, train: Rows, seed: int) -> AtHand:
        """What a fit on ``train`` may look at."""
        return AtHand(
            self.task,
            train.taken(),
            self.unlabeled,
            self.source_rows,
            seed,
            self.fit_settings.batch_size,
        )
