"""What is predicted of the user's patients: which task their columns make, and its targets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tlplat.data.labelsets import read_apart
from tlplat.data.sheets import Sheet
from tlplat.domain import DataOptions
from tlplat.errors import DataError, UsageError
from tlplat.tasks.base import Task
from tlplat.tasks.classification import Classification
from tlplat.tasks.survival import Survival
from tlplat.tasks.treatment import Treatment
from tlplat_medicine.options import MedicineOptions
from tlplat_medicine.privacy import FEWEST
from tlplat_medicine.restricted import restricted_means
from tlplat_medicine.table import typed_columns

YES, NO = {"1", "1.0", "true", "yes", "y"}, {"0", "0.0", "false", "no", "n"}
CONTROLS = ("0", "0.0", "no", "none", "control", "placebo", "false")
MOST_CLASSES, MOST_ARMS, POINTS = 50, 6, 12


@dataclass(frozen=True)
class Outcome:
    """What is to be predicted of each row of a file.

    Attributes:
        columns: those of the file that it is made of, which no model may look at.
        strata: (n,) int64 that the split keeps in proportion: classes, events, arms; or (n, c) of {0, 1}, which of c
            labels each row has.
        time, event, value, arm: (n,) as the task needs them. names: of the classes, arms or labels.
    """

    columns: tuple[str, ...]
    strata: np.ndarray
    time: np.ndarray | None = None
    event: np.ndarray | None = None
    value: np.ndarray | None = None
    arm: np.ndarray | None = None
    names: tuple[str, ...] = ()

    @property
    def several(self) -> bool:
        """Whether a row may have any number of the labels."""
        return self.strata.ndim == 2


def joined(first: Outcome, second: Outcome) -> Outcome:
    """The rows of both, one after another; names are those of the first."""

    def both(a: np.ndarray | None, b: np.ndarray | None) -> np.ndarray | None:
        return None if a is None or b is None else np.concatenate([a, b])

    return Outcome(
        first.columns,
        np.concatenate([first.strata, second.strata]),
        both(first.time, second.time),
        both(first.event, second.event),
        both(first.value, second.value),
        both(first.arm, second.arm),
        first.names,
    )


def outcome_of(options: MedicineOptions, data: DataOptions, sheet: Sheet, known: Sequence[str] = ()) -> Outcome:
    """The outcome of the task that ``options`` name. ``known``: classes or arms of a file that was read before.

    Raises:
        UsageError TL-USAGE: an option that says where it stands is not given. DataError: what stands there is none.
    """
    if options.task == "prognosis":
        time, event = _watched(options, data, sheet)
        return Outcome(_named(options.time, options.event or data.target), event.astype(np.int64), time, event)
    if options.task == "diagnosis":
        target = _need(data.target, "--target", "diagnosis", "the class")
        labels = complete(sheet, target, "--target")
        names = tuple(known) or _classes(labels, options.positive, target)
        return Outcome((target,), _numbered(sheet, names, target), names=names)
    arm_column = _need(options.arm, "--arm", "treatment", "the treatment that was given")
    given = complete(sheet, arm_column, "--arm")
    names = tuple(known) or _arms(given, options.control, arm_column)
    arm = _numbered(sheet, names, arm_column)
    if options.time is None:
        target = _need(data.target, "--target (or --time, --event and --horizon)", "treatment", "the outcome")
        value = _numbers(sheet, target, "--target")
        return Outcome((arm_column, target), arm, value=value, arm=arm, names=names)
    time, event = _watched(options, data, sheet)
    if options.horizon is None:
        raise UsageError(
            "TL-USAGE",
            "treatment with a time to an event needs the time up to which it is counted",
            fix="add --horizon TIME, within which most patients were watched",
        )
    columns = (arm_column, *_named(options.time, options.event or data.target))
    return Outcome(columns, arm, time, event, arm=arm, names=names)


def task_of(options: MedicineOptions, outcome: Outcome, data: DataOptions) -> Task:
    """The task, and what it is told of the whole of the outcomes: names, the grid of times."""
    if options.task == "diagnosis":
        decisions = len(outcome.names) == 2 and not outcome.several
        return Classification(outcome.names, outcome.several, decisions=decisions, least=FEWEST)
    if options.task == "treatment":
        timed = outcome.value is None
        return Treatment(
            outcome.names,
            outcome=f"time without the event within {options.horizon:g} {options.unit}" if timed else str(data.target),
            unit=options.unit if timed else "",
            maximise=timed or not options.lower_is_better,
        )
    targets = torch.from_numpy(np.stack([outcome.time, outcome.event], axis=1).astype(np.float64))
    times = Survival.over(targets, POINTS).times
    horizon = options.horizon or times[len(times) // 2]
    return Survival(times=sorted({*times, horizon}), unit=options.unit, horizon=horizon)


def targets_of(options: MedicineOptions, outcome: Outcome, rows: np.ndarray, covariates: Tensor) -> Tensor:
    """Targets of one side of the split. ``rows``: its numbers; ``covariates`` (n, d): known before treatment."""
    if options.task == "diagnosis":
        strata = torch.from_numpy(outcome.strata[rows])
        return strata.float() if outcome.several else strata
    if options.task == "prognosis":
        assert outcome.time is not None
        assert outcome.event is not None
        pair = np.stack([outcome.time[rows], outcome.event[rows]], axis=1)
        return torch.from_numpy(pair.astype(np.float32))
    assert outcome.arm is not None
    arm, count = torch.from_numpy(outcome.arm[rows]), len(outcome.names)
    if outcome.value is not None:
        value = outcome.value[rows]
    else:
        assert outcome.time is not None
        assert outcome.event is not None
        value = restricted_means(outcome.time[rows], outcome.event[rows], options.horizon or np.inf)
    share = torch.bincount(arm, minlength=count).double() / max(1, len(arm))
    known = share.repeat(len(arm), 1) if options.randomised else None
    return Treatment.targets(covariates, arm, torch.from_numpy(value), count, known).float()


def _watched(options: MedicineOptions, data: DataOptions, sheet: Sheet) -> tuple[np.ndarray, np.ndarray]:
    """Time and event (n,) of each row."""
    column = _need(options.time, "--time", options.task, "the time to the event")
    time = _numbers(sheet, column, "--time")
    wrong = np.flatnonzero(~(time > 0))
    if len(wrong):
        raise DataError(
            "TL-DATA-TARGET",
            f"{len(wrong)} of {len(time)} rows have no time above 0",
            where=sheet.place(int(wrong[0]), column),
            fix="leave these rows out, or mend the column of times",
        )
    column = _need(options.event or data.target, "--event", options.task, "whether the event came")
    said = [value.lower() for value in complete(sheet, column, "--event")]
    odd = [i for i, value in enumerate(said) if value not in YES | NO]
    if odd:
        raise DataError(
            "TL-DATA-TARGET",
            f"{len(odd)} of {len(said)} events are neither 1 nor 0",
            where=sheet.place(odd[0], column),
            expected="1, true or yes where the event came, else 0, false or no",
            fix="write the column of events so",
        )
    return time, np.array([value in YES for value in said])


def _need(name: str | None, flag: str, task: str, what: str) -> str:
    if name is None:
        class_fix = ", or name the column of a diagnosis with --target" if task == "prognosis" else ""
        said = f"{task} on your own data needs the column of {what}"
        raise UsageError("TL-USAGE", said, fix=f"add {flag} COLUMN{class_fix}")
    return name


def _named(*columns: str | None) -> tuple[str, ...]:
    return tuple(c for c in columns if c is not None)


def _numbers(sheet: Sheet, column: str, flag: str) -> np.ndarray:
    """The column's numbers (n,), none of them missing."""
    complete(sheet, column, flag)
    return typed_columns(sheet, [column], numeric=[column])[column]


