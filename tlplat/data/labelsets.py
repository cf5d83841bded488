"""Any number of labels a row, from what users have: columns of yes and no, lists, or names with a separator between.

A domain asks :class:`LabelReader` for the label of each row, then :func:`label_sets` for all of them: names and targets
(n, c), or None where every row has one label and the domain's own classes are meant.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor

from tlplat.errors import DataError, Finding, UsageError

if TYPE_CHECKING:
    from tlplat.domain import DataOptions, Domain

Label: TypeAlias = str | tuple[str, ...] | None
"""Of one row: one name; the names that it has, none perhaps; or None where it is missing."""
YES, NO = frozenset({"1", "1.0", "yes", "true"}), frozenset({"0", "0.0", "no", "false"})
"""What a column of one label may hold, in small letters."""
USUAL = (";", "|", ",")
"""What names in one cell are parted by, as far as it is guessed."""
PLAIN_NAMES = "write names alone, such as a;b, without brackets and quotes, and read them with --label-separator ';'"
LISTS, AGAIN = 0.1, 0.75
"""Share of the cells that must hold a separator before it is spoken of, and of their parts that other cells have."""


def named_columns(target: str, known: Collection[str]) -> tuple[str, ...]:
    """The columns that ``target`` means: the one of that name, or those that it names with commas between."""
    parts = [part.strip() for part in target.split(",")] if target not in known else []
    if len(parts) < 2 or "" in parts:
        return (target,)
    return tuple(dict.fromkeys(parts))


@dataclass(frozen=True)
class LabelReader:
    """How the labels of one row are read.

    Attributes:
        columns: of the table: the one of labels, or several, each of yes and no for the label that it is called.
        separator: between the names in one cell; None where a cell holds one name, or a list.
        private: no error shows what stands in a row, no warning how many have no label.
    """

    columns: tuple[str, ...]
    separator: str | None = None
    private: bool = False

    @classmethod
    def of(
        cls, target: str, known: Collection[str], separator: str | None = None, private: bool = False
    ) -> LabelReader:
        """For a table with the columns ``known``; raises UsageError TL-USAGE: columns and a separator."""
        columns = named_columns(target, known)
        if separator is not None and len(columns) > 1:
            raise UsageError(
                "TL-USAGE",
                f"--target names {len(columns)} columns of yes and no, and --label-separator parts names in one column",
                fix="leave out --label-separator, or name one column with --target",
            )
        return cls(columns, separator, private)

    def read(self, values: Mapping[str, Any], where: str) -> Label:
        """The label of a row whose cells are ``values``.

        Raises:
            DataError TL-DATA-LABEL-TYPE: another word than yes or no in one of several columns; a list in a list, or
            what is no name or number. TL-DATA-LABEL-MISSING: nothing inside of a list.
        """
        if len(self.columns) > 1:
            each = {column: self._yes(values[column], column, where) for column in self.columns}
            return None if None in each.values() else tuple(column for column, yes in each.items() if yes)
        value = values[self.columns[0]]
        if isinstance(value, list | tuple):
            return self._listed(value, where)
        name = cell_name(value, self.columns[0], where)
        if self.separator is None:
            return name
        parts = (name or "").split(self.separator)
        return tuple(dict.fromkeys(part.strip() for part in parts if part.strip()))

    def _yes(self, value: Any, column: str, where: str) -> bool | None:
        if value is None or value != value or value == "":
            return None
        word = str(value).strip().lower()
        if word not in YES | NO:
            raise DataError(
                "TL-DATA-LABEL-TYPE",
                f"the column {column!r} is one of several labels, and a row holds neither yes nor no",
                where=f"{where}, column {column}",
                found=None if self.private else str(value)[:60],
                expected="0 or 1, yes or no, true or false",
                fix="write yes or no into the columns that --target names; for names of labels give one column alone",
            )
        return word in YES

    def _listed(self, values: Sequence[Any], where: str) -> tuple[str, ...]:
        if self.separator is not None:
            raise DataError(
                "TL-DATA-LABEL-SEPARATOR",
                f"{self.columns[0]!r} holds lists, whose names need no separator",
                where=where,
                fix="leave out --label-separator",
            )
        names = [cell_name(value, self.columns[0], where) for value in values]
        if None in names:
            raise DataError(
                "TL-DATA-LABEL-MISSING",
                f"a list in {self.columns[0]!r} holds an empty name",
                where=where,
                fix="write the names alone; an empty list means none of the labels",
            )
        return tuple(dict.fromkeys(name for name in names if name is not None))


def cell_name(value: Any, column: str, where: str) -> str | None:
    """A label, group or id as a string; None where it is missing. Raises DataError TL-DATA-LABEL-TYPE for others."""
    if value is None or value != value or value == "":
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str | int | float):
        raise DataError(
            "TL-DATA-LABEL-TYPE",
            f"{column!r} holds a {type(value).__name__} where a name or a number is wanted",
            where=where,
            fix='give one name or whole number a row, or labels as a list of them, such as ["a", "b"]',
        )
    whole = isinstance(value, float) and value.is_integer()
    return str(int(value)) if whole else str(value).strip() or None


@dataclass(frozen=True)
class LabelSets:
    """What each row has of c labels: ``names`` (c,), and ``targets`` (n, c) float32 in {0, 1}."""

    names: tuple[str, ...]
    targets: Tensor


def label_sets(
    labels: Sequence[Label],
    ids: Sequence[str],
    reader: LabelReader,
    warn: Callable[[str], None],
    known: Sequence[str] = (),
) -> LabelSets | None:
    """All rows' labels as names and targets; None where each row has one.

    Names that are exactly the ``known`` ones, a source's, keep their order, so that its head serves; columns keep that
    of ``--target``; others are sorted, whole numbers as numbers. Rows without a label are told of, and cells that look
    like lists.

    Args:
        labels: none of them missing. ids: what the rows are called.

    Raises:
        DataError TL-DATA-LABEL-TYPE: lists in some rows only, lists of zeros and ones by position, numbers that are not
        whole. TL-DATA-LABEL-SEPARATOR: no cell holds it, some hold another, or cells are lists written as text.
    """
    single = [i for i, label in enumerate(labels) if isinstance(label, str)]
    if len(single) == len(labels):
        tell_of_lists([str(label) for label in labels], reader.columns[0], warn)
        return None
    if single:
        raise DataError(
            "TL-DATA-LABEL-TYPE",
            f"{len(labels) - len(single)} rows hold lists of labels, {len(single)} a single value",
            findings=[Finding("no list", ids[i]) for i in single],
            fix="write a list into every row, [] where a row has none of the labels",
        )
    sets = [label for label in labels if isinstance(label, tuple)]
    found = {name for names in sets for name in names}
    if len(reader.columns) == 1:
        _refuse_positions(sets, found, reader)
        _check_separator(sets, found, ids, reader)
        empty = sum(not names for names in sets)
        if empty:
            count = "some" if reader.private else f"{empty} of {len(sets)}"
            warn(f"{count} rows have none of the labels in {reader.columns[0]!r}, and stay")
    everything = reader.columns if len(reader.columns) > 1 else _ordered(found, sets, ids)
    names = tuple(known) if set(everything) == set(known) else everything
    place = {name: i for i, name in enumerate(names)}
    targets = torch.zeros(len(sets), len(names))
    for row, has in enumerate(sets):
        targets[row, [place[name] for name in has]] = 1
    return LabelSets(names, targets)


def guessed_separator(cells: Collection[str]) -> str | None:
    """What parts the names in cells that look like lists: a tenth hold it, and most of their parts occur in others."""
    for separator in USUAL:
        several = [cell for cell in cells if separator in cell]
        if len(several) < max(2, LISTS * len(cells)):
            continue
        parts = {cell: {part.strip() for part in cell.split(separator)} for cell in set(cells)}
        count = Counter(part for each in parts.values() for part in each)
        again = [count[part] > 1 for cell in set(several) for part in parts[cell]]
        if sum(again) >= AGAIN * len(again):
            return separator
    return None


def read_apart(cells: Collection[str]) -> str | None:
    """What to do about classes that look like lists; None where they do not."""
    if sum(cell.startswith("[") and cell.endswith("]") for cell in cells) > len(cells) / 2:
        return PLAIN_NAMES
    separator = guessed_separator(cells)
    return separator and f"read several labels a row with --label-separator {separator!r}"


def tell_of_lists(cells: Collection[str], column: str, warn: Callable[[str], None]) -> None:
    """Warn of classes that look like lists."""
    advice = read_apart(cells)
    if advice:
        warn(f"cells of {column!r} look like lists, and each is taken for one class as it stands: {advice}")


def need_sound_flag(data: DataOptions, domain: Domain) -> None:
    """Raise UsageError TL-USAGE where ``--label-separator`` has no use."""
    if data.label_separator is None:
        return
    if data.path is None:
        raise UsageError("TL-USAGE", "--label-separator needs --data", fix="add --data with the labelled rows")
    if not domain.takes_sets:
        raise UsageError(
            "TL-USAGE",
            f"the domain {domain.name} predicts one label a row",
            fix="leave out --label-separator, or give one label a row",
        )


def _refuse_positions(sets: Sequence[tuple[str, ...]], found: set[str], reader: LabelReader) -> None:
    if found and found <= {"0", "1"}:
        raise DataError(
            "TL-DATA-LABEL-TYPE",
            f"{reader.columns[0]!r} holds zeros and ones by position, and no names of labels",
            found=", ".join(sorted(found)),
            expected='names, such as ["a", "b"]',
            fix="write the names that a row has, or give each label a column of 0 and 1 and name all with --target",
        )


def _check_separator(sets: Sequence[tuple[str, ...]], found: set[str], ids: Sequence[str], reader: LabelReader) -> None:
    if reader.separator is None:
        return
    column = reader.columns[0]
    if any(name.startswith("[") for name in found) and any(name.endswith("]") for name in found):
        raise DataError("TL-DATA-LABEL-SEPARATOR", f"{column!r} holds lists written as text", fix=PLAIN_NAMES)
    if all(len(names) < 2 for names in sets):
        cells = [name for names in sets for name in names]
        other = guessed_separator(cells)
        raise DataError(
            "TL-DATA-LABEL-SEPARATOR",
            f"no cell of {column!r} holds the separator {reader.separator!r}",
            found=f"{other!r} between names, it seems" if other else "one name a row",
            fix=f"give --label-separator {other!r}" if other else "leave out --label-separator: each row has one label",
        )
    counts = Counter(name for names in sets for name in names)
    for separator in (s for s in USUAL if s != reader.separator):
        mixed = {name for name in counts if separator in name and _all_known(name.split(separator), found)}
        rows = [i for i, names in enumerate(sets) if mixed.intersection(names)]
        if rows:
            raise DataError(
                "TL-DATA-LABEL-SEPARATOR",
                f"{len(rows)} of {len(sets)} cells of {column!r} part their names by {separator!r}, others by "
                f"{reader.separator!r}",
                findings=[Finding("another separator", ids[i]) for i in rows],
                fix=f"write {reader.separator!r} between the names in every row",
            )


def _ordered(found: set[str], sets: Sequence[tuple[str, ...]], ids: Sequence[str]) -> tuple[str, ...]:
    try:
        numbers = {name: float(name) for name in found}
    except ValueError:
        return tuple(sorted(found))
    broken = {name for name, value in numbers.items() if value != value or value % 1 != 0}
    if broken:
        raise DataError(
            "TL-DATA-LABEL-TYPE",
            f"{len(broken)} labels are no integer, and labels are integers or names",
            findings=[Finding("not an integer", ids[i]) for i, names in enumerate(sets) if broken.intersection(names)],
            fix="give names or whole numbers in the lists; quantities to predict are no labels",
        )
    return tuple(sorted(found, key=lambda name: (numbers[name], name)))


def _all_known(parts: Sequence[str], found: set[str]) -> bool:
    return len(parts) > 1 and all(part.strip() in found for part in parts)
