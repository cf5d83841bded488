"""A run's search over candidates and their settings, as jobs that any process can do and the choice that they allow."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from tlplat.data.splits import FOLDS
from tlplat.pairing import OutOfFold, paired_error
from tlplat.storage import read_json
from tlplat.trial import Candidate, StrategyCandidate
from tlplat.trials import Trials, Validated

JACKKNIFE_SEEDS = 3
"""Seeds whose final fits are repeated without each part of the labelled rows."""
RESULTS = {"validate": "validation", "finish": "test", "jackknife": "jackknife"}
"""The key of metrics.json that a job of each kind leaves."""

Kind = Literal["validate", "finish", "jackknife"]


@dataclass(frozen=True)
class Arm:
    """One setting of one candidate, in numbers that another process understands.

    Attributes:
        candidate: position in the stage's list. setting: position in that candidate's ``settings()``.
        scale: factor on that setting's learning rate.
    """

    candidate: int
    setting: int
    scale: float = 1.0


@dataclass(frozen=True)
class Job:
    """One trial's validation, final fit or jackknife. ``share``: its steps over those of the configuration."""

    kind: Kind
    candidate: int
    setting: int
    seed: int
    share: float = 1.0
    scale: float = 1.0

    @property
    def arm(self) -> Arm:
        return Arm(self.candidate, self.setting, self.scale)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Chosen:
    """A candidate at its best setting: validation by seed, and every trial of it on the first, shorter ones included.

    ``key``: what report and verdict call it.
    """

    key: str
    arm: Arm
    candidate: Candidate
    validated: tuple[Validated, ...]
    tried: tuple[Validated, ...]

    @property
    def share(self) -> float:
        return self.validated[0].share

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
class Search(Trials):
    """One run's search over one labelled set: its arms, the jobs on them, and their scores."""

    def arms(self, candidate: int) -> list[Arm]:
        """Every setting of a candidate."""
        return [Arm(candidate, j) for j in range(len(self.candidates[candidate].settings()))]

    def at(self, arm: Arm) -> Candidate:
        """The candidate at the arm's setting."""
        setting = self.candidates[arm.candidate].settings()[arm.setting]
        return setting.scaled(arm.scale) if arm.scale != 1 and isinstance(setting, StrategyCandidate) else setting

    def jobs(self, kind: Kind, arms: Iterable[Arm], seeds: Sequence[int], share: float = 1.0) -> list[Job]:
        """One job for each arm and seed, those of one arm in a row."""
        return [Job(kind, a.candidate, a.setting, s, self.length(a, share), a.scale) for a in arms for s in seeds]

    def length(self, arm: Arm, share: float) -> float:
        """``share``, or 1 where the candidate takes no steps and every length is the same."""
        return 1.0 if self.candidates[arm.candidate].free else share

    def size(self, job: Job) -> float:
        """How many full-length fits a job is worth; 0 where it takes no steps."""
        fits = {"validate": self.fold_count, "finish": 1, "jackknife": FOLDS}[job.kind]
        return 0.0 if self.candidates[job.candidate].free else fits * job.share

    def is_done(self, job: Job) -> bool:
        """Whether its trial's folder holds the job's result."""
        path = self.place(self.at(job.arm), job.seed, job.share) / "metrics.json"
        return path.exists() and RESULTS[job.kind] in read_json(path)

    def do(self, job: Job) -> None:
        """Compute a job; its result is what the trial's folder then holds."""
        validated = self.validate(self.at(job.arm), job.seed, job.share)
        if job.kind == "finish":
            self.finish(validated)
        elif job.kind == "jackknife":
            self.jackknife(validated)

    def trial(self, arm: Arm, seed: int, share: float) -> Validated:
        """The arm's validation, read back where it is done."""
        return self.validate(self.at(arm), seed, self.length(arm, share))

    def merit(self, arm: Arm, share: float) -> float:
        """The arm's validation score with the first seed, signed so that more is better; undefined is worst."""
        score = self.trial(arm, self.seeds[0], share).score
        sign = 1 if self.bench.task.metrics[0].higher_is_better else -1
        return sign * score if math.isfinite(score) else -math.inf

    def best(self, arms: Sequence[Arm], share: float) -> Arm:
        """The arm of best merit among one candidate's; its default setting where that is within one standard error.

        The one-standard-error rule (Breiman et al. 1984, section 3.4.3): the best of several rates on a few dozen rows
        is the luckiest one.
        """
        top = max(arms, key=lambda arm: self.merit(arm, share))
        usual = self.candidates[top.candidate].hyperparameters
        own = next((arm for arm in arms if self.at(arm).hyperparameters == usual), top)
        gap = self.merit(top, share) - self.merit(own, share)
        near = own != top and gap <= self.error(
            [self.trial(top, self.seeds[0], share)], [self.trial(own, self.seeds[0], share)]
        )
        return own if near else top

    def error(self, first: Sequence[Validated], second: Sequence[Validated]) -> float:
        """Standard error of the difference of two candidates' validation means, over the same seeds."""
        units, targets = self.labelled.units, self.labelled.targets.numpy()
        numbers = np.arange(len(targets)) if units is None else units.numpy()
        parts: list[list[OutOfFold]] = [
            [(r.numpy(), p) for r, p in (v.out_of_fold for v in s)] for s in (first, second)
        ]
        return paired_error(self.bench.task.metrics[0], targets, numbers, *parts)

    def key(self, candidate: int) -> str:
        """What report and verdict call the candidate: its name, and its source's where the run has several."""
        return self.candidates[candidate].label
