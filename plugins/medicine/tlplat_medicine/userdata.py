"""The user's own patients: read, checked, split, encoded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tlplat.data.columns import TableEncoder
from tlplat.data.examples import Examples
from tlplat.data.labelsets import tell_of_lists
from tlplat.data.quality import hidden
from tlplat.data.sheets import Sheet
from tlplat.data.sides import Sides, files_given, given_sides
from tlplat.domain import DataOptions, DomainContext, TargetTask
from tlplat.errors import DataError, UsageError
from tlplat.model import SourceModel
from tlplat.tabular import TableInputs
from tlplat_medicine.labels import label_outcome, several_labels, without_rare
from tlplat_medicine.leaks import check_leaks
from tlplat_medicine.limits import check_possible, limits_of
from tlplat_medicine.options import MedicineOptions
from tlplat_medicine.outcomes import Outcome, joined, outcome_of, targets_of, task_of
from tlplat_medicine.privacy import FEWEST, naming_columns, rare_columns
from tlplat_medicine.split import Split, check_given, linked, numbered, split_patients, split_sites
from tlplat_medicine.table import Warn, read_sheet, typed_columns

LEAST_SHARED = 0.5
"""Of a source's columns, so many must be in the data."""
NOT_RANDOMISED = (
    "the treatment was not drawn by lot, so that patients of the arms may differ in what no column says: values and "
    "effects are right only if the columns hold all that decided on the treatment (a trial: add --randomised)"
)


