"""A CSV of patients, read strictly; an error names row and column and never shows a value."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tlplat.data.columns import typed
from tlplat.errors import DataError
from tlplat_medicine.cohorts import CATEGORICAL, COLUMNS

ID = "id"


@dataclass(frozen=True)
class Patients:
    """Rows of a file: their ids (row numbers where there is no column ``id``) and columns."""

    ids: list[str]
    columns: dict[str, np.ndarray]


def read_patients(path: Path) -> Patients:
    """The patients of a CSV file with a header.

    Raises:
        DataError TL-DATA-CSV: rows of another width, no rows. TL-DATA-TYPE: a word where a number belongs.
            TL-DATA-RANGE: an impossible age or count. TL-DATA-READ, TL-DATA-ENCODING: unreadable.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [row for row in csv.reader(file, strict=True) if row]
    except UnicodeDecodeError as error:
        raise _bad("TL-DATA-ENCODING", "is not UTF-8 text", str(path), "save the table as CSV in UTF-8") from error
    except csv.Error as error:
        raise _bad("TL-DATA-CSV", "is broken CSV (an unclosed quote?)", str(path), "mend the table") from error
    except OSError as error:
        raise _bad("TL-DATA-READ", f"cannot be read: {error.strerror}", str(path), "check path and rights") from error
    if len(rows) < 2:
        raise _bad("TL-DATA-CSV", "holds no rows below its header", str(path), "give a CSV with a header and rows")
    header = [name.strip() for name in rows[0]]
    if len(set(header)) != len(header) or "" in header:
        raise _bad("TL-DATA-CSV", "has empty or repeated column names", f"{path}, row 1", "name each column once")
    for number, row in enumerate(rows[1:], 1):
        if len(row) != len(header):
            raise _bad("TL-DATA-CSV", "has a row of another width", f"{path}, row {number}", "mend the row")
    texts = {name: [row[i] for row in rows[1:]] for i, name in enumerate(header)}
    ids = texts.pop(ID, [str(i) for i in range(len(rows) - 1)])
    kinds = {c: "categorical" if c in CATEGORICAL else "numeric" for c in COLUMNS}
    columns = typed({name: values for name, values in texts.items() if name in kinds}, kinds)
    for name, (least, most) in {"age": (0, 120), "nodes": (0, 200), "pgr": (0, 1e5), "er": (0, 1e5)}.items():
        values = columns.get(name, np.zeros(0))
        wrong = np.flatnonzero((values < least) | (values > most))
        if len(wrong):
            where = f"row {int(wrong[0]) + 1}, column {name}"
            fix = f"mend the column {name}, or leave unknown values empty"
            raise _bad(
                "TL-DATA-RANGE", f"has {len(wrong)} impossible values of {name} (not {least:g} to {most:g})", where, fix
            )
    return Patients(ids, columns)


def _bad(code: str, what: str, where: str, fix: str) -> DataError:
    return DataError(code, f"the table of patients {what}", where=where, fix=fix)
