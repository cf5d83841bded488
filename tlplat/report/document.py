"""report.json as types. The runner fills them; extra fields are kept; NaN becomes null.

Scores are in the metric's own unit. ``interval`` is always ``[low, high]``, with nulls where it is undefined.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, Self

from pydantic import Field, JsonValue, model_validator

from tlplat.report.fields import Count, Family, Inside, Interval, Number, Part
from tlplat.report.parts import ChartPart, ExplanationPart, TablePart
from tlplat.report.plain import plain, rounded
from tlplat.report.searched import SearchPart

SCHEMA_VERSION = 1
SETTINGS = ("hyperparameters", "settings", "plan", "run")
"""Keys of what was set, beside what was found."""


class TaskPart(Part):
    """What is predicted. ``labels``: class names in index order; ``source`` and ``target`` are distributions."""

    title: str
    kind: str
    labels: tuple[str, ...] = ()
    source: str | None = None
    target: str | None = None
    several: bool = False
    """A row may have any number of the labels."""
    balanced: bool = False
    """Predictions count labels alike, however rare."""
    unit: str = "row"
    """What the bootstrap resamples, in a word."""


class MetricPart(Part):
    """The primary metric. ``points``: differences are spoken of in hundredths (known metrics need not say).

    ``unit``: what it is measured in; empty for a pure number.
    """

    name: str
    higher_is_better: bool
    title: str | None = None
    meaning: str | None = None
    points: bool | None = None
    unit: str = ""


class LabelsPart(Part):
    """Rows. ``train + validation`` is what ``--labels`` counts, also where selection uses folds."""

    train: Count
    validation: Count
    test: Count
    selection: str


class ValidationPart(Part):
    """A candidate's score where selection looked."""

    mean: Number
    interval: Interval | None = None


class SeedPart(Part):
    """One trial. ``trial``: its folder, relative to the run directory."""

    seed: int
    test: Number
    validation: Number = None
    trial: Inside | None = None


class CurvePoint(Part):
    """One point of a learning curve; ``seed`` and ``fold`` tell the curves of one candidate apart."""

    step: Count
    train_loss: Number = None
    validation_loss: Number = None
    validation_metric: Number = None
    seed: int | None = None
    fold: int | None = None


class ComparisonPart(Part):
    """One candidate minus another; positive means that it is better, whatever the metric's direction."""

    difference: Number
    interval: Interval
    sentence: str | None = None


class CandidatePart(Part):
    """One way of making a model, over all seeds.

    Attributes:
        key: what the verdict calls it; default the strategy's name. title, summary: for readers, optional.
        against_reference: minus the verdict's reference on test rows; intervals hold for all candidates at once.
        mean, interval: on test rows. metrics: means of the other metrics on test rows.
        inference_cost: multiply-adds a row. seconds: wall time of all its trials, selection included.
        curves: learning curve points of the chosen setting. plan: its transfer plan.
    """

    strategy: str
    family: Family
    transfers: bool
    key: str = ""
    source: str | None = None
    title: str | None = None
    summary: str | None = None
    hyperparameters: dict[str, JsonValue] = Field(default_factory=dict)
    mean: Number = None
    interval: Interval | None = None
    against_reference: ComparisonPart | None = None
    validation: ValidationPart | None = None
    seeds: tuple[SeedPart, ...] = ()
    metrics: dict[str, Number] = Field(default_factory=dict)
    trained_parameters: Count | None = None
    total_parameters: Count | None = None
    inference_cost: Number = None
    seconds: Number = None
    curves: tuple[CurvePoint, ...] = ()
    plan: dict[str, JsonValue] | None = None
    note: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _name(cls, data: Any) -> Any:
        return {**data, "key": data.get("key") or data.get("strategy")} if isinstance(data, Mapping) else data


class SkippedPart(Part):
    """A strategy that did not run, and why."""

    strategy: str
    reason: str


class VerdictPart(Part):
    """Does transfer pay? Keys name candidates.

    Attributes:
        winner: best transfer on validation. reference: best without transfer on validation.
        difference, interval: winner minus reference on test rows, positive where the winner is better.
        level: of ``interval``.
        adaptation: the winner against zero-shot. against_scratch: the winner against scratch.
        sentence: filled on writing where it is empty.
    """

    outcome: Literal["helps", "ties", "hurts"]
    negative_transfer: bool
    winner: str
    reference: str
    difference: Number
    interval: Interval
    level: float = 0.95
    adaptation: ComparisonPart | str | None = None
    against_scratch: ComparisonPart | None = None
    recommended: str
    sentence: str = ""


class RocPart(Part):
    """A ROC curve of one label against the rest: ``points`` are [false positive rate, true positive rate]."""

    points: tuple[tuple[float, float], ...]
    label: str | None = None
    auroc: Number = None


