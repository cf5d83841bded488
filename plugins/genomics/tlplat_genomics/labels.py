"""Labels of the user's sequences: from FASTA titles, from a table of id and label, or from a column; checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from tlplat.errors import DataError, Finding
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


def table_labels(path: Path, target: str | None, limits: Limits) -> dict[str, str]:
    """Label by id of a CSV: ids in column ``id`` (or the first), labels in ``target`` (or ``label``, or the second).

    Raises:
        DataError TL-DATA-COLUMN, TL-DATA-LABEL-TYPE (one id with two labels), and what :func:`read_table` raises.
    """
    found: dict[str, str] = {}
    clashes: list[Finding] = []
    for line, row in read_table(path, limits):
        columns = list(row)
        name = "id" if "id" in row else columns[0]
        rest = [c for c in columns if c != name]
        value = target or ("label" if "label" in row or not rest else rest[0])
        need_column(row, value, path)
        if found.setdefault(row[name], row[value]) != row[value]:
            clashes.append(Finding(f"id {row[name]!r} has two labels", f"{path}, line {line}", row[value]))
    if clashes:
        raise DataError(
            "TL-DATA-LABEL-TYPE",
            f"{len(clashes)} ids have two labels",
            findings=clashes,
            fix="give each id one label",
        )
    return found


def need_labels(labels: Sequence[str | None], ids: Sequence[str], where: str) -> list[str]:
    """The labels, none missing; raises DataError TL-DATA-LABEL-MISSING with the ids that lack one."""
    missing = [i for i, label in enumerate(labels) if not label]
    if missing:
        raise DataError(
            "TL-DATA-LABEL-MISSING",
            f"{len(missing)} of {len(labels)} sequences have no label",
            where=where,
            findings=[Finding("no label", ids[i]) for i in missing],
            fix="complete the labels: --labels-from header (titles such as '>id label=x'), or a CSV of id,label",
        )
    return [label for label in labels if label]


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


def lookup(labels: Mapping[str, str], ids: Sequence[str]) -> list[str | None]:
    return [labels.get(name) for name in ids]
