"""CSV and TSV files of sequences or labels, plain or compressed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from tlplat.data import tables
from tlplat.data.guess import Columns, only
from tlplat_genomics.alphabet import IUPAC
from tlplat_genomics.strict import DEFAULT_LIMITS, Limits, open_text

SHORTEST = 10
"""Letters from which on a word is taken for a sequence."""
LETTERS = frozenset((IUPAC + IUPAC.lower()).decode())


def read_table(path: Path, limits: Limits = DEFAULT_LIMITS) -> Iterator[tuple[int, dict[str, str]]]:
    """As :func:`tlplat.data.tables.table_rows`, of a file that :func:`tlplat_genomics.strict.open_text` opens."""
    with open_text(path, limits) as handle:
        yield from tables.table_rows(handle, path)


def need_column(row: Mapping[str, str], column: str, path: Path) -> None:
    """Raise DataError TL-DATA-COLUMN where the table has no such column."""
    tables.need_column(row, column, path, "--target for labels, --sequence for sequences, --group for groups")


def column_of_sequences(columns: Columns) -> str | None:
    """The only column of words that are all nucleotide letters, :data:`SHORTEST` at least."""
    return only(columns, lambda value: len(value) >= SHORTEST and LETTERS.issuperset(value))