class BinPart(Part):
    """Rows of similar confidence: mean predicted probability, share that was right, how many rows."""

    predicted: Number
    observed: Number
    count: float


class ScalingPart(Part):
    """Temperature scaling: fitted on ``rows`` validation rows; [before, after] on test rows; ``ece`` over ``bins``."""

    temperature: float
    rows: Count
    bins: Count
    ece: tuple[Number, Number] | None = None
    nll: tuple[Number, Number]


class GroupPart(Part):
    """A group's score on test rows; intervals are simultaneous over the groups."""

    group: str
    rows: Count
    mean: Number
    interval: Interval


class DetailPart(Part):
    """A closer look at one candidate. ``confusion[i][j]``: rows of label i predicted as j; text where suppressed."""

    confusion: tuple[tuple[float | str | None, ...], ...] | None = None
    roc: tuple[RocPart, ...] = ()
    calibration: tuple[BinPart, ...] = ()
    ece: Number = None
    scaling: ScalingPart | None = None
    groups: tuple[GroupPart, ...] = ()
    groups_unscored: Count = 0
    charts: tuple[ChartPart, ...] = ()
    tables: tuple[TablePart, ...] = ()
    note: str | None = None


class LabelCurvePoint(Part):
    """The score of a candidate with a given number of labels."""

    candidate: str
    labels: Count
    mean: Number
    interval: Interval | None = None


class ConfigValue(Part):
    """A resolved setting and where it came from (flag, --set, file, environment, default)."""

    value: JsonValue
    origin: str | None = None


class RunPart(Part):
    """What was run. ``config``: dotted keys. ``environment``: versions, threads, instruction set, device."""

    command: str | None = None
    config: dict[str, ConfigValue] = Field(default_factory=dict)
    environment: dict[str, JsonValue] = Field(default_factory=dict)
    seconds: Number = None
    finished: str | None = None


class BudgetPart(Part):
    """What one trial could spend. ``calibrated``: how steps came from a time budget, where they did."""

    steps: Count | None = None
    batch_size: Count | None = None
    calibrated: JsonValue = None


class Report(Part):
    """The whole document. ``level`` is that of the candidates' intervals.

    ``decimals``: figures have no more, where more would tell how few rows they rest on; settings keep theirs.
    """

    schema_version: Literal[1] = 1
    tlplat: str
    domain: str
    task: TaskPart
    metric: MetricPart
    labels: LabelsPart
    candidates: tuple[CandidatePart, ...]
    skipped: tuple[SkippedPart, ...] = ()
    search: SearchPart = SearchPart()
    verdict: VerdictPart | None = None
    level: float = 0.95
    details: dict[str, DetailPart] = Field(default_factory=dict)
    label_curve: tuple[LabelCurvePoint, ...] = ()
    explanation: ExplanationPart | None = None
    data_card: dict[str, JsonValue] = Field(default_factory=dict)
    source_card: dict[str, JsonValue] = Field(default_factory=dict)
    run: RunPart = RunPart()
    budget: BudgetPart = BudgetPart()
    run_dir: str = ""
    warnings: tuple[str, ...] = ()
    decimals: Count | None = None

    @model_validator(mode="after")
    def _names(self) -> Self:
        keys = [c.key for c in self.candidates]
        twice = sorted({k for k in keys if keys.count(k) > 1})
        if twice:
            raise ValueError(f"candidates share the key {', '.join(twice)}")
        for place, key in self._mentions():
            if key not in keys:
                raise ValueError(f"{place} names {key!r}, which is no candidate's key")
        return self

    def _mentions(self) -> Iterator[tuple[str, str]]:
        if self.verdict is not None:
            for field in ("winner", "reference", "recommended"):
                yield f"verdict.{field}", getattr(self.verdict, field)
        yield from (("details", key) for key in self.details)
        yield from (("label_curve", point.candidate) for point in self.label_curve)

    @classmethod
    def of(cls, document: Report | Mapping[str, Any]) -> Report:
        """The document, checked; numpy values and NaN are made plain first. Raises pydantic.ValidationError."""
        content = plain(document)
        decimals = content.get("decimals") if isinstance(content, dict) else None
        return cls.model_validate(content if not isinstance(decimals, int) else rounded(content, decimals, SETTINGS))

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, extra fields included; no NaN."""
        document = plain(self)
        assert isinstance(document, dict)
        return document


def by_key(report: Report) -> dict[str, CandidatePart]:
    """Candidates by their key."""
    return {c.key: c for c in report.candidates}


def ranked(candidates: Sequence[CandidatePart], higher_is_better: bool) -> list[CandidatePart]:
    """Best mean on test rows first, undefined ones last; equals keep their order."""
    sign = -1 if higher_is_better else 1
    return sorted(candidates, key=lambda c: (c.mean is None, 0.0 if c.mean is None else sign * c.mean))
