"""What observers are told of a run: a small set of events, each a dataclass that :func:`describe` turns into JSON.

Every event is handed over as a dictionary with ``event`` (its name), ``schema_version``, ``run_dir`` (the run
directory, absolute) and the fields of its class. Within one schema version events and fields may be added, and none
changes.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Event:
    """Base of the events. A field's annotation says what it means."""

    name: ClassVar[str]


@dataclass(frozen=True)
class RunStart(Event):
    """The data are read, checked and split, and the search is about to begin; also where a run is resumed."""

    name: ClassVar[str] = "run_start"
    config: Annotated[dict[str, Any], "every setting, as config.toml has it"]
    task: Annotated[str, "the task's title"]
    metric: Annotated[str, "the primary metric"]
    higher_is_better: Annotated[bool, "its direction"]
    rows: Annotated[dict[str, int], "how many rows are labelled, and how many are test rows"]
    candidates: Annotated[list[str], "strategies and baselines that are tried"]
    resumed: Annotated[bool, "earlier trials are kept; they are not told again"]


@dataclass(frozen=True)
class TrialStart(Event):
    """A fit of one candidate with one setting and seed begins: its validation, or for finalists the final fit."""

    name: ClassVar[str] = "trial_start"
    trial: Annotated[str, "the trial's folder below run_dir: the same for its validation and its final fit"]
    stage: Annotated[Literal["validation", "final"], "fits that leave validation rows out, or one on all labelled rows"]
    candidate: Annotated[str, "what the report calls it"]
    strategy: Annotated[str, "the strategy or baseline"]
    family: Annotated[str, "parameter, feature, structural or baseline"]
    source: Annotated[str | None, "the source model; null for a baseline without one"]
    hyperparameters: Annotated[dict[str, Any], "the setting"]
    seed: Annotated[int, "decides initialisation, order and folds"]
    share: Annotated[float, "training steps over those of a full-length fit: a search begins with short fits"]


@dataclass(frozen=True)
class TrialProgress(Event):
    """A point of a learning curve: about eight a fit, whatever its length."""

    name: ClassVar[str] = "trial_progress"
    trial: Annotated[str, "as in trial_start"]
    stage: Annotated[Literal["validation", "final"], "as in trial_start"]
    step: Annotated[int, "training steps of this fit so far"]
    train_loss: Annotated[float | None, "of the last batch"]
    fold: Annotated[int | None, "which fold is left out; null in a final fit"] = None
    member: Annotated[int, "which of the plan's members"] = 0
    validation_loss: Annotated[float | None, "mean over the fold; null in a final fit"] = None
    validation_metric: Annotated[float | None, "the primary metric on the fold; null where undefined"] = None


@dataclass(frozen=True)
class TrialComplete(TrialStart):
    """A trial's validation or final fit is done, and its result is in the trial's folder."""

    name: ClassVar[str] = "trial_complete"
    metrics: Annotated[
        dict[str, float | None],
        "by name: the primary one on validation rows, or all on test rows after a final fit; null where undefined",
    ] = field(default_factory=dict)
    steps: Annotated[int, "training steps of a fit"] = 0
    trained_parameters: Annotated[int, "weights that were trained"] = 0
    seconds: Annotated[float, "wall time of the fits"] = 0.0


@dataclass(frozen=True)
class VerdictReached(Event):
    """All finalists are compared on the test rows; model and report are about to be written."""

    name: ClassVar[str] = "verdict"
    verdict: Annotated[dict[str, Any], "what report.json says under `verdict`, without its sentence"]


@dataclass(frozen=True)
class RunComplete(Event):
    """Model and report are written."""

    name: ClassVar[str] = "run_complete"
    report: Annotated[dict[str, Any], "what report.json holds"]


@dataclass(frozen=True)
class RunFailed(Event):
    """An error ended the run; what was done is kept."""

    name: ClassVar[str] = "run_failed"
    code: Annotated[str, "the error's code, such as TL-OOM; for a bug the exception's name"]
    message: Annotated[str, "what went wrong"]


@dataclass(frozen=True)
class RunInterrupted(Event):
    """Ctrl-C or SIGTERM ended the run; `tlplat resume` goes on with it. Observers have about three seconds."""

    name: ClassVar[str] = "run_interrupted"


EVENTS: tuple[type[Event], ...] = (
    RunStart,
    TrialStart,
    TrialProgress,
    TrialComplete,
    VerdictReached,
    RunComplete,
    RunFailed,
    RunInterrupted,
)
"""In the order in which a run sends them."""


def describe(event: Event) -> dict[str, Any]:
    """The event's name and fields as JSON values; numbers that are not finite become null."""
    return {"event": event.name, **_plain(dataclasses.asdict(event))}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
