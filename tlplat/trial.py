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
from torch import Tensor

from tlplat.bench import Bench, Rows
from tlplat.combine import choose, pooled
from tlplat.data.examples import Examples
from tlplat.domain import Baseline
from tlplat.errors import PluginError
from tlplat.measure import Measure
from tlplat.members import Decision, Scored, train_members
from tlplat.model import BackboneInfo, SourceModel, TransferModel
from tlplat.plan import Budget, TransferPlan, json_hash
from tlplat.start import concluded_task, finish_model, multiply_adds, outputs_of, start_model
from tlplat.strategy import Family, Strategy
from tlplat.tasks.base import Task
from tlplat.train import FitResult
from tlplat.view import View

__all__ = ["BaselineCandidate", "Bench", "Candidate", "Outcome", "Rows", "StrategyCandidate", "Trivial", "settle"]


@dataclass
class Outcome:
    """A fit and its predictions.

    Attributes:
        predictions: one decoded array for each of the asked rows.
        model: the fitted model, or None for a baseline. task: the run's, as the fit settled and concluded it.
        plan, measured: what the strategy declared and measured (JSON); empty for a baseline.
        result: the loop's account. inference_cost: multiply-adds a row. seconds: wall time.
        decision: what validation decided about steps and members; None where nothing was trained.
        scored: what there was to choose among, on the validation rows.
    """

    predictions: list[np.ndarray]
    model: TransferModel | None = None
    task: Task | None = None
    plan: Mapping[str, Any] = field(default_factory=dict)
    measured: Mapping[str, Any] = field(default_factory=dict)
    result: FitResult = field(default_factory=FitResult)
    decision: Decision | None = None
    scored: Sequence[Scored] = ()
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
    free: bool
    """It takes no training steps, so that every budget gives the same result."""
    view: View | None = None
    """The run's rows as its source needs them; None where they are handed over so."""

    @property
    def label(self) -> str:
        """What the report calls it: its name, and its source's where there are several."""
        return self.view.label(self.name) if self.view else self.name

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
        decision: Decision | None = None,
        checkpoint: Path | None = None,
        advance: Callable[[float], None] = lambda units: None,
        told: Callable[[Mapping[str, Any]], None] = lambda point: None,
    ) -> Outcome:
        """Fit on ``train`` and predict ``others``.

        ``validation`` is scored on the way; ``keep_best`` keeps the weights of its least loss. ``decision`` is what
        the validation of an earlier fit decided: where schedules end, and which members make the model.
        ``told`` is given each point of a learning curve.
        """


