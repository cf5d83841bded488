"""A table of patients, read strictly; an error names row and column and never shows a value."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from pathlib import Path

import numpy as np

from tlplat.data import sheets
from tlplat.data.columns import typed
from tlplat.data.sheets import Sheet
from tlplat.errors import DataError

MISSING = {"", "na", "n/a", "nan", "null", "."}
"""Ways to write that a value is not known, in lower case."""
MOSTLY = 0.8
"""A column of which so large a share are numbers is one of numbers: its words are mistakes."""
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")

Warn = Callable[[str], None]


def read_sheet(path: Path, warn: Warn) -> Sheet:
    """The patients of a file, a folder or a pattern; what Excel writes is read, and ``warn`` told.

    Raises:
        DataError: what :func:`tlplat.data.sheets.read_sheet` raises; TL-DATA-CSV: the first row is no header.
    """
    sheet = sheets.read_sheet(path, MISSING, warn, private=True)
    if any(NUMBER.fullmatch(n) or re.fullmatch(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}", n) for n in sheet.columns):
        raise DataError(
            "TL-DATA-CSV",
            f"the first row of {path.name} holds numbers or dates: it is a patient, not the names of columns",
            where=f"{path}, line 1",
            fix="put a header with the names of the columns above the rows",
        )
    return sheet


def typed_columns(
    sheet: Sheet, names: Collection[str], categorical: Collection[str] = (), numeric: Collection[str] = ()
) -> dict[str, np.ndarray]:
    """These columns as numbers (float64, NaN) or words (objects, None); unsaid, most values decide.

    Raises:
        DataError TL-DATA-TYPE: a word in a column of numbers.
    """
    texts = sheet.select(names)
    kinds = dict.fromkeys(texts, "numeric")
    for name, values in texts.items():
        wrong = [i for i, v in enumerate(values) if v and not NUMBER.fullmatch(v)]
        mostly_words = len(wrong) > (1 - MOSTLY) * sum(bool(v) for v in values)
        if name in categorical or (mostly_words and name not in numeric):
            kinds[name] = "categorical"
        elif wrong:
            raise DataError(
                "TL-DATA-TYPE",
                f"{len(wrong)} of {len(values)} values of the column {name} are no numbers",
                where=sheet.place(wrong[0], name),
                expected="numbers",
                fix=f"mend the column {name}, leave such values empty, or, if it holds codes: --categorical {name}",
            )
    return typed(texts, kinds)
