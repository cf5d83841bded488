"""Several labels a patient: how they are read, and which of them enough patients have, and lack, to be spoken of."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from tlplat.data.labelsets import LabelReader, label_sets, named_columns
from tlplat.data.sheets import Sheet
from tlplat.domain import DataOptions
from tlplat.errors import DataError, Finding, UsageError
from tlplat_medicine.options import MedicineOptions
from tlplat_medicine.outcomes import Outcome, complete
from tlplat_medicine.privacy import FEWEST
from tlplat_medicine.table import Warn


def several_labels(options: MedicineOptions, data: DataOptions, sheet: Sheet) -> bool:
    """Whether a row may have any number of labels.

    Raises:
        UsageError TL-USAGE: for another task than a diagnosis, or with ``--positive``.
    """
    columns = () if data.target is None else named_columns(data.target, sheet.columns)
    if data.label_separator is None and len(columns) < 2:
        return False
    if options.task != "diagnosis":
        raise UsageError(
            "TL-USAGE",
            f"a {options.task} is of one outcome a patient, and several labels are for a diagnosis",
            where="options.task",
            fix="name one column and leave out --label-separator, or add --task diagnosis",
        )
    if options.positive is not None:
        fix = "leave out --positive: each label is looked for by itself"
        raise UsageError("TL-USAGE", "--positive is for one class a patient", where="options.positive", fix=fix)
    return data.target is not None


def label_outcome(data: DataOptions, sheet: Sheet, warn: Warn) -> Outcome:
    """The labels of the rows of all files, ``strata`` (n, c).

    Raises:
        UsageError TL-USAGE: several columns and a separator. DataError TL-DATA-COLUMN: no such column.
        TL-DATA-LABEL-MISSING: neither yes nor no in one of several. What :class:`LabelReader` and :func:`label_sets`
        raise.
    """
    assert data.target is not None
    reader = LabelReader.of(data.target, sheet.columns, data.label_separator, private=True)
    taken = complete if len(reader.columns) > 1 else Sheet.column
    columns = {name: taken(sheet, name, "--target") for name in reader.columns}
    labels = [reader.read({n: v[i] for n, v in columns.items()}, sheet.place(i)) for i in range(len(sheet))]
    sets = label_sets(labels, [sheet.row(i) for i in range(len(sheet))], reader, warn)
    assert sets is not None
    return Outcome(reader.columns, sets.targets.numpy().astype(np.int64), names=sets.names)


def without_rare(
    outcome: Outcome, separator: str | None, patients: np.ndarray | None, known: Sequence[str], warn: Warn
) -> Outcome:
    """The labels that 11 patients or more have, and as many have not; such a patient has a row with, or without it.

    Of names in one cell the others are left out, with a notice; a column that is named by itself must not be rare.

    Args:
        patients: (n,) numbers, or None where each row is one. known: the source's labels; their order is kept where
            they are the same.

    Raises:
        DataError TL-DATA-CLASS-SMALL: a rare column, or none but rare labels.
    """
    who = np.arange(len(outcome.strata)) if patients is None else patients
    counts = [min(len(np.unique(who[column == kind])) for kind in (0, 1)) for column in outcome.strata.T]
    kept = [name for name, count in zip(outcome.names, counts, strict=True) if count >= FEWEST]
    rare = [name for name in outcome.names if name not in kept]
    told = f"{len(rare)} of {len(outcome.names)} labels are those of fewer than {FEWEST} patients, or of all but so few"
    if rare and separator is None:
        raise DataError(
            "TL-DATA-CLASS-SMALL",
            told,
            findings=[Finding("rare, or nearly everybody's", f"column {name}") for name in rare],
            fix="name the other columns with --target, and leave these out with --drop",
        )
    if not kept:
        fix = "give more patients, or write coarser names, such as groups of codes"
        raise DataError("TL-DATA-CLASS-SMALL", told, where=f"column {outcome.columns[0]}", fix=fix)
    if rare:
        warn(f"{told}: they are left out of {outcome.columns[0]!r}")
    names = tuple(known) if set(known) == set(kept) else tuple(kept)
    strata = outcome.strata[:, [outcome.names.index(name) for name in names]]
    return dataclasses.replace(outcome, strata=strata, names=names)
