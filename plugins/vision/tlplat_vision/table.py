"""The columns of tables of paths and labels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tlplat.data import tables
from tlplat.data.guess import BYTES, Columns, only
from tlplat_vision.images import SUFFIXES


def need_column(row: Mapping[str, object], column: str, path: Path) -> None:
    """Raise DataError TL-DATA-COLUMN where the table has no such column."""
    tables.need_column(row, column, path, "--image for images, --target for labels, --group for groups")


def column_of_images(columns: Columns) -> str | None:
    """The only column of files of images, or of their bytes."""
    return only(columns, lambda value: value == BYTES or Path(value).suffix.lower() in SUFFIXES)
