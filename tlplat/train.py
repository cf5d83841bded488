"""The one training loop: phases, behaviours, validation, early stopping, exact resume."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from tlplat.athand import AtHand
from tlplat.batches import Batches, Gradients
from tlplat.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from tlplat.data.examples import Examples
from tlplat.edits import Behaviour
from tlplat.errors import NonFiniteError
from tlplat.features import apply_in_batches
from tlplat.model import TransferModel
from tlplat.plan import Phase
from tlplat.registry import Registry
from tlplat.tasks.base import Task
from tlplat.trainable import make_optimizer, set_trainable

WARM_UP = 0.1


@dataclass(frozen=True)
class FitSettings:
    """How the loop runs, whatever the strategy.

    Attributes:
        batch_size: rows a step (an epoch is cut into equal batches near this size).
        clip_norm: bound on the gradient's global norm.
        precision: ``bfloat16`` runs the forward under autocast; weights stay float32.
        accumulate: parts that a step's batch is computed in, for memory.
        evaluations: how often validation is scored over the whole fit.
        patience: evaluations without a better validation loss before stopping (only where the best is kept).
        checkpoint_seconds, checkpoint_steps: when a checkpoint is due; None never.
    """

    batch_size: int = 32
    clip_norm: float = 1.0
    precision: Literal["float32", "bfloat16"] = "float32"
    accumulate: int = 1
    evaluations: int = 8
    patience: int = 10
    checkpoint_seconds: float | None = 20.0
    checkpoint_steps: int | None = None


@dataclass
class FitResult:
    """What a fit did: steps taken, the learning curve, the step whose weights were kept, parameters trained."""

    steps: int = 0
    curve: list[dict[str, Any]] = field(default_factory=list)
    best_step: int | None = None
    trained_parameters: int = 0


def fit(
    model: TransferModel,
    phases: Sequence[Phase],
    train: Examples,
    task: Task,
    *,
    steps: int,
    seed: int,
    settings: FitSettings,
    registry: Registry,
    validation: Examples | None = None,
    keep_best: bool = False,
    stop_at: int | None = None,
    checkpoint: Path | None = None,
    rows: AtHand | None = None,
    warn: Callable[[str], None] = lambda sentence: None,
    advance: Callable[[float], None] = lambda units: None,
    told: Callable[[Mapping[str, Any]], None] = lambda point: None,
) -> FitResult:
    """Train ``model`` in place.

    The order of rows and every random number of a step are functions of (seed, step), so a fit that is stopped
    anywhere and called again with the same ``checkpoint`` folder ends bitwise equal to one that was not.

    Args:
        steps: optimiser steps over all phases; each phase gets its ``share``.
        validation: scored ``settings.evaluations`` times; with ``keep_best`` it also stops the fit early, and the
            weights of least validation loss are the result.
        stop_at: end after this many steps of the schedule (an earlier fit's best step); None runs it to its end.
        checkpoint: folder for checkpoints; a valid one there is resumed from.
        rows: what behaviours may look at besides; None lends them the training rows alone.
        told: is given each point of the learning curve.

    Raises:
        NonFiniteError TL-NUM-NONFINITE: loss or gradient is NaN or infinite; nothing non-finite is ever saved.
        ResourceError TL-OOM: one row, or a loss over a set, does not fit into memory.
    """
    loop = _Loop(model, task, train, validation, keep_best, settings, seed, steps, checkpoint, warn)
    loop.stop_at = steps if stop_at is None else stop_at
    loop.told = told
    loop.rows = rows or AtHand(task, train, seed=seed, batch_size=settings.batch_size)
    with torch.random.fork_rng(devices=[]):
        saved = load_checkpoint(checkpoint, warn) if checkpoint else None
        done = 0
        for number, phase in enumerate(phases):
            length = max(1, round(steps * phase.share))
            names = set_trainable(model, phase.trainable)
            loop.trained.update(names)
            if saved is not None and saved.state["phase"] > number:
                done += length
                continue
            loop.run_phase(number, phase, done, length, registry, saved, advance)
            saved = None
            done += length
            if loop.stopped:
                break
    loop.finish()
    count = sum(p.numel() for n, p in model.named_parameters() if n in loop.trained)
    return FitResult(loop.step, loop.curve, loop.best_step, count)


class _Loop:
    """State of one fit, and one step of it."""

    rows: AtHand
    told: Callable[[Mapping[str, Any]], None]

    def __init__(
        self,
        model: TransferModel,
        task: Task,
        train: Examples,
        validation: Examples | None,
        keep_best: bool,
        settings: FitSettings,
        seed: int,
        steps: int,
        folder: Path | None,
        warn: Callable[[str], None],
    ) -> None:
        self.model, self.task, self.settings, self.seed = model, task, settings, seed
        self.validation, self.keep_best, self.folder = validation, keep_best, folder
        self.batches = Batches(train, settings.batch_size, seed)
        self.gradients = Gradients(model, task, settings.precision, settings.accumulate, warn)
        self.every = max(1, steps // max(1, settings.evaluations))
        self.step = 0
        self.curve: list[dict[str, Any]] = []
        self.best: dict[str, Tensor] = {}
        self.best_loss, self.stale = math.inf, 0
        self.best_step: int | None = None
        self.stopped = False
        self.stop_at = steps
        self.trained: set[str] = set()
        self.saved_at = time.monotonic()
        self.saved_step: int | None = None

    def run_phase(
        self,
        number: int,
        phase: Phase,
        start: int,
        length: int,
        registry: Registry,
        saved: Checkpoint | None,
        advance: Callable[[float], None],
    ) -> None:
        behaviours = [registry.get("behaviours", b.name)(**b.args) for b in phase.behaviours]
        for k, behaviour in enumerate(behaviours):
            behaviour.lend(self.rows)
            behaviour.setup(self.model, torch.Generator().manual_seed(_step_seed(self.seed, -1 - k)))
        try:
            self._run_steps(number, phase, start, length, behaviours, saved, advance)
        finally:
            for behaviour in behaviours:
                behaviour.close(self.model)

    def _run_steps(
        self,
        number: int,
        phase: Phase,
        start: int,
        length: int,
        behaviours: Sequence[Behaviour],
        saved: Checkpoint | None,
        advance: Callable[[float], None],
    ) -> None:
        extra = [p for behaviour in behaviours for p in behaviour.parameters()]
        optimizer = make_optimizer(self.model, phase, extra)
        self.step = start
        if saved is not None:
            self._restore(saved, optimizer, behaviours)
            advance(self.step - start)
        parameters = [*(p for p in self.model.parameters() if p.requires_grad), *extra]
        loss = 0.0
        for step in range(self.step - start, length):
            rate = phase.learning_rate * _rate(step, length)
            try:
                for behaviour in behaviours:
                    behaviour.begin_step(self.model, start + step, step / length)
                loss = self._step(optimizer, behaviours, parameters, rate, start + step, phase.supervised)
                for behaviour in behaviours:
                    behaviour.on_step(self.model, (step + 1) / length)
            except Exception as error:
                error.add_note(f"in epoch {(start + step) // self.batches.per_epoch + 1}, step {start + step + 1}")
                raise
            self.step = start + step + 1
            advance(1)
            if self.step % self.every == 0 or step + 1 == length or self.step == self.stop_at:
                self._evaluate(loss, all(b.settled for b in behaviours))
            self.stopped = self.stopped or self.step >= self.stop_at
            if self.stopped:
                break
            if self.folder is not None and self._due():
                self._save(number, optimizer, behaviours)

    def _step(
        self,
        optimizer: torch.optim.Optimizer,
        behaviours: Sequence[Behaviour],
        parameters: Sequence[torch.nn.Parameter],
        rate: float,
        step: int,
        supervised: bool,
    ) -> float:
        for group in optimizer.param_groups:
            group["lr"] = rate * group["rate_scale"]
        seed = _step_seed(self.seed, step)
        index = self.batches.index(step)
        loss = self.gradients.compute(index, self.batches.train, behaviours, seed, supervised)
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.settings.clip_norm)
        if not (math.isfinite(loss) and bool(torch.isfinite(norm))):
            kept = f"step {self.saved_step}" if self.saved_step is not None else "none yet"
            raise NonFiniteError(
                "TL-NUM-NONFINITE",
                f"the loss or its gradient is not finite at step {step + 1} (loss {loss})",
                where=f"step {step + 1}; last finite checkpoint: {kept}",
                fix="lower the learning rate (--set train.learning_rate=1e-3), or look for extreme values in the data",
            )
        optimizer.step()
        return loss

    def _evaluate(self, train_loss: float, settled: bool) -> None:
        if self.curve and self.curve[-1]["step"] == self.step:
            return
        point: dict[str, Any] = {"step": self.step, "train_loss": train_loss}
        if self.validation is not None:
            outputs = apply_in_batches(self.model, self.model, self.validation.inputs)
            targets = self.validation.targets
            point["validation_loss"] = float(self.task.loss(outputs, targets))
            score = float(self.task.metrics[0](targets.numpy(), self.task.decode(outputs))[0])
            point["validation_metric"] = score if math.isfinite(score) else None
            if self.keep_best and settled:
                self._keep(point["validation_loss"])
        self.curve.append(point)
        self.told(point)

    def _keep(self, loss: float) -> None:
        if loss < self.best_loss:
            self.best_loss, self.best_step, self.stale = loss, self.step, 0
            self.best = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        else:
            self.stale += 1
            self.stopped = self.stale >= self.settings.patience

    def finish(self) -> None:
        if self.best:
            self.model.load_state_dict(self.best)
        self.model.eval()

    def _due(self) -> bool:
        by_steps, by_time = self.settings.checkpoint_steps, self.settings.checkpoint_seconds
        if by_steps is not None and self.step % by_steps == 0:
            return True
        return by_time is not None and time.monotonic() - self.saved_at >= by_time

    def _save(self, phase: int, optimizer: torch.optim.Optimizer, behaviours: Sequence[Behaviour]) -> None:
        assert self.folder is not None
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"best.{k}": v for k, v in self.best.items()}
        for i, slots in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{i}.{k}": v for k, v in slots.items()}
        for i, behaviour in enumerate(behaviours):
            tensors |= {f"behaviour.{i}.{k}": v for k, v in behaviour.state_dict().items()}
        state = {
            "phase": phase,
            "curve": self.curve,
            "best_loss": self.best_loss if self.best else None,
            "best_step": self.best_step,
            "stale": self.stale,
            "parts": self.gradients.parts,
        }
        save_checkpoint(self.folder, Checkpoint(self.step, tensors, state))
        self.saved_at, self.saved_step = time.monotonic(), self.step

    def _restore(self, saved: Checkpoint, optimizer: torch.optim.Optimizer, behaviours: Sequence[Behaviour]) -> None:
        self.model.load_state_dict(_under("model.", saved.tensors))
        self.best = _under("best.", saved.tensors)
        slots: dict[int, dict[str, Tensor]] = {}
        for name, tensor in _under("optimizer.", saved.tensors).items():
            number, key = name.split(".", 1)
            slots.setdefault(int(number), {})[key] = tensor
        optimizer.load_state_dict({"state": slots, "param_groups": optimizer.state_dict()["param_groups"]})
        for i, behaviour in enumerate(behaviours):
            behaviour.load_state_dict(_under(f"behaviour.{i}.", saved.tensors))
        state = saved.state
        self.step = self.saved_step = saved.step
        self.curve, self.stale, self.best_step = state["curve"], state["stale"], state["best_step"]
        self.best_loss = math.inf if state["best_loss"] is None else state["best_loss"]
        self.gradients.parts = state["parts"]


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _rate(step: int, length: int) -> float:
    """Linear warm-up over the first tenth, then cosine to zero (Loshchilov & Hutter 2017)."""
    warm = max(1, round(length * WARM_UP))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, length - warm)))


def _step_seed(seed: int, step: int) -> int:
    return int.from_bytes(hashlib.blake2b(f"{seed}/{step}".encode(), digest_size=8).digest(), "big") >> 1
