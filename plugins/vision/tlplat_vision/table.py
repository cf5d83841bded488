"""The columns of tables of paths and labels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tlplat.data import tables


def need_column(row: Mapping[str, object], column: str, path: Path) -> None:
    """Raise DataError TL-DATA-COLUMN where the table has no such column."""
    tables.need_column(row, column, path, "--image for images, --target for labels, --group for groups")
