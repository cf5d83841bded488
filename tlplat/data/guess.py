"""Which columns of a table are probably meant, where the user names none: from their names and first rows."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from tlplat.data.files import files_of
from tlplat.data.opening import plain_suffix
from tlplat.data.records import KINDS, Wanted, read_records
from tlplat.errors import DataError

ROWS, FEWEST = 1000, 5
"""Rows that are looked at, and that must be there."""
MOST_CLASSES, ROWS_A_CLASS = 50, 5
"""So many different values, each of so many rows on average, make a column of classes."""
TARGETS = ("label", "labels", "target", "class", "category", "tags", "outcome", "y")
"""Usual names of what is predicted, in any case."""
LABEL = "label"
"""The column of labels that domains read where none is named."""
IDS = frozenset({"id", "index", "idx", "row", "name", "key", "filename", "unnamed: 0", ""})
BYTES = "\0bytes"
"""Stands for a value that is no text: an image's bytes."""

Columns = Mapping[str, Sequence[str]]


def first_rows(path: Path) -> dict[str, list[str]]:
    """Columns of a table's first rows as texts, "" where a value is missing; nothing where it cannot be read as one.

    What is wrong with it is told by the reader that reads all of it. Of fewer than :data:`FEWEST` rows nothing is told.
    """
    columns: dict[str, list[str]] = {}
    rows = 0
    try:
        if plain_suffix(files_of(path, KINDS)[0]) not in KINDS:
            return {}
        wanted = Wanted(line_breaks=True, told=lambda file, separator: None)
        for row in islice(read_records(path, wanted), ROWS):
            rows += 1
            for name, value in row.values.items():
                columns.setdefault(name, []).append(_text(value))
    except DataError:
        pass
    return columns if rows >= FEWEST else {}


def named(columns: Collection[str], names: Sequence[str]) -> str | None:
    """The column with the first of these names that is there, in any case; None where two are written alike."""
    for name in names:
        found = [c for c in columns if c.strip().lower().replace(" ", "_") == name]
        if found:
            return found[0] if len(found) == 1 else None
    return None


def of_classes(columns: Columns, taken: Collection[str | None] = ()) -> list[str]:
    """Columns with few different values, several rows to each; none of ids, nor any that is ``taken``."""
    found = []
    for name, values in columns.items():
        known = [v for v in values if v]
        different = len(set(known))
        if name in taken or name.strip().lower() in IDS or BYTES in known:
            continue
        if 2 <= different <= min(MOST_CLASSES, max(2, len(known) // ROWS_A_CLASS)):
            found.append(name)
    return found


def could_be(columns: Columns) -> str:
    """For an error's fix: which columns might be the one to predict."""
    found = of_classes(columns)
    return f" (columns with few different values: {', '.join(found[:8])})" if found else ""


def target_of(columns: Columns, taken: Collection[str | None] = ()) -> str | None:
    """The column to predict: by its usual names, else the only one of classes."""
    free = [name for name in columns if name not in taken]
    by_name = named(free, TARGETS)
    if by_name is not None:
        return by_name
    classes = of_classes(columns, taken)
    return classes[0] if len(classes) == 1 else None


def of_texts(columns: Columns, names: Sequence[str]) -> str | None:
    """The column of texts: by its name, else the only one whose rows differ and have several words each."""
    by_name = named(columns, names)
    if by_name is not None:
        return by_name
    found = []
    for name, values in columns.items():
        known = [v for v in values if v and v != BYTES]
        if known and len(set(known)) > 0.5 * len(known) and statistics.median(len(v.split()) for v in known) >= 3:
            found.append(name)
    return found[0] if len(found) == 1 else None


def only(columns: Columns, fits: Callable[[str], bool]) -> str | None:
    """The only column with values that all fit."""
    known = {name: [v for v in values if v] for name, values in columns.items()}
    found = [name for name, values in known.items() if values and all(map(fits, values))]
    return found[0] if len(found) == 1 else None


def input_and_target(
    path: Path, given: Mapping[str, Any], key: str, usual: str, find: Callable[[Columns], str | None]
) -> dict[str, str]:
    """:meth:`tlplat.domain.Domain.guess` of domains whose tables have one column of inputs and one of labels.

    Args:
        key: of the option that names the column of inputs, ``usual`` where it is not given. find: looks for it where
            there is none of that name.
    """
    columns, found = first_rows(path), {}
    entry = given.get(key, usual)
    if key not in given and usual not in columns and (named_so := find(columns)) is not None:
        found[key] = entry = named_so
    if LABEL not in columns and not {"data.target", "data.labels_from"} & given.keys():
        target = target_of(columns, (entry, given.get("data.group"), given.get("data.split")))
        found |= {} if target is None else {"data.target": target}
    return found


def _text(value: Any) -> str:
    if value is None or value != value:
        return ""
    if isinstance(value, bytes | dict):
        return BYTES
    return str(value).strip()
