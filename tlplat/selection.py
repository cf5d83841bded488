"""The search: every candidate at equal budget on validation, then the finalists' one look at the test rows."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from tlplat.data.examples import Examples
from tlplat.data.splits import FOLDS, Fold, folds, partition
from tlplat.members import Decision
from tlplat.storage import read_json, read_tensors, write_json, write_tensors, write_text
from tlplat.trial import Bench, Candidate, Outcome, Rows, settle


@dataclass(frozen=True)
class Validated:
    """A candidate's validation with one seed: its trial's folder, and metrics.json as it stood then."""

    candidate: Candidate
    seed: int
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


@dataclass(frozen=True)
class Chosen:
    """A candidate at its best setting: validation by seed, and every setting that was tried on the first."""

    candidate: Candidate
    validated: tuple[Validated, ...]
    tried: tuple[Validated, ...]

    @property
    def validation(self) -> float:
        return float(np.mean([v.score for v in self.validated]))

    @property
    def inference_cost(self) -> float:
        return float(self.validated[0].record["inference_cost"])

    @property
    def trained(self) -> int:
        return int(self.validated[0].record["trained_parameters"])


@dataclass(frozen=True)
class Final:
    """A finished trial, as its folder tells it: test predictions, metrics.json and timing.json."""

    validated: Validated
    predictions: np.ndarray
    record: dict[str, Any]

    @property
    def seconds(self) -> float:
        return self.validated.seconds


JACKKNIFE_SEEDS = 3
"""Seeds whose final fits are repeated without each part of the labelled rows."""
RESULTS = {"validate": "validation", "finish": "test", "jackknife": "jackknife"}
"""The key of metrics.json that a job of each kind leaves."""


@dataclass(frozen=True)
class Job:
    """One trial's validation, final fit or jackknife, in numbers that another process understands.

    Attributes:
        candidate: position in the stage's list. setting: position in that candidate's ``settings()``.
    """

    kind: Literal["validate", "finish", "jackknife"]
    candidate: int
    setting: int
    seed: int


@dataclass(frozen=True)
class Search:
    """One run's search over one labelled set.

    Attributes:
        labelled: training and validation rows. test: looked at by final fits alone.
        folder: ``trials/`` of the run directory. seeds: each sets initialisation, order and folds.
        advance: called with 1 after each fit.
    """

    bench: Bench
    candidates: Sequence[Candidate]
    labelled: Examples
    test: Examples
    folder: Path
    seeds: Sequence[int]
    advance: Callable[[float], None] = lambda units: None

    @cached_property
    def fold_count(self) -> int:
        return len(self._folds(self.seeds[0]))

    @property
    def fits(self) -> int:
        """Fits of the whole search, for the progress bar."""
        trials = sum(len(c.settings()) + len(self.seeds) - 1 for c in self.candidates)
        repeated = 3 * FOLDS * min(JACKKNIFE_SEEDS, len(self.seeds))  # of winner, reference and scratch
        return trials * self.fold_count + len(self.candidates) * len(self.seeds) + repeated

    def first_jobs(self) -> list[Job]:
        """Every setting of every candidate, with the first seed."""
        return [
            Job("validate", i, j, self.seeds[0])
            for i, candidate in enumerate(self.candidates)
            for j in range(len(candidate.settings()))
        ]

    def further_jobs(self) -> list[Job]:
        """Each candidate's best setting with the other seeds; the first jobs must be done."""
        best = [self._best_setting(c) for c in self.candidates]
        return [Job("validate", i, j, seed) for i, j in enumerate(best) for seed in self.seeds[1:]]

    def final_jobs(self) -> list[Job]:
        """Each candidate's final fits; all validation must be done."""
        best = [self._best_setting(c) for c in self.candidates]
        return [Job("finish", i, j, seed) for i, j in enumerate(best) for seed in self.seeds]

    def jackknife_jobs(self, names: Sequence[str]) -> list[Job]:
        """The jackknife of the candidates ``names``, with the first seeds; their final fits must be done."""
        chosen = [(i, self._best_setting(c)) for i, c in enumerate(self.candidates) if c.name in names]
        return [Job("jackknife", i, j, seed) for i, j in chosen for seed in self.seeds[:JACKKNIFE_SEEDS]]

    def size(self, job: Job) -> int:
        """How many fits a job is."""
        return {"validate": self.fold_count, "finish": 1, "jackknife": FOLDS}[job.kind]

    def is_done(self, job: Job) -> bool:
        """Whether its trial's folder holds the job's result."""
        path = self._folder(self._setting(job), job.seed) / "metrics.json"
        return path.exists() and RESULTS[job.kind] in read_json(path)

    def do(self, job: Job) -> None:
        """Compute a job; its result is what the trial's folder then holds."""
        validated = self.validate(self._setting(job), job.seed)
        if job.kind == "finish":
            self.finish(validated)
        elif job.kind == "jackknife":
            self.jackknife(validated)

    def choose(self, candidate: Candidate) -> Chosen:
        """The candidate at its best setting of the first seed, validated with all seeds."""
        settings = candidate.settings()
        tried = [self.validate(setting, self.seeds[0]) for setting in settings]
        best = tried[self._best_setting(candidate)]
        rest = [self.validate(best.candidate, seed) for seed in self.seeds[1:]]
        return Chosen(best.candidate, (best, *rest), tuple(tried))

    def _best_setting(self, candidate: Candidate) -> int:
        scores = [self.validate(setting, self.seeds[0]).score for setting in candidate.settings()]
        sign = 1 if self.bench.task.metrics[0].higher_is_better else -1
        ranks = [sign * score if math.isfinite(score) else -math.inf for score in scores]
        return max(range(len(ranks)), key=ranks.__getitem__)

    def _setting(self, job: Job) -> Candidate:
        return self.candidates[job.candidate].settings()[job.setting]

    def _folder(self, candidate: Candidate, seed: int) -> Path:
        return self.folder / candidate.key / f"seed-{seed}"

    def validate(self, candidate: Candidate, seed: int) -> Validated:
        """Out-of-fold predictions of all validation rows, scored; a finished trial is read back."""
        folder = self._folder(candidate, seed)
        if (folder / "metrics.json").exists():
            return Validated(candidate, seed, folder, read_json(folder / "metrics.json"))
        made = self._folds(seed)
        outcomes = [self._fit_fold(candidate, seed, number, fold, folder) for number, fold in enumerate(made)]
        index = torch.cat([fold.validation for fold in made])
        decision, parts = settle(outcomes, [len(fold.validation) for fold in made])
        predictions = np.concatenate(parts)
        score = self._score(index, predictions)
        self._write(folder, outcomes, index, predictions, score, decision)
        return Validated(candidate, seed, folder, read_json(folder / "metrics.json"))

    def finish(self, validated: Validated, keep: Callable[[Outcome], None] | None = None) -> Final:
        """Refit on all labelled rows, as validation decided, and predict the test rows.

        ``keep`` is given the fit with its model before the trial counts as finished. A finished one is read back.
        """
        folder = validated.folder
        record = read_json(folder / "metrics.json")
        if "test" not in record:
            outcome = validated.candidate.run(
                self.bench,
                Rows.all(self.labelled),
                [Rows.all(self.test)],
                validated.seed,
                decision=_decision(record),
                checkpoint=folder / "checkpoint" / "final",
            )
            if keep is not None:
                keep(outcome)
            self._write_final(folder, record, outcome)
            self.advance(1)
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
                    self.bench,
                    Rows(self.labelled, fold.train),
                    [Rows.all(self.test)],
                    validated.seed,
                    decision=_decision(record),
                )
                scores.append(_or_none(self._test_score(outcome)))
                self.advance(1)
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

    def _folds(self, seed: int) -> list[Fold]:
        return folds(self.labelled, seed, self.bench.task)

    def _fit_fold(self, candidate: Candidate, seed: int, number: int, fold: Fold, folder: Path) -> Outcome:
        validation = Rows(self.labelled, fold.validation)
        outcome = candidate.run(
            self.bench,
            Rows(self.labelled, fold.train),
            [validation],
            seed,
            validation=validation,
            keep_best=self.fold_count == 1,
            checkpoint=folder / "checkpoint" / f"fold-{number}",
        )
        self.advance(1)
        return outcome

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
        }
        write_json(folder / "metrics.json", {"validation": validation, **_costs(outcomes[0])})


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
