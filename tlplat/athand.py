"""The rows that a fit has at hand: its labelled ones, unlabelled rows of the target, labelled rows of the source."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from tlplat.data.examples import Batch, Examples, Inputs, to_device
from tlplat.data.order import RowOrder
from tlplat.tasks.base import Task

UNLABELED_SALT, SOURCE_SALT = 0x0B5E, 0x50CE


@dataclass(frozen=True)
class AtHand:
    """Rows that edits and behaviours may learn from; never a validation or test row's target.

    Batches are functions of (seed, step): a resumed fit sees the same ones, and asking twice gives the same rows.

    Attributes:
        task: what is predicted. labelled: the fit's own training rows.
        unlabeled: rows of the target without labels, or None. source: labelled rows of the source, or None.
        seed: of the fit. batch_size: rows of a step.
    """

    task: Task
    labelled: Examples
    unlabeled: Inputs | None = None
    source: Examples | None = None
    seed: int = 0
    batch_size: int = 32
    _orders: dict[int, RowOrder] = field(default_factory=dict, repr=False, compare=False)

    def unlabeled_batch(self, step: int, device: torch.device) -> Batch:
        """Inputs of the step's unlabelled rows; ValueError where there is none."""
        if self.unlabeled is None:
            raise ValueError("no unlabelled rows are at hand: the strategy must require `unlabeled`")
        found: Batch = to_device(self.unlabeled.take(self._index(UNLABELED_SALT, len(self.unlabeled), step)), device)
        return found

    def source_batch(self, step: int, device: torch.device) -> tuple[Batch, Tensor]:
        """Inputs and targets of the step's source rows; ValueError where there is none."""
        if self.source is None:
            raise ValueError("no source rows are at hand: the plan must look for `source_rows` in the task's offers")
        index = self._index(SOURCE_SALT, len(self.source), step)
        return to_device(self.source.inputs.take(index), device), self.source.targets[index].to(device)

    def labelled_batch(self, step: int, device: torch.device) -> Batch:
        """Inputs of the rows that the step trains on."""
        found: Batch = to_device(self.labelled.inputs.take(self._index(0, len(self.labelled), step)), device)
        return found

    def _index(self, salt: int, count: int, step: int) -> Tensor:
        if salt not in self._orders:
            self._orders[salt] = RowOrder(count, self.batch_size, self.seed + salt)
        return self._orders[salt].index(step)
