"""The transfer plan: what a strategy declares and the core carries out. Values only; JSON both ways."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

WEIGHTS = ("source", "random")
STARTS = ("source_head", "fresh", "fitted")
COMBINES = ("none", "average", "greedy_average", "interpolate")
MOST_MEMBERS = 5
"""Every subset of a soup's members is scored on validation, so that folds can agree on one: 31 of 5."""


@dataclass(frozen=True)
class Ref:
    """A registered edit, behaviour or factory, by name, with JSON arguments."""

    name: str
    args: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Budget:
    """What one trial may spend, counted in training steps so that every strategy gets the same.

    Attributes:
        steps: optimiser steps in all, over all phases.
        batch_size: rows a step.
        rows: labelled rows that the steps run over.
    """

    steps: int
    batch_size: int
    rows: int


@dataclass(frozen=True)
class ParamGroup:
    """Trainable parameters whose names match ``pattern`` (fnmatch) and no earlier group's.

    Attributes:
        pattern: over names of the TransferModel's parameters, such as ``backbone.blocks.conv2.*`` or ``head.*``.
        rate_scale: factor on the phase's learning rate.
        weight_decay: decoupled (AdamW) decay, or None for the phase's.
    """

    pattern: str
    rate_scale: float = 1.0
    weight_decay: float | None = None


@dataclass(frozen=True)
class Phase:
    """One stretch of training.

    Attributes:
        trainable: fnmatch patterns over parameter names; all else is frozen, its buffers included.
        share: part of the budget's steps that this phase gets, in (0, 1].
        learning_rate: peak rate of AdamW; warmed up and decayed to zero over the phase.
        weight_decay: decoupled weight decay.
        groups: rates and decays that differ from the phase's.
        behaviours: what else acts on a step (an L2-SP penalty, mixup), by name.
        supervised: False leaves the task's loss out, so that behaviours alone say what is learnt.
    """

    trainable: tuple[str, ...]
    learning_rate: float
    share: float = 1.0
    weight_decay: float = 0.0
    groups: tuple[ParamGroup, ...] = ()
    behaviours: tuple[Ref, ...] = ()
    supervised: bool = True


@dataclass(frozen=True)
class Member:
    """One training of the plan's phases from the plan's start, independent of the other members.

    Attributes:
        rate_scale: factor on each phase's learning rate.
        weight_decay: decay of each phase instead of its own, or None.
        seed_offset: 0 trains with the trial's seed (order of rows, dropout), any other number with a seed of its own.
        share: part of the trial's steps, in (0, 1].
    """

    rate_scale: float = 1.0
    weight_decay: float | None = None
    seed_offset: int = 0
    share: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ValueError(f"Member.share is {self.share}, not in (0, 1]")
        if not self.rate_scale > 0:
            raise ValueError(f"Member.rate_scale is {self.rate_scale}, not above 0")

    def phases(self, phases: tuple[Phase, ...]) -> tuple[Phase, ...]:
        """The phases as this member trains them."""
        decays = [p.weight_decay if self.weight_decay is None else self.weight_decay for p in phases]
        return tuple(
            dataclasses.replace(p, learning_rate=p.learning_rate * self.rate_scale, weight_decay=decay)
            for p, decay in zip(phases, decays, strict=True)
        )


@dataclass(frozen=True)
class TransferPlan:
    """A strategy's whole declaration.

    Members share the trial's steps, so their ``share`` may add up to 1 at most: a soup costs what every other trial
    costs, and wins only where the mean of short trainings beats one long training.

    Attributes:
        weights: ``source`` copies the source's backbone; ``random`` initialises the same architecture.
        start: the head before training: the ``source_head`` (label spaces must match), a ``fresh`` one, or one
            ``fitted`` on frozen features by the task's ``fit_head``.
        edits: changes of the structure, applied once, in order, before training.
        phases: training; none means that the start is the result.
        members: trainings of the phases, each from the same start; one without overrides by default.
        combine: how the members' weights become one model. ``none``: the member of least validation loss.
            ``average``: the mean of all. ``greedy_average``: members in order of validation loss, each kept in the
            mean where that does not raise the loss. ``interpolate``: from the start's weights to the members' mean,
            at the one of ``coefficients`` of least validation loss. Without validation rows: the first member, the
            mean of all, the middle coefficient.
        coefficients: of ``interpolate``, increasing in [0, 1]; 0 is the start and 1 the members' mean.
        finish: edits after training and combining (merge adapters, bake a mask).
        fit_options: options of the task's ``fit_head`` where start is ``fitted``; ``"toward": "source"`` hands it the
            source's head.
    """

    weights: Literal["source", "random"] = "source"
    start: Literal["source_head", "fresh", "fitted"] = "fresh"
    edits: tuple[Ref, ...] = ()
    phases: tuple[Phase, ...] = ()
    members: tuple[Member, ...] = (Member(),)
    combine: Literal["none", "average", "greedy_average", "interpolate"] = "none"
    coefficients: tuple[float, ...] = ()
    finish: tuple[Ref, ...] = ()
    fit_options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, allowed in (("weights", WEIGHTS), ("start", STARTS), ("combine", COMBINES)):
            if getattr(self, name) not in allowed:
                raise ValueError(f"TransferPlan.{name} is {getattr(self, name)!r}, not one of {', '.join(allowed)}")
        if not 1 <= len(self.members) <= MOST_MEMBERS:
            raise ValueError(f"TransferPlan.members are {len(self.members)}, not 1 to {MOST_MEMBERS}")
        if not self.phases and (self.combine != "none" or len(self.members) > 1):
            raise ValueError("TransferPlan.members and combine need phases to train")
        shares = sum(m.share for m in self.members)
        if shares > 1 + 1e-9:
            raise ValueError(f"TransferPlan.members take {shares:g} of the steps; they share them, so at most 1")
        increasing = sorted(set(self.coefficients)) == list(self.coefficients)
        within = all(0 <= c <= 1 for c in self.coefficients)
        if bool(self.coefficients) != (self.combine == "interpolate") or not increasing or not within:
            raise ValueError(
                f"TransferPlan.coefficients are {self.coefficients} with combine {self.combine!r}: "
                "interpolate needs increasing ones in [0, 1], nothing else takes any"
            )

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> TransferPlan:
        """The plan of :meth:`to_json`; raises TypeError on an unknown field."""
        d = dict(document)
        for key in ("edits", "finish"):
            d[key] = tuple(Ref(**r) for r in d.get(key, ()))
        d["phases"] = tuple(_phase(p) for p in d.get("phases", ()))
        if "members" in d:
            d["members"] = tuple(Member(**m) for m in d["members"])
        d["coefficients"] = tuple(d.get("coefficients", ()))
        return cls(**d)

    @property
    def frozen(self) -> bool:
        """True where no phase trains anything, so that cached features give the whole result."""
        return not self.phases


def _phase(document: Mapping[str, Any]) -> Phase:
    d = dict(document)
    d["trainable"] = tuple(d["trainable"])
    d["groups"] = tuple(ParamGroup(**g) for g in d.get("groups", ()))
    d["behaviours"] = tuple(Ref(**b) for b in d.get("behaviours", ()))
    return Phase(**d)


def json_hash(document: Any, length: int = 8) -> str:
    """The first hex digits of the SHA-256 of the canonical JSON of ``document``."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:length]
