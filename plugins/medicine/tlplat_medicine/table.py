"""A CSV of patients, read strictly; an error names row and column and never shows a value."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tlplat.data.columns import typed
from tlplat.data.tables import read_table
from tlplat.errors import DataError
from tlplat_medicine.cohorts import CATEGORICAL, COLUMNS

ID = "id"
POSSIBLE = {"age": (0, 120), "nodes": (0, 200), "pgr": (0, 1e5), "er": (0, 1e5)}


@dataclass(frozen=True)
class Patients:
    """Rows of a file: their ids (row numbers where there is no column ``id``) and columns."""

    ids: list[str]
    columns: dict[str, np.ndarray]


def read_patients(path: Path) -> Patients:
    """The patients of a CSV file with a header.

    Raises:
        DataError: what :func:`tlplat.data.tables.read_table` raises; TL-DATA-TYPE: a word where a number belongs;
            TL-DATA-RANGE: an impossible value.
    """
    rows = [row for _, row in read_table(path)]
    kinds = {c: "categorical" if c in CATEGORICAL else "numeric" for c in COLUMNS}
    columns = typed({name: [row[name] for row in rows] for name in kinds if name in rows[0]}, kinds)
    for name, (least, most) in POSSIBLE.items():
        values = columns.get(name, np.zeros(0))
        wrong = np.flatnonzero((values < least) | (values > most))
        if len(wrong):
            raise DataError(
                "TL-DATA-RANGE",
                f"the table of patients has {len(wrong)} impossible values of {name} (not {least:g} to {most:g})",
                where=f"row {int(wrong[0]) + 1}, column {name}",
                fix=f"mend the column {name}, or leave unknown values empty",
            )
    return Patients([row.get(ID, str(i)) for i, row in enumerate(rows)], columns)
