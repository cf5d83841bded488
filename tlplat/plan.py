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
    """

    trainable: tuple[str, ...]
    learning_rate: float
    share: float = 1.0
    weight_decay: float = 0.0
    groups: tuple[ParamGroup, ...] = ()
    behaviours: tuple[Ref, ...] = ()


@dataclass(frozen=True)
class TransferPlan:
    """A strategy's whole declaration.

    Attributes:
        weights: ``source`` copies the source's backbone; ``random`` initialises the same architecture.
        start: the head before training: the ``source_head`` (label spaces must match), a ``fresh`` one, or one
            ``fitted`` on frozen features by the task's ``fit_head``.
        edits: changes of the structure, applied once, in order, before training.
        phases: training; none means that the start is the result.
        finish: edits after training (merge adapters, bake a mask).
        fit_options: options of the task's ``fit_head`` where start is ``fitted``.
    """

    weights: Literal["source", "random"] = "source"
    start: Literal["source_head", "fresh", "fitted"] = "fresh"
    edits: tuple[Ref, ...] = ()
    phases: tuple[Phase, ...] = ()
    finish: tuple[Ref, ...] = ()
    fit_options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, allowed in (("weights", WEIGHTS), ("start", STARTS)):
            if getattr(self, name) not in allowed:
                raise ValueError(f"TransferPlan.{name} is {getattr(self, name)!r}, not one of {', '.join(allowed)}")

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> TransferPlan:
        """The plan of :meth:`to_json`; raises TypeError on an unknown field."""
        d = dict(document)
        for key in ("edits", "finish"):
            d[key] = tuple(Ref(**r) for r in d.get(key, ()))
        d["phases"] = tuple(_phase(p) for p in d.get("phases", ()))
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