@dataclass(frozen=True)
class Rows:
    """The patients of all files, one after another.

    Attributes:
        path: of the first file. columns: features, typed. left_out: columns that are none, each with the reason.
        outcome: what is predicted. sides: the split that the user made, or None.
        ids: places, not names: the number of each row in its file.
        patients, sites: (n,) numbers, or None where no column tells. id_column: what predictions will carry.
    """

    path: Path
    columns: dict[str, np.ndarray]
    left_out: dict[str, str]
    outcome: Outcome
    sides: Sides | None
    ids: list[str]
    patients: np.ndarray | None
    sites: np.ndarray | None
    id_column: str

    def __len__(self) -> int:
        return len(self.outcome.strata)

    def table(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """The features of the rows numbered so."""
        return {name: values[rows] for name, values in self.columns.items()}


def read_rows(options: MedicineOptions, data: DataOptions, warn: Warn, source: SourceModel | None = None) -> Rows:
    """Read and check everything that can be told without a split.

    Args:
        source: where given, its columns say which of the file's are numbers, and its classes the order.
    """
    assert data.path is not None
    sheets = [read_sheet(path, warn) for path in files_given(data)]
    sheet, sizes = reduce(Sheet.stacked, sheets), [len(one) for one in sheets]
    if several_labels(options, data, sheet):
        outcome = label_outcome(data, sheet, warn)
    else:
        outcome = outcome_of(options, data, sheets[0], _known_names(options, data, sheets[0], source))
        for other in sheets[1:]:
            outcome = joined(outcome, outcome_of(options, data, other, outcome.names))
        if options.task == "diagnosis":
            tell_of_lists(sheet.columns[str(data.target)], str(data.target), warn)
    names = [] if data.split is None else sheet.column(data.split, "--split")
    ids = [sheet.row(i) for i in range(len(sheet))]
    sides = given_sides(data, sizes, names, ids.__getitem__)
    taken = {
        *outcome.columns,
        options.id,
        *options.drop,
        *_given(data.group),
        *_given(data.split),
        *_given(options.site),
    }
    for name in (*options.drop, *options.categorical):
        sheet.column(name, "--drop or --categorical")
    texts = {name: values for name, values in sheet.columns.items() if name not in taken}
    left_out = naming_columns(texts)
    columns = _typed(sheet, [name for name in texts if name not in left_out], options, source)
    left_out |= rare_columns(columns)
    columns = {name: values for name, values in columns.items() if name not in left_out}
    if left_out:
        warn(f"columns left out: {'; '.join(f'{name} ({why})' for name, why in left_out.items())}")
    if not columns:
        raise DataError(
            "TL-DATA-COLUMN",
            f"{data.path.name} has no column to predict from",
            where=str(data.path),
            fix="give columns of measurements beside the outcome",
        )
    check_possible(sheet, columns, limits_of(options.limit))
    patients = None if data.group is None else numbered(_every(sheet, data.group, "--group"))
    named = sheet.columns.get(options.id, [])
    if patients is None and len(set(named)) < len(named) and all(named):
        patients = numbered(named)
        warn(f"values of the column {options.id} repeat: rows of one are taken for one patient's")
    sites = None if options.site is None else numbered(_every(sheet, options.site, "--site"))
    if outcome.several:
        known = () if source is None or source.task is None else source.task.labels
        outcome = without_rare(outcome, data.label_separator, patients, known, warn)
    else:
        _tell_small_classes(outcome, warn)
    check_leaks(columns, outcome, warn)
    id_column = options.id if options.id in sheet.columns else data.group or options.id
    return Rows(data.path, columns, left_out, outcome, sides, ids, patients, sites, id_column)


def split_rows(rows: Rows, data_seed: int, warn: Warn, share: float | None = None) -> Split:
    """Test rows and what stays together; rows that equal each other in every column count as one patient."""
    patients = rows.patients
    if patients is None:
        copies = _copies(rows)
        patients = np.arange(len(rows)) if copies is None else copies
        if copies is not None:
            warn("rows that equal others in every column are taken for one patient's; --group names the patients")
    if rows.sides is not None:
        labels = rows.outcome.names if rows.outcome.several else ()
        return check_given(patients, rows.sides.test, rows.outcome.strata, rows.ids, rows.sides.by, labels)
    if rows.sites is not None and share is None:
        return split_sites(rows.sites, patients, rows.outcome.strata, data_seed)
    given = {} if share is None else {"share": share}
    return split_patients(patients, rows.outcome.strata, data_seed, **given)


def as_examples(
    rows: Rows, side: np.ndarray, split: Split, options: MedicineOptions, encoder: TableEncoder
) -> Examples:
    """The rows where ``side`` (n,) is true, encoded, with targets of their own."""
    index = np.flatnonzero(side)
    table, ids = rows.table(index), rows.ids
    validation = None if rows.sides is None else rows.sides.validation
    covariates = TableEncoder.fit(table).encode(table) if options.task == "treatment" else torch.zeros(len(index), 0)
    return Examples(
        TableInputs.of(encoder, table),
        targets_of(options, rows.outcome, index, covariates),
        [ids[i] for i in index.tolist()],
        torch.from_numpy(split.groups[index]),
        torch.from_numpy(split.patients[index]),
        validation=validation if validation is None else validation[torch.from_numpy(index)],
    )


def target(options: MedicineOptions, data: DataOptions, source: SourceModel, context: DomainContext) -> TargetTask:
    """The user's patients as a target for ``source``."""
    rows = read_rows(options, data, context.warn, source)
    encoder = TableEncoder.from_json(source.preprocess["columns"])
    told = encoder.fit_report(rows.columns)
    need_shared(rows, told, source)
    split = split_rows(rows, context.data_seed, context.warn)
    task = task_of(options, rows.outcome, data)
    warn_of_lots(options, context.warn)
    pool, test = (as_examples(rows, side, split, options, encoder) for side in (~split.test, split.test))
    return TargetTask(
        title=f"{options.task}: {source.name} -> {rows.path.name}",
        task=task,
        pool=pool,
        test=test,
        preprocess={
            **source.preprocess,
            "task": options.task,
            "id": rows.id_column,
            "given": told["shared"],
            "limits": list(options.limit),
        },
        data_card={
            **data_card(rows, split, told),
            "note": note_of(options),
        },
        unit="patient",
        unlabeled=pool.inputs,
        may_repeat=True,
    )


def data_card(rows: Rows, split: Split, told: Mapping[str, Any]) -> dict[str, Any]:
    """What the data are (JSON), without a count below 11."""
    counts = {
        "rows": len(rows),
        "patients": len(np.unique(split.patients)),
        "pool_rows": int((~split.test).sum()),
        "test_rows": int(split.test.sum()),
    }
    card = {
        "file": rows.path.name,
        **hidden(counts, FEWEST),
        "split": split.report,
        "columns": {**told, "unseen_categories": hidden(told["unseen_categories"], FEWEST)},
        "left_out": rows.left_out,
    }
    return card


def need_shared(rows: Rows, told: Mapping[str, Any], source: SourceModel) -> None:
    """Refuse a source that hardly knows the columns.

    Raises:
        DataError TL-DATA-COLUMN.
    """
    shared, absent = told["shared"], told["absent"]
    if len(shared) < LEAST_SHARED * (len(shared) + len(absent)):
        raise DataError(
            "TL-DATA-COLUMN",
            f"{rows.path.name} has {len(shared)} of the {len(shared) + len(absent)} columns that {source.name} knows",
            where=str(rows.path),
            found=", ".join(rows.columns),
            expected=", ".join([*shared, *absent]),
            fix="name columns as the source does, or make a source of like patients: tlplat pretrain --domain medicine",
        )


def note_of(options: MedicineOptions) -> str:
    """What a reader of the report must know."""
    said = "a prediction describes groups; it is no advice for one patient"
    return f"{said}; {NOT_RANDOMISED}" if options.task == "treatment" and not options.randomised else said


def warn_of_lots(options: MedicineOptions, warn: Warn) -> None:
    """Say what a value of a treatment rests on where it was not drawn by lot."""
    if options.task == "treatment" and not options.randomised:
        warn(NOT_RANDOMISED)


def need_data(options: MedicineOptions) -> None:
    """UsageError where an option speaks of data that are not given."""
    fields = ("time", "event", "arm", "control", "positive", "site", "horizon")
    named = [name for name in fields if getattr(options, name) is not None]
    if named or options.drop or options.categorical or options.limit:
        flag = f"--{named[0].replace('_', '-')}" if named else "--drop, --categorical and --limit"
        raise UsageError("TL-USAGE", f"{flag} needs --data", fix="add --data FILE with the patients")


def _known_names(
    options: MedicineOptions, data: DataOptions, sheet: Sheet, source: SourceModel | None
) -> tuple[str, ...]:
    """The source's classes in its order, where the file has exactly these."""
    if options.task != "diagnosis" or options.positive is not None or source is None or source.task is None:
        return ()
    found = set(sheet.columns.get(str(data.target), []))
    return source.task.labels if found and found == set(source.task.labels) else ()


def _typed(
    sheet: Sheet, names: list[str], options: MedicineOptions, source: SourceModel | None
) -> dict[str, np.ndarray]:
    columns = [] if source is None else source.preprocess["columns"]
    words = {c["name"] for c in columns if c["kind"] == "categorical"} | set(options.categorical)
    numbers = {c["name"] for c in columns if c["kind"] != "categorical"} - set(options.categorical)
    return typed_columns(sheet, names, words, numbers)


def _every(sheet: Sheet, column: str, flag: str) -> list[str]:
    values = sheet.column(column, flag)
    missing = [i for i, value in enumerate(values) if not value]
    if missing:
        raise DataError(
            "TL-DATA-GROUP",
            f"{len(missing)} of {len(values)} rows have no {column}",
            where=sheet.place(missing[0], column),
            fix=f"fill the column, or leave {flag} out",
        )
    return values


def _copies(rows: Rows) -> np.ndarray | None:
    """(n,) numbers in which only rows that are equal in every column share one; None where none are."""
    outcome = rows.outcome
    parts = [*rows.columns.values(), outcome.strata]
    parts += [part for part in (outcome.time, outcome.event, outcome.value) if part is not None]
    whole = ["\x1f".join(map(str, row)) for row in zip(*(part.tolist() for part in parts), strict=True)]
    found = numbered(whole)
    return None if int(found.max()) + 1 == len(found) else linked(found)


def _given(name: str | None) -> tuple[str, ...]:
    return () if name is None else (name,)


def _tell_small_classes(outcome: Outcome, warn: Warn) -> None:
    counts = np.bincount(outcome.strata, minlength=max(1, len(outcome.names)))
    small = int(((counts > 0) & (counts < FEWEST)).sum())
    if small:
        warn(f"{small} of {len(counts)} classes, events or arms have < {FEWEST} rows: reports show no such count")
