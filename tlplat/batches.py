"""One step's rows and its gradient: order as a function of (seed, epoch, step), memory by splitting."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from tlplat.data.examples import Batch, Examples, to_device
from tlplat.data.order import RowOrder
from tlplat.edits import Behaviour
from tlplat.memory import no_memory, out_of_memory
from tlplat.model import TransferModel, model_device
from tlplat.tasks.base import Task


class Batches(RowOrder):
    """The training rows and the order of their numbers."""

    def __init__(self, train: Examples, batch_size: int, seed: int) -> None:
        super().__init__(len(train), batch_size, seed)
        self.train = train


class Gradients:
    """Fills ``.grad`` for one step's rows; halves the part that is in memory at once until it fits."""

    def __init__(
        self, model: TransferModel, task: Task, precision: str, parts: int, warn: Callable[[str], None]
    ) -> None:
        self.model, self.task, self.warn = model, task, warn
        self.parameters = list(model.parameters())
        self.autocast = precision == "bfloat16"
        self.parts = parts if task.loss_unit == "row" else 1

    def compute(
        self, index: Tensor, train: Examples, behaviours: Sequence[Behaviour], seed: int, supervised: bool = True
    ) -> float:
        """Mean loss over the rows ``index``; the gradient is the same however many parts it takes.

        Without ``supervised`` it is the behaviours' ``step_loss`` alone, and no labelled row is looked at.

        Raises:
            ResourceError TL-OOM: a single row, or a loss over a set, does not fit.
        """
        while True:
            try:
                return self._attempt(index if supervised else index[:0], train, behaviours, seed)
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                rows = -(-len(index) // self.parts)
                if rows <= 1 or self.task.loss_unit == "set":
                    raise no_memory(rows, self.task.loss_unit) from error
                self.parts *= 2
                self.warn(
                    f"out of memory: rows computed at once go from batch {rows} -> {-(-len(index) // self.parts)}; "
                    f"the effective batch stays {len(index)} by accumulation"
                )

    def _attempt(self, index: Tensor, train: Examples, behaviours: Sequence[Behaviour], seed: int) -> float:
        for parameter in (*self.parameters, *(p for b in behaviours for p in b.parameters())):
            parameter.grad = None
        device = model_device(self.model)
        seed_default(seed, device)
        generator = torch.Generator().manual_seed(seed)
        total = 0.0
        for rows in torch.tensor_split(index, min(self.parts, len(index))) if len(index) else ():
            batch: Batch = to_device(train.inputs.varied(rows), device)
            targets = train.targets[rows].to(device)
            for behaviour in behaviours:
                batch, targets = behaviour.on_batch(batch, targets, generator)
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=self.autocast):
                outputs = self.model(batch)
            loss = self.task.loss(outputs.float(), targets)
            if not bool(torch.isfinite(loss)):  # before a behaviour's algebra stumbles over it
                return math.nan
            for behaviour in behaviours:
                extra = behaviour.loss(self.model, batch, outputs)
                loss = loss if extra is None else loss + extra
            share = len(rows) / len(index)
            (loss * share).backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach()) * share
        for behaviour in behaviours:
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=self.autocast):
                beside = behaviour.step_loss(self.model)
            if beside is not None:
                beside.backward()  # type: ignore[no-untyped-call]
                total += float(beside.detach())
        return total


def seed_default(seed: int, device: torch.device) -> None:
    """Seed the generators that dropout draws from (``torch.manual_seed`` formats a stack each time: 1 ms a step)."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
