"""The columns of tables of images: which they are, and what a row says in them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tlplat.data import guess, tables
from tlplat.data.labelsets import Label, LabelReader
from tlplat.domain import DataOptions
from tlplat_vision.images import SUFFIXES


@dataclass(frozen=True)
class Cells:
    """What a row says beside its image; None where it says nothing. ``reader``: how its label was read."""

    label: Label = None
    group: str | None = None
    split: str | None = None
    reader: LabelReader | None = None


@dataclass(frozen=True)
class Columns:
    """Where a table says what.

    Attributes:
        label: of one column, or of several with commas between. separator: between names in one cell.
        root: folder that paths start from; None is the table's own. labelled: whether labels are looked at.
    """

    image: str = "image"
    label: str | None = None
    group: str | None = None
    split: str | None = None
    root: Path | None = None
    separator: str | None = None
    labelled: bool = True

    @classmethod
    def of(cls, data: DataOptions, image: str, root: Path | None) -> Columns:
        label = data.target or data.labels_from
        return cls(image, label, data.group, data.split, root, data.label_separator)

    def reader(self, known: Mapping[str, object], path: Path) -> LabelReader | None:
        """How labels of the table ``path`` with the columns ``known`` are read; None where it has none.

        Raises:
            DataError TL-DATA-COLUMN: a column that is named is not there. UsageError TL-USAGE.
        """
        label = self.label or (guess.LABEL if guess.LABEL in known or self.separator is not None else None)
        reader = LabelReader.of(label, known, self.separator) if label is not None and self.labelled else None
        for wanted in (self.image, *(reader.columns if reader else ()), self.group, self.split):
            if wanted is not None:
                need_column(known, wanted, path)
        return reader

    def read(self, known: Collection[str], reader: LabelReader | None) -> list[str]:
        """The columns that are looked at, those that a table need not have included."""
        wanted = (self.image, *(reader.columns if reader else ()), self.group, self.split, "id")
        return [name for name in dict.fromkeys(wanted) if name in known]

    def cells(self, row: Mapping[str, Any], reader: LabelReader | None, where: str) -> Cells:
        """What a row says; raises what :meth:`LabelReader.read` does."""
        return Cells(
            None if reader is None else reader.read(row, where),
            _text(row[self.group]) if self.group else None,
            _text(row[self.split]) if self.split else None,
            reader,
        )


def need_column(row: Mapping[str, object], column: str, path: Path) -> None:
    """Raise DataError TL-DATA-COLUMN where the table has no such column."""
    tables.need_column(row, column, path, "--image for images, --target for labels, --group for groups")


def column_of_images(columns: guess.Columns) -> str | None:
    """The only column of files of images, or of their bytes."""
    return guess.only(columns, lambda value: value == guess.BYTES or Path(value).suffix.lower() in SUFFIXES)


def _text(value: Any) -> str | None:
    return None if value is None or value == "" else str(value)
