"""One trial's fit: a strategy's measure and plan carried out on given rows, or a baseline fitted on them."""

from __future__ import annotations

import dataclasses
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tlplat.data.examples import Examples
from tlplat.domain import Baseline
from tlplat.edits import apply_edits
from tlplat.errors import PluginError
from tlplat.features import FeatureStore, apply_in_batches
from tlplat.model import BackboneInfo, SourceModel, TaskInfo, TransferModel
from tlplat.plan import Budget, TransferPlan, json_hash
from tlplat.registry import Registry
from tlplat.strategy import Family, Strategy
from tlplat.tasks.base import Task
from tlplat.train import FitResult, FitSettings, fit


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


@dataclass(frozen=True)
class Bench:
    """What all trials of a run share.

    Attributes:
        steps: optimiser steps of a fit on ``n`` training rows.
        fit_settings: of the training loop.
    """

    task: Task
    registry: Registry
    store: FeatureStore
    fit_settings: FitSettings
    steps: Callable[[int], int]
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    warn: Callable[[str], None] = lambda sentence: None


@dataclass
class Outcome:
    """A fit and its predictions.

    Attributes:
        predictions: one decoded array for each of the asked rows.
        model: the fitted model, or None for a baseline.
        plan, measured: what the strategy declared and measured (JSON); empty for a baseline.
        result: the loop's account. inference_cost: multiply-adds a row. seconds: wall time.
    """

    predictions: list[np.ndarray]
    model: TransferModel | None = None
    plan: Mapping[str, Any] = field(default_factory=dict)
    measured: Mapping[str, Any] = field(default_factory=dict)
    result: FitResult = field(default_factory=FitResult)
    total_parameters: int = 0
    inference_cost: float = 0.0
    seconds: float = 0.0


class Candidate(ABC):
    """Something that may win: a strategy with its settings on a source, or a baseline."""

    name: str
    summary: str
    family: Family
    transfers: bool
    source: SourceModel | None
    hyperparameters: Mapping[str, Any]

    @property
    def key(self) -> str:
        """``name-hash8`` over the source and the settings; names the trial's folder."""
        source = self.source.name if self.source else None
        return f"{self.name}-{json_hash({'source': source, 'settings': dict(self.hyperparameters)})}"

    def settings(self) -> Sequence[Candidate]:
        """This candidate at every hyper-parameter setting that selection tries."""
        return [self]

    @abstractmethod
    def run(
        self,
        bench: Bench,
        train: Rows,
        others: Sequence[Rows],
        seed: int,
        *,
        validation: Rows | None = None,
        keep_best: bool = False,
        stop_at: int | None = None,
        checkpoint: Path | None = None,
        advance: Callable[[float], None] = lambda units: None,
    ) -> Outcome:
        """Fit on ``train`` and predict ``others``.

        ``validation`` is scored on the way; ``keep_best`` keeps the weights of its least loss, ``stop_at`` ends the
        schedule at the step that an earlier fit found best.
        """


class BaselineCandidate(Candidate):
    """A baseline of the domain, or the task's trivial one."""

    def __init__(self, baseline: Baseline) -> None:
        self.family = "baseline"
        self.baseline, self.name, self.summary = baseline, baseline.name, baseline.summary
        self.transfers, self.source, self.hyperparameters = False, None, {}

    def run(self, bench: Bench, train: Rows, others: Sequence[Rows], seed: int, **unused: Any) -> Outcome:
        begin = time.monotonic()
        inputs = [rows.examples.inputs.select(rows.index) for rows in others]
        predictions = self.baseline.fit_predict(train.taken(), inputs, bench.task, seed)
        wanted = [(len(rows.index), bench.task.info().outputs) for rows in others]
        if [p.shape for p in predictions] != wanted:
            raise PluginError(
                "TL-PLUGIN-CONTRACT",
                f"the baseline {self.name!r} returned predictions of shapes {[p.shape for p in predictions]}",
                expected=str(wanted),
                fix="mend the plugin's fit_predict: one array (rows, outputs) for each of the inputs",
            )
        count = self.baseline.parameters()
        return Outcome(
            predictions,
            result=FitResult(trained_parameters=count),
            total_parameters=count,
            inference_cost=self.baseline.inference_cost(),
            seconds=time.monotonic() - begin,
        )


class Trivial(Baseline):
    """The task's trivial prediction: class frequencies of the training rows."""

    name = "majority"
    summary = "predicts the training rows' class frequencies for every row"
    _width = 0

    def fit_predict(self, train: Examples, others: Sequence[Any], task: Task, seed: int) -> list[np.ndarray]:
        row = task.trivial(train.targets)
        self._width = len(row)
        return [np.repeat(row[None], len(inputs), axis=0) for inputs in others]

    def parameters(self) -> int:
        return self._width


