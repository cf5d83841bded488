"""Loans: the embedded consumer credit table, and tables of the user's, in the same terms."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np

from tlplat.assets import fetch
from tlplat.data.labelsets import Label, LabelReader
from tlplat.data.sides import Sides, files_given, given_sides
from tlplat.domain import DataOptions, DomainContext
from tlplat.errors import DataError, Finding
from tlplat_finance.assets import CREDIT
from tlplat_finance.table import At, Texts, columns_of, days, need, read_texts

ID, TARGET = "id", "Status"
GOOD_BAD = ("good", "bad")
SALARIED, SELF_EMPLOYED = "fixed", "freelance"
MOST_CLASSES = 20


@dataclass(frozen=True)
class Loans:
    """Rows of a table.

    Attributes:
        table: features, as :mod:`tlplat.data.columns` takes them. labels: what came of each row, None where unknown.
        reader: how labels were read, where they are the user's.
        ids: names of the rows. groups: given ones, or None. days: since 1970, (n,) int64, or None.
        sides: the split that the user made, or None; rows that are selected have none.
    """

    table: dict[str, np.ndarray]
    labels: Sequence[Label]
    ids: list[str]
    groups: list[str] | None = None
    days: np.ndarray | None = None
    sides: Sides | None = None
    reader: LabelReader | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def select(self, rows: np.ndarray) -> Loans:
        """The rows numbered ``rows``."""
        return Loans(
            {name: values[rows] for name, values in self.table.items()},
            [self.labels[i] for i in rows.tolist()],
            [self.ids[i] for i in rows.tolist()],
            None if self.groups is None else [self.groups[i] for i in rows.tolist()],
            None if self.days is None else self.days[rows],
            reader=self.reader,
        )


def consumer_credit(job: str, context: DomainContext) -> Loans:
    """Loans of the embedded table to people of one ``Job``; 13 columns without the job itself."""
    path = fetch(CREDIT, context.cache, offline=context.offline, report=context.report)
    texts, at = read_texts(path)
    kept = [i for i, of in enumerate(texts["Job"]) if of == job]
    features = {name: [v[i] for i in kept] for name, v in texts.items() if name not in ("Job", TARGET)}
    labels = [texts[TARGET][i] for i in kept]
    return Loans(columns_of(features, {}, at), labels, [f"loan-{i}" for i in kept])


def read_loans(
    path: Path,
    *,
    target: str | None,
    time: str | None = None,
    group: str | None = None,
    form: str | None = None,
    late: str = "error",
    kinds: Mapping[str, str] | None = None,
    only: Collection[str] | None = None,
    context: DomainContext | None = None,
    today: date | None = None,
    data: DataOptions | None = None,
) -> Loans:
    """The rows of a file of the user's. ``target`` None reads rows without labels.

    Args:
        time, group: columns of dates and of groups; they and ``id`` are no features. form: of the dates.
        late: ``warn`` lets rows dated after ``today`` pass with a warning.
        data: says how the user split the rows, and names the files of other sides.
        kinds: of columns, where they must not be guessed. only: features that are wanted; the others are not looked at.

    Raises:
        DataError: what :func:`read_texts`, :func:`columns_of` and :func:`days` raise; TL-DATA-LABEL-MISSING,
            TL-DATA-LABEL-TYPE, TL-DATA-FUTURE; TL-DATA-COLUMN: no such column, an id twice, no group in a row.
    """
    told = context.warn if context is not None else lambda sentence: None
    files = [path] if data is None else files_given(data)
    texts, at = read_texts(path, told, files[1:])
    split = None if data is None else data.split
    separator = None if data is None else data.label_separator
    reader = None if target is None else LabelReader.of(target, texts, separator)
    taken = () if reader is None else reader.columns
    apart = {name for name in (*taken, time, group, split, ID) if name is not None}
    ids = _ids(texts[ID], at) if ID in texts else [at.row(i) for i in range(len(next(iter(texts.values()))))]
    labels = [None] * len(ids) if reader is None else _labels(texts, reader, at)
    when = None
    if time is not None:
        when, after = days(time, need(texts, time, at, "--time"), at, form, today)
        told_of_late(after, time, at, late, context)
    groups = None if group is None else _groups(need(texts, group, at, "--group"), group, at)
    wanted = texts.keys() if only is None else only
    features = {name: values for name, values in texts.items() if name not in apart and name in wanted}
    if not features:
        raise DataError(
            "TL-DATA-COLUMN",
            f"{at.path.name} has no column to predict from",
            where=str(at.path),
            found=", ".join(texts),
            fix="give a table with columns beside target, time, group and id",
        )
    sides = None
    if data is not None:
        names = [] if split is None else need(texts, split, at, "--split")
        sides = given_sides(data, at.sizes, names, at.row)
    return Loans(columns_of(features, kinds or {}, at), labels, ids, groups, when, sides, reader)


def told_of_late(rows: Sequence[int], column: str, at: At, late: str, context: DomainContext | None) -> None:
    """Refuse rows dated in the future, or warn of them.

    Raises:
        DataError TL-DATA-FUTURE.
    """
    if not rows:
        return
    if late == "warn" and context is not None:
        context.warn(f"{len(rows)} rows of {at.path.name} are dated in the future, the first is {at.row(rows[0])}")
        return
    raise DataError(
        "TL-DATA-FUTURE",
        f"{len(rows)} rows are dated in the future",
        where=str(at.path),
        findings=[Finding("after today", f"{at.row(i)}, column {column}") for i in rows],
        fix="mend the dates, or accept them with --future warn",
    )


def _ids(values: Sequence[str | None], at: At) -> list[str]:
    seen: set[str] = set()
    for i, value in enumerate(values):
        if value is None or value in seen:
            raise DataError(
                "TL-DATA-COLUMN",
                "an id is missing" if value is None else f"the id {value!r} occurs twice",
                where=f"{at.path}, {at.row(i)}, column {ID}",
                fix="give each row its own id, or leave the column out",
            )
        seen.add(value)
    return [v or "" for v in values]


def _groups(values: Sequence[str | None], column: str, at: At) -> list[str]:
    missing = [i for i, v in enumerate(values) if v is None]
    if missing:
        raise DataError(
            "TL-DATA-COLUMN",
            f"{len(missing)} of {len(values)} rows have no group",
            where=f"{at.path}, {at.row(missing[0])}, column {column}",
            fix="give every row a group, or leave --group out",
        )
    return [v or "" for v in values]


def _labels(texts: Texts, reader: LabelReader, at: At) -> list[Label]:
    columns = {name: need(texts, name, at, "--target") for name in reader.columns}
    column, count = ", ".join(columns), len(next(iter(columns.values())))
    values = [reader.read({name: v[i] for name, v in columns.items()}, f"{at.path}, {at.row(i)}") for i in range(count)]
    missing = [i for i, v in enumerate(values) if v is None]
    if missing:
        raise DataError(
            "TL-DATA-LABEL-MISSING",
            f"{len(missing)} of {len(values)} rows have no {column}",
            where=str(at.path),
            findings=[Finding("no label", f"{at.row(i)}, column {column}") for i in missing],
            fix="complete the labels, or give these rows with --unlabeled",
        )
    known = {v for v in values if isinstance(v, str)}
    if len(known) > MOST_CLASSES:
        raise DataError(
            "TL-DATA-LABEL-TYPE",
            f"{column} has {len(known)} different values: a class, such as good or bad, is predicted here",
            where=f"{at.path}, column {column}",
            expected=f"at most {MOST_CLASSES} classes",
            fix="name a column of classes with --target, or --task volatility for prices",
        )
    return [_plain(v) if isinstance(v, str) else v for v in values]


def _plain(text: str) -> str:
    """``1.0`` is the class 1."""
    return text[:-2] if text.endswith(".0") and text[:-2].lstrip("-").isdigit() else text
