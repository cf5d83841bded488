"""Sources in order of promise: every transferability score on the labelled rows, led by what is held out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import linear

from tlplat.evaluate import ALPHA, Estimate, Resamples, Scores
from tlplat.features import FeatureStore
from tlplat.model import SourceModel
from tlplat.registry import Registry
from tlplat.tasks.base import Task
from tlplat.transferability import (
    agreement,
    h_score,
    leep,
    log_me,
    n_leep,
    nce,
    probe_predictions,
    shrunk_h_score,
    transrate,
)
from tlplat.view import View

REPEATS = 3
"""Partitions that the probe is repeated on: the folds' luck is averaged out."""
TITLES: Mapping[str, str] = {
    "probe": "cross-validated probe",
    "zero_shot": "the source's own head",
    "log_me": "LogME",
    "shrunk_h_score": "H-score, shrunk",
    "h_score": "H-score",
    "leep": "LEEP",
    "nce": "NCE",
    "n_leep": "N-LEEP",
    "transrate": "TransRate",
}
"""Every score by the name that JSON gives it. Probe and own head are in the task's metric; in the others higher is
better."""
_ON_CLASSES: Mapping[str, Callable[[Tensor, Tensor], float]] = {
    "shrunk_h_score": shrunk_h_score,
    "h_score": h_score,
    "n_leep": n_leep,
    "transrate": transrate,
}


@dataclass(frozen=True)
class RankedSource:
    """A source with its scores on the labelled rows.

    Attributes:
        called: what users type. source: its own name. dimension: of its features.
        scores: by name (:data:`TITLES`); None where undefined. missing: why, for these.
        held_out: the probe's metric, or the own head's, by name: what the order goes by.
        behind: how far the first source is ahead, paired over rows and repeats, positive where it is better.
    """

    called: str
    source: str
    dimension: int
    scores: Mapping[str, float | None]
    missing: Mapping[str, str]
    held_out: Mapping[str, Scores] = field(default_factory=dict, repr=False)
    behind: Estimate | None = None

    def interval(self, name: str) -> list[float] | None:
        """Of the probe or the own head, over resampling units and repeats, at 95 %."""
        if name not in self.held_out:
            return None
        estimate = self.held_out[name].estimate()
        return [estimate.low, estimate.high]

    def promise(self, higher_is_better: bool) -> Scores | None:
        """The better of probe and own head; None where neither is defined."""
        sign = 1 if higher_is_better else -1
        known = [s for s in self.held_out.values() if math.isfinite(s.estimate().mean)]
        return max(known, key=lambda s: sign * s.estimate().mean, default=None)

    def to_json(self) -> dict[str, Any]:
        behind = self.behind and {"difference": self.behind.mean, "interval": [self.behind.low, self.behind.high]}
        return {
            "name": self.called,
            "source": self.source,
            "dimension": self.dimension,
            "scores": dict(self.scores),
            "intervals": {name: self.interval(name) for name in self.held_out},
            "behind": behind or None,
            "missing": dict(self.missing),
        }


def score_source(view: View, store: FeatureStore, registry: Registry, draws: Resamples) -> RankedSource:
    """All scores of one source; features come from the cache, where a run finds them again."""
    task, labelled = view.target.task, view.labelled
    z, y = store.features(view.source, labelled.inputs), labelled.targets
    made: dict[str, float | None] = dict.fromkeys(TITLES)
    missing: dict[str, str] = {}
    held_out: dict[str, Scores] = {}

    def hold(name: str, predictions: Sequence[np.ndarray]) -> None:
        held_out[name] = Scores.of(task.metrics[0], y.numpy(), predictions, draws)
        made[name] = held_out[name].estimate().mean

    if "fit_head" in task.info().offers:
        hold("probe", probe_predictions(z, labelled, task, range(REPEATS)))
    else:
        missing["probe"] = f"the task {task.name} has no closed fit of a head"
    source = view.source
    if source.head is not None and source.task is not None and task.takes_head(source.task):
        settled = task.settled(y)
        weight, bias = settled.adopt_head(source.head["weight"].cpu(), source.head["bias"].cpu(), source.task)
        outputs = linear(z, weight, bias)
        settled = settled.concluded(outputs, y) if settled.concludes else settled
        hold("zero_shot", [settled.decode(outputs)] * REPEATS)
    else:
        missing["zero_shot"] = "the source has no head that predicts the target's labels"
    scored = task.regressands(y)
    if scored is None:
        missing["log_me"] = f"the targets of {task.name} are neither classes nor numbers"
    else:
        made["log_me"] = log_me(z, scored)
    y = y if scored is None else scored
    by_class = y.ndim == 1 and not y.is_floating_point()
    theta, why = _own_predictions(view.source, z, registry)
    if by_class:
        made |= {name: score(z, y) for name, score in _ON_CLASSES.items()}
    else:
        why = "it is defined for one label a row"
        missing |= dict.fromkeys(_ON_CLASSES, why)
    if by_class and theta is not None:
        made["leep"] = leep(source_probabilities=theta, target_labels=y)
        made["nce"] = nce(source_labels=theta.argmax(dim=1), target_labels=y)
    else:
        missing |= dict.fromkeys(("leep", "nce"), why)
    scores = {name: None if value is None or not math.isfinite(value) else value for name, value in made.items()}
    return RankedSource(view.called, view.source.name, z.shape[1], scores, missing, held_out)


