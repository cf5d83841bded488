"""Labels of the user's sequences: from FASTA titles, from a table of id and label, or from a column; checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from tlplat.data.labelsets import Label, LabelReader
from tlplat.errors import DataError, Finding, UsageError
from tlplat.tasks.classification import Classification
from tlplat_genomics.sequence import Record
from tlplat_genomics.strict import Limits
from tlplat_genomics.table import need_column, read_table

IGNORED = -100


def header_value(record: Record, key: str = "label") -> str | None:
    """``label=x`` in the title; for the label also ``id|x``, or the one word after the id."""
    words = record.description.split()
    for word in words:
        if word.startswith(f"{key}="):
            return word.removeprefix(f"{key}=") or None
    if key != "label":
        return None
    if "|" in record.id:
        return record.id.rsplit("|", 1)[1] or None
    return words[0] if len(words) == 1 and "=" not in words[0] else None


def title_label(record: Record, reader: LabelReader) -> Label:
    """The label in a title, read as a row of which each of the reader's columns is a key; () where ``key=`` says none.

    Raises:
        DataError: what :meth:`LabelReader.read` raises.
    """
    said = {key: header_value(record, key) for key in reader.columns}
    if reader.separator is not None and None in said.values():
        (key,) = reader.columns
        return () if f"{key}=" in record.description.split() else None
    return reader.read(said, f"record {record.id}")


def table_labels(
    path: Path, target: str | None, limits: Limits, separator: str | None = None
) -> tuple[dict[str, Label], LabelReader | None]:
    """Label by id of a CSV, and how it was read: ids in column ``id`` (or the first), labels in ``target`` (or
    ``label``, or the second).

    Raises:
        DataError TL-DATA-COLUMN, TL-DATA-LABEL-TYPE (one id twice, with other labels), and what :func:`read_table` and
        :meth:`LabelReader.read` raise.
    """
    found: dict[str, Label] = {}
    clashes: list[Finding] = []
    reader: LabelReader | None = None
    for line, row in read_table(path, limits):
        columns = list(row)
        name = "id" if "id" in row else columns[0]
        if reader is None:
            rest = [c for c in columns if c != name]
            value = target or ("label" if "label" in row or not rest else rest[0])
            reader = reader_of(value, row, path, separator)
        where = f"{path}, line {line}"
        label = reader.read(row, where)
        if found.setdefault(row[name], label) != label:
            clashes.append(Finding(f"id {row[name]!r} has other labels before", where, _said(label)))
    if clashes:
        raise DataError(
            "TL-DATA-LABEL-TYPE",
            f"{len(clashes)} ids stand twice, with two labels",
            findings=clashes,
            fix="give each id one row",
        )
    return found, reader


def reader_of(target: str, row: Mapping[str, str], path: Path, separator: str | None) -> LabelReader:
    """How labels of a table are read; DataError TL-DATA-COLUMN where one of the columns is not there."""
    reader = LabelReader.of(target, row.keys(), separator)
    for column in reader.columns:
        need_column(row, column, path)
    return reader


def _said(label: Label) -> str:
    return ", ".join(label) if isinstance(label, tuple) else str(label)


def need_labels(labels: Sequence[Label], ids: Sequence[str], where: str) -> None:
    """Raise DataError TL-DATA-LABEL-MISSING with the ids that lack a label."""
    missing = [i for i, label in enumerate(labels) if label is None]
    if missing:
        raise DataError(
            "TL-DATA-LABEL-MISSING",
            f"{len(missing)} of {len(labels)} sequences have no label",
            where=where,
            findings=[Finding("no label", ids[i]) for i in missing],
            fix="complete the labels: --labels-from header (titles such as '>id label=x'), or a CSV of id,label",
        )


def encode_rows(
    labels: Sequence[Label],
    ids: Sequence[str],
    reader: LabelReader | None,
    warn: Callable[[str], None],
    known: Sequence[str] = (),
    classes: int | None = None,
) -> tuple[Classification, Tensor]:
    """The task, and targets (n,), or (n, c) where rows have any number of labels; see :func:`encode_labels`.

    Raises:
        DataError: what that and :meth:`Classification.of_sets` raise. UsageError TL-USAGE: ``classes`` with several
        labels a row.
    """
    several = Classification.of_sets(labels, ids, reader, warn, known)
    if several is None:
        return encode_labels([str(label) for label in labels], ids, known, classes)
    if classes is not None:
        raise UsageError(
            "TL-USAGE",
            "--classes counts classes of which a row has one, and rows have any number of labels",
            fix="leave out --classes",
        )
    return several


def encode_labels(
    labels: Sequence[str], ids: Sequence[str], known: Sequence[str] = (), classes: int | None = None
) -> tuple[Classification, Tensor]:
    """The task and (n,) int64 targets.

    Class names that are exactly the source's ``known`` ones keep its order, so that its head serves; whole numbers
    are sorted as numbers; other names by alphabet. ``classes`` declares how many there are: then labels are 0 to
    classes - 1.

    Raises:
        DataError TL-DATA-LABEL-TYPE: numbers that are not whole. TL-DATA-LABEL-RANGE: negative, or beyond ``classes``.
        TL-DATA-ONE-CLASS: fewer than two classes. TL-DATA-EMPTY: every label is -100.
    """
    if set(labels) == set(known):
        names = tuple(known)
        return Classification(labels=names), torch.tensor([names.index(label) for label in labels])
    numbers = _numbers(labels, ids)
    if numbers is not None and (classes is not None or min(numbers) < 0):
        task = Classification(labels=tuple(str(i) for i in range(max(2, classes or max(numbers) + 1))))
        targets = torch.tensor(numbers)
        task.check(targets, ids)
        return task, targets
    values: Sequence[str | int] = labels if numbers is None else numbers
    names = tuple(str(v) for v in sorted(set(values)))
    position = {name: i for i, name in enumerate(names)}
    return Classification(labels=names), torch.tensor([position[str(v)] for v in values])


def _numbers(labels: Sequence[str], ids: Sequence[str]) -> list[int] | None:
    """The labels as whole numbers, None where they are names."""
    try:
        values = [float(label) for label in labels]
    except ValueError:
        return None
    broken = [i for i, v in enumerate(values) if v != v or v in (float("inf"), float("-inf")) or v != int(v)]
    if broken:
        raise DataError(
            "TL-DATA-LABEL-TYPE",
            f"{len(broken)} labels are no integer, and classes are integers or names",
            findings=[Finding("not an integer", ids[i], labels[i], "an integer or a name") for i in broken],
            fix="give class names or whole numbers; a quantity to predict is regression, which this domain does not do",
        )
    return [int(v) for v in values]


def lookup(labels: Mapping[str, Label], ids: Sequence[str]) -> list[Label]:
    return [labels.get(name) for name in ids]