class BaselineCandidate(Candidate):
    """A baseline of the domain, or the task's trivial one."""

    def __init__(self, baseline: Baseline) -> None:
        self.family, self.free = "baseline", True
        self.baseline, self.name, self.summary = baseline, baseline.name, baseline.summary
        self.transfers, self.source, self.hyperparameters = False, None, {}

    def run(self, bench: Bench, train: Rows, others: Sequence[Rows], seed: int, **unused: Any) -> Outcome:
        begin = time.monotonic()
        inputs = [rows.examples.inputs.select(rows.index) for rows in others]
        task, plain = (t.settled(train.targets) for t in (bench.task, bench.task.unbalanced()))
        predictions = [task.rebalanced(p) for p in self.baseline.fit_predict(train.taken(), inputs, plain, seed)]
        shape = bench.task.prediction_shape
        wanted = [
            (len(rows.index), *(p.shape[1:] if shape is None else shape))
            for rows, p in zip(others, predictions, strict=False)
        ]
        if len(predictions) != len(others) or [p.shape for p in predictions] != wanted:
            raise PluginError(
                "TL-PLUGIN-CONTRACT",
                f"the baseline {self.name!r} returned predictions of shapes {[p.shape for p in predictions]}",
                expected=str(wanted),
                fix="mend the plugin's fit_predict: for each of the inputs one array of predictions, a row each",
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
    """The task's trivial prediction: one row for all, from the training rows' targets."""

    _width = 0

    def __init__(self, task: Task) -> None:
        self.name, self.summary = task.trivial_name, task.trivial_summary  # type: ignore[misc]

    def fit_predict(self, train: Examples, others: Sequence[Any], task: Task, seed: int) -> list[np.ndarray]:
        row = task.trivial(train.targets)
        self._width = row.size
        return [np.repeat(row[None], len(inputs), axis=0) for inputs in others]

    def parameters(self) -> int:
        return self._width


class StrategyCandidate(Candidate):
    """A strategy on a source."""

    def __init__(
        self,
        strategy: Strategy,
        source: SourceModel,
        has_source_head: bool,
        learning_rate: float | None = None,
        view: View | None = None,
    ) -> None:
        """``learning_rate``, where given, replaces the rates that the strategy would try."""
        if learning_rate is not None and hasattr(strategy, "learning_rate"):
            strategy = dataclasses.replace(strategy, learning_rate=learning_rate)  # type: ignore[call-arg]
            self._grid: Sequence[Strategy] = [strategy]
        else:
            self._grid = strategy.grid()
        self.strategy, self.source, self.has_source_head, self.view = strategy, source, has_source_head, view
        self.name, self.family, self.transfers = strategy.name, strategy.family, strategy.transfers
        self.free = strategy.family == "feature" or strategy.name == "zero_shot"
        self.hyperparameters = strategy.hyperparameters()
        self.summary = type(strategy).summary()

    def settings(self) -> Sequence[Candidate]:
        return [StrategyCandidate(s, self._source, self.has_source_head, view=self.view) for s in self._grid]

    def scaled(self, factor: float) -> StrategyCandidate:
        """This setting with ``factor`` times its learning rate."""
        rate = factor * self.hyperparameters["learning_rate"]
        return StrategyCandidate(self.strategy, self._source, self.has_source_head, float(f"{rate:.3g}"), self.view)

    @property
    def _source(self) -> SourceModel:
        assert self.source is not None
        return self.source

    def _on(self, bench: Bench) -> Bench:
        return self.view.bench(bench) if self.view else bench

    def _seen(self, rows: Rows) -> Rows:
        return Rows(self.view.encoded(rows.examples), rows.index) if self.view else rows

    def declare(self, bench: Bench, train: Rows) -> tuple[dict[str, Any], TransferPlan]:
        """What the strategy measures on the training rows, and its plan."""
        bench, train, _ = self._ready(self._on(bench), self._seen(train), None, 0)
        return self._declared(bench, train)

    def _ready(self, bench: Bench, train: Rows, validation: Rows | None, seed: int) -> tuple[Bench, Rows, Rows | None]:
        """The task as the training rows settle it, and targets with the columns that its loss needs."""
        task = bench.task.settled(train.targets)
        bench = dataclasses.replace(bench, task=task)
        if not task.prepares:
            return bench, train, validation
        parts = [train] if validation is None else [train, validation]
        first, *rest = [(self._frozen(bench, rows), rows.targets) for rows in parts]
        made = [rows.retargeted(y) for rows, y in zip(parts, task.prepare(first, rest, seed), strict=True)]
        return bench, made[0], made[1] if rest else None

    def _frozen(self, bench: Bench, rows: Rows) -> Tensor:
        """The source's features of the rows; of width 0 for what must use nothing of the source."""
        if not self.transfers:
            return torch.zeros(len(rows.index), 0)
        return bench.store.features(self._source, rows.examples.inputs)[rows.index]

    def _declared(self, bench: Bench, train: Rows) -> tuple[dict[str, Any], TransferPlan]:
        info = BackboneInfo.of(bench.store.backbone(self._source), self.has_source_head, train.example())
        task = bench.task_info
        measured = self.strategy.measure(Measure(bench, self._source, info, task, train))
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
        decision: Decision | None = None,
        checkpoint: Path | None = None,
        advance: Callable[[float], None] = lambda units: None,
        told: Callable[[Mapping[str, Any]], None] = lambda point: None,
    ) -> Outcome:
        begin = time.monotonic()
        bench, train, others = self._on(bench), self._seen(train), [self._seen(rows) for rows in others]
        validation = self._seen(validation) if validation is not None else None
        bench, train, validation = self._ready(bench, train, validation, seed)
        measured, plan = self._declared(bench, train)
        model = start_model(self._source, plan, bench, train, seed)
        trained = train_members(
            model,
            plan,
            train.taken(),
            bench.task,
            steps=bench.steps(len(train.index)),
            seed=seed,
            settings=bench.fit_settings,
            registry=bench.registry,
            validation=validation.taken() if validation is not None else None,
            keep_best=keep_best,
            decision=decision,
            checkpoint=checkpoint,
            rows=bench.at_hand(train, seed),
            warn=bench.warn,
            advance=advance,
            told=told,
        )
        finish_model(model, plan, bench, seed)
        result = trained.result
        if plan.start != "source_head" and plan.frozen:
            result.trained_parameters = sum(t.numel() for t in model.head.state_dict().values())
        task = concluded_task(model, plan, self._source, bench, train)
        return Outcome(
            [task.decode(outputs_of(model, plan, self._source, bench, rows)) for rows in others],
            model,
            task,
            plan.to_json(),
            dict(measured),
            result,
            None if plan.frozen else trained.decision,
            trained.scored,
            total_parameters=sum(p.numel() for p in model.parameters()),
            inference_cost=multiply_adds(model, train) if bench.count_costs else 0.0,
            seconds=time.monotonic() - begin,
        )


def settle(outcomes: Sequence[Outcome], rows: Sequence[int]) -> tuple[Decision | None, list[np.ndarray]]:
    """What the validation of all folds decides together, and each fold's predictions of its own validation rows.

    A fold is predicted with what the *other* folds would choose, so that a choice is never scored on the rows that it
    was made on; the decision for the final fit is that of all. One fold alone has its own choice.

    Args:
        outcomes: one a fold, with the validation rows' predictions first. rows: validation rows of each.
    """
    own = outcomes[0].decision
    if len(outcomes) == 1 or own is None or not outcomes[0].scored:
        return own, [o.predictions[0] for o in outcomes]
    losses = [(n, {s.option: s.loss for s in o.scored}) for n, o in zip(rows, outcomes, strict=True)]
    combine = outcomes[0].plan["combine"]
    predictions = []
    for i, outcome in enumerate(outcomes):
        chosen = choose(combine, pooled(losses[:i] + losses[i + 1 :]))
        predictions.append(next(s.predictions for s in outcome.scored if s.option == chosen))
    return Decision(own.stop_at, choose(combine, pooled(losses))), predictions