class StrategyCandidate(Candidate):
    """A strategy on a source."""

    def __init__(
        self, strategy: Strategy, source: SourceModel, has_source_head: bool, learning_rate: float | None = None
    ) -> None:
        """``learning_rate``, where given, replaces the rates that the strategy would try."""
        if learning_rate is not None and hasattr(strategy, "learning_rate"):
            strategy = dataclasses.replace(strategy, learning_rate=learning_rate)  # type: ignore[call-arg]
            self._grid: Sequence[Strategy] = [strategy]
        else:
            self._grid = strategy.grid()
        self.strategy, self.source, self.has_source_head = strategy, source, has_source_head
        self.name, self.family, self.transfers = strategy.name, strategy.family, strategy.transfers
        self.hyperparameters = strategy.hyperparameters()
        self.summary = type(strategy).summary()

    def settings(self) -> Sequence[Candidate]:
        return [StrategyCandidate(s, self._source, self.has_source_head) for s in self._grid]

    @property
    def _source(self) -> SourceModel:
        assert self.source is not None
        return self.source

    def declare(self, bench: Bench, train: Rows) -> tuple[dict[str, Any], TransferPlan]:
        """What the strategy measures on the training rows, and its plan."""
        info = BackboneInfo.of(bench.store.backbone(self._source), self.has_source_head)
        task = bench.task.info()
        measured = self.strategy.measure(_Measure(bench, self._source, info, task, train))
        budget = Budget(bench.steps(len(train.index)), bench.fit_settings.batch_size, len(train.index))
        return measured, self.strategy.plan(task, info, measured, budget)

    def run(
        self,
        bench: Bench,
        train: Rows,
        others: Sequence[Rows],
        seed: int,
        *,
        validation: Rows | None = None,
        keep_best: bool = False,
        stop_at: int | None = None,
        checkpoint: Path | None = None,
        advance: Callable[[float], None] = lambda units: None,
    ) -> Outcome:
        begin = time.monotonic()
        measured, plan = self.declare(bench, train)
        model = start_model(self._source, plan, bench, train, seed)
        result = fit(
            model,
            plan.phases,
            train.taken(),
            bench.task,
            steps=bench.steps(len(train.index)),
            seed=seed,
            settings=bench.fit_settings,
            registry=bench.registry,
            validation=validation.taken() if validation is not None else None,
            keep_best=keep_best,
            stop_at=stop_at,
            checkpoint=checkpoint,
            warn=bench.warn,
            advance=advance,
        )
        _finish(model, plan, bench, seed)
        if plan.start == "fitted" and plan.frozen:
            result.trained_parameters = sum(p.numel() for p in model.head.parameters())
        return Outcome(
            [predict_rows(model, plan, self._source, bench, rows) for rows in others],
            model,
            plan.to_json(),
            dict(measured),
            result,
            total_parameters=sum(p.numel() for p in model.parameters()),
            inference_cost=multiply_adds(model, train),
            seconds=time.monotonic() - begin,
        )


@dataclass
class _Measure:
    """:class:`tlplat.strategy.MeasureContext` over the training rows."""

    bench: Bench
    source: SourceModel
    backbone: BackboneInfo
    task: TaskInfo
    rows: Rows

    @property
    def targets(self) -> Tensor:
        return self.rows.targets

    def depth_features(self) -> Sequence[Tensor]:
        found = self.bench.store.depths(self.source, self.rows.examples.inputs)
        return [z[self.rows.index] for z in found]

    def probe_score(self, features: Tensor) -> float:
        return self.bench.task.fit_head(features, self.targets, {}).validation_loss


def start_model(source: SourceModel, plan: TransferPlan, bench: Bench, train: Rows, seed: int) -> TransferModel:
    """The model before its first step: weights, then edits, then the head that ``plan.start`` asks for."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone = source.build(bench.registry, random=plan.weights == "random")
        model = TransferModel(backbone, bench.task.head(backbone.feature_dim))
        generator = torch.Generator().manual_seed(seed)
        apply_edits(model, plan.edits, bench.registry, generator)
    model.to(bench.device)
    if plan.start == "fresh":
        return model
    if plan.start == "source_head":
        assert source.head is not None
        _set_head(model, source.head["weight"], source.head["bias"])
    else:
        z = _start_features(model, plan, source, bench, train)
        fitted = bench.task.fit_head(z, train.targets, plan.fit_options)
        _set_head(model, fitted.weight, fitted.bias)
    return model


def _start_features(model: TransferModel, plan: TransferPlan, source: SourceModel, bench: Bench, train: Rows) -> Tensor:
    if not plan.edits and plan.weights == "source":
        return bench.store.features(source, train.examples.inputs)[train.index]
    return apply_in_batches(model.backbone, model.backbone, train.taken().inputs)


def _set_head(model: TransferModel, weight: Tensor, bias: Tensor) -> None:
    head = model.head
    if not isinstance(head, nn.Linear) or head.weight.shape != weight.shape:
        raise PluginError(
            "TL-PLUGIN-CONTRACT",
            f"the plan asks for a head of shape {tuple(weight.shape)}, but the edited model has {head}",
            fix="let the strategy start from a fresh or fitted head where its edits change the features",
        )
    with torch.no_grad():
        head.weight.copy_(weight)
        head.bias.copy_(bias)


def _finish(model: TransferModel, plan: TransferPlan, bench: Bench, seed: int) -> None:
    apply_edits(model, plan.finish, bench.registry, torch.Generator().manual_seed(seed))
    model.eval()


def predict_rows(model: TransferModel, plan: TransferPlan, source: SourceModel, bench: Bench, rows: Rows) -> np.ndarray:
    """Decoded predictions; a frozen plan needs only the head on cached features."""
    if plan.frozen and not plan.edits and plan.weights == "source":
        z = bench.store.features(source, rows.examples.inputs)[rows.index].to(bench.device)
        with torch.no_grad():
            return bench.task.decode(model.head(z))
    return bench.task.decode(apply_in_batches(model, model, rows.examples.inputs.select(rows.index)))


def multiply_adds(model: TransferModel, rows: Rows) -> float:
    """Multiply-adds of one row's forward (half of torch's flop count)."""
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    batch = rows.examples.inputs.take(rows.index[:1])
    with torch.no_grad(), counter:
        model(batch)
    return counter.get_total_flops() / 2
