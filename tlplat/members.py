"""A plan's members trained from one start, and their weights made into one model, as validation decides."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from tlplat.athand import AtHand
from tlplat.combine import Option, choose, mixed, options, untuned
from tlplat.data.examples import Examples
from tlplat.features import apply_in_batches, conclude
from tlplat.model import TransferModel
from tlplat.plan import TransferPlan
from tlplat.registry import Registry
from tlplat.tasks.base import Task
from tlplat.train import FitResult, FitSettings, fit


@dataclass(frozen=True)
class Decision:
    """What validation decided, for fits that keep no validation rows.

    Attributes:
        stop_at: for each member, the step that its schedule ends at; None runs it to its end.
        option: which members make the model, and how.
    """

    stop_at: tuple[int | None, ...]
    option: Option

    def to_json(self) -> dict[str, Any]:
        return {
            "stop_at": list(self.stop_at),
            "members": list(self.option.members),
            "coefficient": self.option.coefficient,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Decision:
        option = Option(tuple(document["members"]), document["coefficient"])
        return cls(tuple(document["stop_at"]), option)


@dataclass(frozen=True)
class Scored:
    """An option on validation rows: mean loss a row, and decoded predictions."""

    option: Option
    loss: float
    predictions: np.ndarray


@dataclass(frozen=True)
class Trained:
    """What :func:`train_members` did.

    Attributes:
        result: steps of all members together; the curve puts one member's steps after the other's.
        decision: as given, else what the validation rows say, else the untuned option.
        scored: every option on the validation rows; empty where there was nothing to choose.
    """

    result: FitResult
    decision: Decision
    scored: Sequence[Scored] = field(default=())


def train_members(
    model: TransferModel,
    plan: TransferPlan,
    train: Examples,
    task: Task,
    *,
    steps: int,
    seed: int,
    settings: FitSettings,
    registry: Registry,
    validation: Examples | None = None,
    keep_best: bool = False,
    decision: Decision | None = None,
    checkpoint: Path | None = None,
    rows: AtHand | None = None,
    warn: Callable[[str], None] = lambda sentence: None,
    advance: Callable[[float], None] = lambda units: None,
    told: Callable[[Mapping[str, Any]], None] = lambda point: None,
) -> Trained:
    """Train each member from the weights that ``model`` has, and leave the combined ones in it.

    ``steps`` is shared: each member gets its ``share``. With a ``decision`` only its members are trained, each up to
    its ``stop_at``. Members keep their checkpoints apart, so a killed trial resumes within the member it was in.
    ``told`` is given each point of a learning curve, with its ``member``.
    """

    def one(number: int) -> FitResult:
        member = plan.members[number]
        folder = checkpoint / f"member-{number}" if checkpoint is not None and len(plan.members) > 1 else checkpoint
        return fit(
            model,
            member.phases(plan.phases),
            train,
            task,
            steps=max(1, round(steps * member.share)),
            seed=member_seed(seed, member.seed_offset),
            settings=settings,
            registry=registry,
            validation=validation,
            keep_best=keep_best,
            stop_at=decision.stop_at[number] if decision is not None else None,
            checkpoint=folder,
            rows=rows,
            warn=warn,
            advance=advance,
            told=lambda point: told({**point, "member": number}),
        )

    ways = options(plan)
    if ways == [Option((0,))]:
        result = one(0)
        return Trained(result, decision or Decision((result.best_step,), ways[0]))
    start, states = copied(model), dict[int, Mapping[str, Tensor]]()
    whole = FitResult()
    stop_at: list[int | None] = [None] * len(plan.members)
    for number in range(len(plan.members)) if decision is None else decision.option.members:
        model.load_state_dict(start)
        result = one(number)
        states[number], stop_at[number] = copied(model), result.best_step
        whole.curve += [{**point, "step": whole.steps + point["step"]} for point in result.curve]
        whole.steps += result.steps
        whole.trained_parameters = result.trained_parameters
    scored = []
    if decision is None and validation is not None and len(ways) > 1:
        for option in ways:
            model.load_state_dict(mixed(start, states, option))
            outputs = apply_in_batches(model, model, validation.inputs)
            decoded = conclude(task, model, train).decode(outputs)
            scored.append(Scored(option, float(task.loss(outputs, validation.targets)), decoded))
    if decision is None:
        chosen = choose(plan.combine, {s.option: s.loss for s in scored}) if scored else untuned(plan)
        decision = Decision(tuple(stop_at), chosen)
    model.load_state_dict(mixed(start, states, decision.option))
    return Trained(whole, decision, scored)


def member_seed(seed: int, offset: int) -> int:
    """The trial's seed for offset 0; for another, one that no trial of the run has."""
    if offset == 0:
        return seed
    digest = hashlib.blake2b(f"{seed}/member/{offset}".encode(), digest_size=6).digest()
    return int.from_bytes(digest, "big")


def copied(model: TransferModel) -> dict[str, Tensor]:
    """The model's tensors, detached from it."""
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