def draws_of(view: View, data_seed: int) -> Resamples:
    """Bootstrap weights of the labelled rows' units and the probe's repeats, shared by all sources."""
    labelled = view.labelled
    units = np.arange(len(labelled)) if labelled.units is None else labelled.units.numpy()
    return Resamples.draw(units, REPEATS, seed=data_seed)


def in_order(found: Sequence[RankedSource], higher_is_better: bool) -> list[RankedSource]:
    """Most promising first, each with how far it is behind the first.

    The order goes by the better of two held-out figures in the task's own metric: the cross-validated probe, and,
    where its labels are the target's, the source's own head, which has seen no labelled row. Where neither is
    defined, LogME decides. The other scores are shown and do not vote.
    """
    sign = 1 if higher_is_better else -1

    def key(source: RankedSource) -> tuple[bool, float, float]:
        promise, evidence = source.promise(higher_is_better), source.scores["log_me"]
        value = -math.inf if promise is None else sign * promise.estimate().mean
        return promise is not None, value, -math.inf if evidence is None else evidence

    ordered = sorted(found, key=key, reverse=True)
    first = ordered[0].promise(higher_is_better) if ordered else None
    return [ordered[0], *(_behind(s, first, higher_is_better) for s in ordered[1:])] if ordered else []


def _behind(source: RankedSource, first: Scores | None, higher_is_better: bool) -> RankedSource:
    own = source.promise(higher_is_better)
    if first is None or own is None:
        return source
    better, worse = (first, own) if higher_is_better else (own, first)
    return RankedSource(
        source.called,
        source.source,
        source.dimension,
        source.scores,
        source.missing,
        source.held_out,
        better.minus(worse, 1 - ALPHA),
    )


def agreements(found: Sequence[RankedSource], higher_is_better: bool) -> dict[str, float | None]:
    """Kendall's tau-b of each score with the order of ``found``; None below two sources or where all tie."""
    sign = 1 if higher_is_better else -1
    columns: dict[str, list[float | None]] = {"order": [-float(i) for i in range(len(found))]}
    for name in TITLES:
        turn = sign if name in ("probe", "zero_shot") else 1
        columns[name] = [None if (v := s.scores[name]) is None else turn * v for s in found]
    taus = {b: tau for (a, b), tau in agreement(columns).items() if a == "order"}
    return {name: None if math.isnan(tau) else tau for name, tau in taus.items()}


def _own_predictions(source: SourceModel, z: Tensor, registry: Registry) -> tuple[Tensor | None, str]:
    """The source's probabilities (n, source classes) of its own classes, or None and why."""
    if source.head is None or source.task is None:
        return None, "the source has no head of its own"
    task: Task = registry.get("tasks", source.task.kind)(**source.task.options)
    if "probabilities" not in task.info().offers:
        return None, "the source's head predicts no classes"
    theta = torch.from_numpy(task.decode(_logits(source, z)))
    if theta.ndim != 2 or bool((theta.sum(dim=1) - 1).abs().max() > 1e-3):
        return None, "the source's head gives no distribution over classes"
    return theta, ""


def _logits(source: SourceModel, z: Tensor) -> Tensor:
    assert source.head is not None
    return linear(z, source.head["weight"].cpu(), source.head["bias"].cpu())
