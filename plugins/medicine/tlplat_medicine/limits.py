"""What is possible in a column that many clinical tables have, by its name; wide enough for every unit in use."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from tlplat.data.sheets import Sheet
from tlplat.errors import DataError, UsageError

Range = tuple[float, float]
POSSIBLE: Mapping[str, Range] = {
    "age": (0, 120),
    "agey": (0, 120),
    "ageyears": (0, 120),
    "ageatdiagnosis": (0, 120),
    "sbp": (30, 350),
    "sysbp": (30, 350),
    "systolic": (30, 350),
    "systolicbp": (30, 350),
    "dbp": (10, 250),
    "diabp": (10, 250),
    "diastolic": (10, 250),
    "diastolicbp": (10, 250),
    "bmi": (5, 120),
    "heartrate": (10, 350),
    "pulse": (10, 350),
    "temperature": (20, 115),
    "spo2": (0, 100),
    "height": (0.2, 260),
    "heightcm": (20, 260),
    "weightkg": (0.2, 700),
    "nodes": (0, 200),
    "pgr": (0, 1e5),
    "er": (0, 1e5),
}
"""By the name in lower case without marks. Blood pressure in mmHg, height in m or cm, temperature in C or F."""


def limits_of(given: Sequence[str]) -> dict[str, Range]:
    """The limits that a user gives as ``COLUMN=LOW:HIGH``, by column.

    Raises:
        UsageError TL-USAGE: not of that form.
    """
    found = {}
    for text in given:
        said = re.fullmatch(r"(.+)=([^=:]+):([^=:]+)", text)
        try:
            name, low, high = said.groups() if said else ("", "", "")
            found[name] = (float(low), float(high))
        except ValueError:
            raise UsageError(
                "TL-USAGE", f"--limit {text} is not COLUMN=LOW:HIGH", fix="write it like --limit age=18:110"
            ) from None
    return found


def check_possible(sheet: Sheet, columns: Mapping[str, np.ndarray], given: Mapping[str, Range]) -> None:
    """Refuse numbers in columns of the sheet that are outside what is possible; no value is shown.

    Raises:
        DataError TL-DATA-RANGE.
    """
    for name, values in columns.items():
        limits = given.get(name) or POSSIBLE.get(re.sub(r"[^a-z0-9]", "", name.lower()))
        if limits is None or values.dtype == object:
            continue
        low, high = limits
        wrong = np.flatnonzero((values < low) | (values > high))
        if len(wrong):
            raise DataError(
                "TL-DATA-RANGE",
                f"the column {name} has {len(wrong)} impossible values (not {low:g} to {high:g})",
                where=sheet.place(int(wrong[0]), name),
                fix=f"mend the column {name}, leave unknown values empty, or give limits: --limit {name}=LOW:HIGH",
            )
