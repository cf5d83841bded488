"""What must not reach a model or a report: columns that name a person, and categories that few patients have."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Mapping

import numpy as np

from tlplat.data.columns import Table, TableEncoder

FEWEST = 11
"""Counts of fewer patients are not shown, and values that fewer have are not kept."""
NAMING = re.compile(
    r"(first|last|middle|sur|family|given|full|maiden|patient|user)?_?names?|initials|mrn|ssn|nhs(_?(no|number))?"
    r"|(date_?of_?birth|birth_?date|dob|birthday)|(home_?)?address|street|(post|zip)_?code|zip|postal|phone|telephone"
    r"|mobile|fax|e_?mail|insurance_?(no|number|id)|passport|record_?(no|number)|medical_?record(_?(no|number))?"
)
IDS = re.compile(r"(.*[_ .-])?(id|pid|uid|no|nr|num|number|key|code)")


def naming_columns(texts: Mapping[str, list[str]]) -> dict[str, str]:
    """Columns that name or number a person, each with the reason: by what they are called, and by what they hold."""
    found = {}
    for name, values in texts.items():
        known = [v for v in values if v]
        plain = name.strip().lower().replace(" ", "_").replace("-", "_")
        if NAMING.fullmatch(plain):
            found[name] = "its name says that it names a person"
        elif len(known) > FEWEST and len(set(known)) == len(known) and IDS.fullmatch(plain):
            found[name] = "it numbers the rows"
    return found


def rare_columns(columns: Table) -> dict[str, str]:
    """Columns of which nothing could be kept: words that fewer than 11 patients share, numbers of fewer than 11."""
    found = {}
    for name, values in columns.items():
        if values.dtype == object:
            counts = Counter(v for v in values if v is not None)
            if not counts or max(counts.values()) < FEWEST:
                found[name] = f"no value of it is that of {FEWEST} patients or more"
        elif np.isfinite(values).sum() < FEWEST:
            found[name] = f"fewer than {FEWEST} patients have a value"
    return found


def private_encoder(columns: Table) -> TableEncoder:
    """The encoder of these rows without categories of fewer than 11 rows: they are read as ones it never saw."""
    made = TableEncoder.fit(columns)
    kept = []
    for column in made.columns:
        if column.kind == "categorical":
            counts = Counter(v for v in columns[column.name] if v is not None)
            common = tuple(c for c in column.categories if counts[c] >= FEWEST)
            column = dataclasses.replace(column, categories=common)
        kept.append(column)
    return TableEncoder(tuple(kept))
