"""Trials on disk: a candidate at one setting and seed, validated, finished and jackknifed, each result read back."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from tlplat.data import splits
from tlplat.data.examples import Examples
from tlplat.data.splits import FOLDS, Fold, partition
from tlplat.events import Event, TrialComplete, TrialProgress, TrialStart
from tlplat.members import Decision
from tlplat.storage import read_json, read_tensors, write_json, write_tensors, write_text
from tlplat.trial import Bench, Candidate, Outcome, Rows, settle

Stage = Literal["validation", "final"]


@dataclass(frozen=True)
class Validated:
    """A candidate's validation with one seed: its trial's folder, and metrics.json as it stood then.

    ``share``: the fit's steps over those of the configuration.
    """

    candidate: Candidate
    seed: int
    share: float
    folder: Path
    record: dict[str, Any]

    @property
    def score(self) -> float:
        score = self.record["validation"]["score"]
        return math.nan if score is None else float(score)

    @property
    def seconds(self) -> float:
        """Wall time spent on the trial so far."""
        return float(sum(read_json(self.folder / "timing.json").values()))

    @property
    def out_of_fold(self) -> tuple[Tensor, np.ndarray]:
        """Row numbers (n,) of the labelled rows that validated, and their predictions (n, outputs)."""
        tensors, _ = read_tensors(self.folder / "validation.safetensors")
        return tensors["rows"], tensors["predictions"].numpy()


@dataclass(frozen=True)
class Final:
    """A finished trial, as its folder tells it: test predictions, metrics.json and timing.json."""

    validated: Validated
    predictions: np.ndarray
    record: dict[str, Any]

    @property
    def seconds(self) -> float:
        return self.validated.seconds


@dataclass(frozen=True)
class Trials:
    """The trials of one run over one labelled set.

    Attributes:
        labelled: training and validation rows. test: looked at by final fits alone.
        folder: ``trials/`` of the run directory. seeds: each sets initialisation, order and folds.
        advance: called with a fit's share after each fit that takes steps.
        tell: is given an event where a trial begins, where a curve has a new point, and where the trial's result lies.
    """

    bench: Bench
    candidates: Sequence[Candidate]
    labelled: Examples
    test: Examples
    folder: Path
    seeds: Sequence[int]
    advance: Callable[[float], None] = lambda units: None
    tell: Callable[[Event], None] = lambda event: None

    @cached_property
    def fold_count(self) -> int:
        return len(self.folds(self.seeds[0]))

    def place(self, candidate: Candidate, seed: int, share: float) -> Path:
        """The trial's folder; one of another length than configured lies inside."""
        folder = self.folder / candidate.key / f"seed-{seed}"
        return folder if share == 1 else folder / f"share-{share:g}"

    def validate(self, candidate: Candidate, seed: int, share: float = 1.0) -> Validated:
        """Out-of-fold predictions of all validation rows, scored; a finished trial is read back.

        The schedule of a fit of another length is whole: it ends at that length.
        """
        folder = self.place(candidate, seed, share)
        if (folder / "metrics.json").exists():
            return Validated(candidate, seed, share, folder, read_json(folder / "metrics.json"))
        about = self._about(candidate, seed, share, "validation")
        self.tell(TrialStart(**about))
        made = self.folds(seed)
        outcomes = [self._fit_fold(candidate, seed, share, number, fold, folder) for number, fold in enumerate(made)]
        index = torch.cat([fold.validation for fold in made])
        decision, parts = settle(outcomes, [len(fold.validation) for fold in made])
        predictions = np.concatenate(parts)
        score = self._score(index, predictions)
        self._write(folder, outcomes, index, predictions, score, decision)
        scores = {self.bench.task.metrics[0].name: _or_none(score)}
        self.tell(_complete(about, scores, outcomes[0], sum(o.seconds for o in outcomes)))
        return Validated(candidate, seed, share, folder, read_json(folder / "metrics.json"))

    def finish(self, validated: Validated, keep: Callable[[Outcome], None] | None = None) -> Final:
        """Refit on all labelled rows, as validation decided, and predict the test rows.

        ``keep`` is given the fit with its model before the trial counts as finished. A finished one is read back.
        """
        folder = validated.folder
        record = read_json(folder / "metrics.json")
        if "test" not in record:
            about = self._about(validated.candidate, validated.seed, validated.share, "final")
            self.tell(TrialStart(**about))
            outcome = validated.candidate.run(
                self.benched(validated.share),
                Rows.all(self.labelled),
                [Rows.all(self.test)],
                validated.seed,
                decision=_decision(record),
                checkpoint=folder / "checkpoint" / "final",
                told=self._progress(folder, "final", None),
            )
            if keep is not None:
                keep(outcome)
            self._write_final(folder, record, outcome)
            self.tell(_complete(about, record["test"], outcome, outcome.seconds))
            self._advance(validated.candidate, validated.share)
        return _read_final(validated)

    def jackknife(self, validated: Validated) -> np.ndarray:
        """Test scores (parts,) of final fits without each of the parts of the labelled rows in turn.

        Their spread tells how much the result hangs on which rows were labelled (delete-group jackknife, Shao & Wu
        1989), which no resampling of test rows can see.
        """
        record = read_json(validated.folder / "metrics.json")
        if "jackknife" not in record:
            scores = []
            for fold in partition(self.labelled, validated.seed, self.bench.task, FOLDS):
                outcome = validated.candidate.run(
                    self.benched(validated.share, costs=False),
                    Rows(self.labelled, fold.train),
                    [Rows.all(self.test)],
                    validated.seed,
                    decision=_decision(record),
                )
                scores.append(_or_none(self._test_score(outcome)))
                self._advance(validated.candidate, validated.share)
            record["jackknife"] = scores
            write_json(validated.folder / "metrics.json", record)
        return np.array([np.nan if s is None else s for s in record["jackknife"]])

    def _test_score(self, outcome: Outcome) -> float:
        return float(self.bench.task.metrics[0](self.test.targets.numpy(), outcome.predictions[0])[0])

    def _write_final(self, folder: Path, record: dict[str, Any], outcome: Outcome) -> None:
        predictions = outcome.predictions[0]
        write_tensors(folder / "test.safetensors", {"predictions": torch.from_numpy(predictions)})
        if outcome.plan:
            write_json(folder / "plan.json", dict(outcome.plan))
            write_json(folder / "measured.json", dict(outcome.measured))
        write_json(folder / "timing.json", {**read_json(folder / "timing.json"), "final_seconds": outcome.seconds})
        targets = self.test.targets.numpy()
        record["test"] = {m.name: _or_none(m(targets, predictions)[0]) for m in self.bench.task.metrics}
        record["curve"] = outcome.result.curve
        record["steps"] = outcome.result.steps
        record |= _costs(outcome)
        write_json(folder / "metrics.json", record)
        shutil.rmtree(folder / "checkpoint", ignore_errors=True)

    def folds(self, seed: int) -> list[Fold]:
        """The seed's folds of the labelled rows."""
        return splits.folds(self.labelled, seed, self.bench.task)

    def _fit_fold(
        self, candidate: Candidate, seed: int, share: float, number: int, fold: Fold, folder: Path
    ) -> Outcome:
        validation = Rows(self.labelled, fold.validation)
        outcome = candidate.run(
            self.benched(share, costs=number == 0),
            Rows(self.labelled, fold.train),
            [validation],
            seed,
            validation=validation,
            keep_best=self.fold_count == 1,
            checkpoint=folder / "checkpoint" / f"fold-{number}",
            told=self._progress(folder, "validation", number),
        )
        self._advance(candidate, share)
        return outcome

    def steps(self, share: float, rows: int | None = None) -> int:
        """Optimiser steps of a fit on ``rows`` rows, by default those of the first fold."""
        count = len(self.folds(self.seeds[0])[0].train) if rows is None else rows
        return max(1, round(share * self.bench.steps(count)))

    def benched(self, share: float, costs: bool = True) -> Bench:
        """The bench of fits of another length; ``costs``: whether they count multiply-adds."""
        settings = self.bench.fit_settings
        if share < 1 and self.fold_count > 1:
            settings = dataclasses.replace(settings, evaluations=1)
        return dataclasses.replace(
            self.bench, steps=lambda rows: self.steps(share, rows), fit_settings=settings, count_costs=costs
        )

    def _advance(self, candidate: Candidate, share: float) -> None:
        if not candidate.free:
            self.advance(share)

    def _about(self, candidate: Candidate, seed: int, share: float, stage: Stage) -> dict[str, Any]:
        """What events say of a trial."""
        return {
            "trial": self._named(self.place(candidate, seed, share)),
            "stage": stage,
            "candidate": candidate.label,
            "strategy": candidate.name,
            "family": candidate.family,
            "source": candidate.source.name if candidate.source else None,
            "hyperparameters": dict(candidate.hyperparameters),
            "seed": seed,
            "share": share,
        }

    def _progress(self, folder: Path, stage: Stage, fold: int | None) -> Callable[[Mapping[str, Any]], None]:
        named = self._named(folder)
        return lambda point: self.tell(TrialProgress(named, stage, fold=fold, **point))

    def _named(self, folder: Path) -> str:
        """A trial's folder below the run directory."""
        return folder.relative_to(self.folder.parent).as_posix()

    def _score(self, index: Tensor, predictions: np.ndarray) -> float:
        targets = self.labelled.targets[index].numpy()
        return float(self.bench.task.metrics[0](targets, predictions)[0])

    def _write(
        self,
        folder: Path,
        outcomes: Sequence[Outcome],
        index: Tensor,
        predictions: np.ndarray,
        score: float,
        decision: Decision | None,
    ) -> None:
        events = [{"fold": i, **point} for i, o in enumerate(outcomes) for point in o.result.curve]
        if events:
            write_text(folder / "events.jsonl", "".join(json.dumps(e) + "\n" for e in events))
        write_tensors(folder / "validation.safetensors", {"rows": index, "predictions": torch.from_numpy(predictions)})
        write_json(folder / "timing.json", {"validation_seconds": sum(o.seconds for o in outcomes)})
        metric = self.bench.task.metrics[0].name
        validation = {
            "metric": metric,
            "score": _or_none(score),
            "rows": len(index),
            "folds": len(outcomes),
            "decision": None if decision is None else decision.to_json(),
            "steps": outcomes[0].result.steps,
        }
        write_json(folder / "metrics.json", {"validation": validation, **_costs(outcomes[0])})
        shutil.rmtree(folder / "checkpoint", ignore_errors=True)


def _complete(
    about: Mapping[str, Any], metrics: Mapping[str, float | None], outcome: Outcome, seconds: float
) -> TrialComplete:
    result = outcome.result
    return TrialComplete(
        **about,
        metrics=dict(metrics),
        steps=result.steps,
        trained_parameters=result.trained_parameters,
        seconds=seconds,
    )


def _read_final(validated: Validated) -> Final:
    tensors, _ = read_tensors(validated.folder / "test.safetensors")
    record = read_json(validated.folder / "metrics.json")
    return Final(validated, tensors["predictions"].numpy(), record)


def _decision(record: dict[str, Any]) -> Decision | None:
    """What validation decided, as metrics.json tells it."""
    document = record["validation"]["decision"]
    return None if document is None else Decision.from_json(document)


def _costs(outcome: Outcome) -> dict[str, Any]:
    return {
        "trained_parameters": outcome.result.trained_parameters,
        "total_parameters": outcome.total_parameters,
        "inference_cost": outcome.inference_cost,
    }


def _or_none(value: float) -> float | None:
    """JSON has no NaN: an undefined score is null."""
    return float(value) if math.isfinite(value) else None