def complete(sheet: Sheet, column: str, flag: str) -> list[str]:
    """The column's texts. Raises DataError TL-DATA-COLUMN, TL-DATA-LABEL-MISSING: there is none, or not in each row."""
    values = sheet.column(column, flag)
    missing = [i for i, value in enumerate(values) if not value]
    if missing:
        advice = read_apart([value for value in values if value]) if flag == "--target" else None
        raise DataError(
            "TL-DATA-LABEL-MISSING",
            f"{len(missing)} of {len(values)} rows have no {column}",
            where=sheet.place(missing[0], column),
            fix=advice or "leave these rows out, or fill the column",
        )
    return values


def _classes(labels: Sequence[str], positive: str | None, column: str) -> tuple[str, ...]:
    names = sorted(
        set(labels), key=lambda v: (not v.lstrip("+-").isdigit(), int(v) if v.lstrip("+-").isdigit() else 0, v)
    )
    if len(names) > min(MOST_CLASSES, max(2, len(labels) // 5)):
        raise DataError(
            "TL-DATA-CLASSES",
            f"the column {column} has {len(names)} different values in {len(labels)} rows: that is no class",
            expected=f"{MOST_CLASSES} classes at most, of five rows or more each",
            fix=read_apart(labels) or "name the column of the diagnosis with --target; an amount or a name is none",
        )
    if positive is not None:
        if positive not in names:
            raise DataError(
                "TL-DATA-CLASSES",
                f"the column {column} holds no {positive!r}",
                expected="a class that is there",
                fix="name the class that is looked for as the column writes it (--positive)",
            )
        names = [*(n for n in names if n != positive), positive]
    return tuple(names)


def _arms(given: Sequence[str], control: str | None, column: str) -> tuple[str, ...]:
    """Names of the arms, the control first."""
    counts = Counter(given)
    if not 2 <= len(counts) <= MOST_ARMS or min(counts.values()) < FEWEST:
        raise DataError(
            "TL-DATA-ARMS",
            f"the column {column} has {len(counts)} different values, some perhaps of fewer than {FEWEST} patients",
            expected=f"2 to {MOST_ARMS} treatments of {FEWEST} patients or more each",
            fix="name the column of the treatment with --arm, and leave out rows of rare ones",
        )
    first = control or next((c for c in CONTROLS if c in counts), max(sorted(counts), key=counts.__getitem__))
    if first not in counts:
        raise DataError(
            "TL-DATA-ARMS",
            f"the column {column} holds no {first!r}",
            expected="a treatment that is there",
            fix="name the arm without treatment as the column writes it (--control)",
        )
    return (first, *sorted(name for name in counts if name != first))


def _numbered(sheet: Sheet, names: Sequence[str], column: str) -> np.ndarray:
    values = sheet.columns[column]
    place = {name: i for i, name in enumerate(names)}
    unknown = [i for i, value in enumerate(values) if value not in place]
    if unknown:
        raise DataError(
            "TL-DATA-LABEL-UNKNOWN",
            f"{len(unknown)} rows have a {column} that no training row has",
            where=sheet.place(unknown[0], column),
            fix="write the classes alike in both files",
        )
    return np.array([place[value] for value in values], dtype=np.int64)
