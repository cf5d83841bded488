"""Unlabelled rows of the target: which of those offered may be used, and what is said about them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from tlplat.data.examples import Examples, Inputs
from tlplat.data.quality import hidden, row_digests
from tlplat.errors import DataError

MOST_ROWS = 4096
"""More rows than this of a domain's own are not used: adaptation sees each a few times at most."""

_POSITION = re.compile(r"(?:line |row )?\d+")
"""An id that only says where a row stands names no record, so that equal ones mean nothing."""


@dataclass(frozen=True)
class Admitted:
    """Unlabelled rows that may be used, with facts for the data card (JSON) and a sentence to warn with, if any."""

    inputs: Inputs
    facts: dict[str, Any]
    warning: str | None = None


def admit(
    inputs: Inputs,
    ids: Sequence[str] | None,
    labelled: Examples,
    test: Examples,
    origin: str,
    data_seed: int,
    most: int | None = None,
    least: int = 1,
) -> Admitted:
    """Leave out rows that are test rows (by content or by name), labelled rows and copies of each other.

    A model that has seen a test row, even without its label, is scored on what it has adapted to. Labelled rows are
    left out so that no validation row of a fold is adapted to.

    Args:
        ids: names of the rows, or None where they have none. origin: where they come from, for the data card.
        most: keep at most so many, drawn by ``data_seed``; None keeps all.
        least: the facts and the warning say no count of fewer rows.
    """
    digests = row_digests(inputs)
    in_test, in_labelled = set(row_digests(test.inputs)), set(row_digests(labelled.inputs))
    names = {name for name in test.ids if not _POSITION.fullmatch(name)}
    named = [False] * len(digests) if ids is None else [name in names for name in ids]
    leaks = [digest in in_test or same for digest, same in zip(digests, named, strict=True)]
    seen, kept = set(in_labelled), []
    for number, (digest, leak) in enumerate(zip(digests, leaks, strict=True)):
        if not leak and digest not in seen:
            seen.add(digest)
            kept.append(number)
    facts = {
        "from": origin,
        "rows_offered": len(digests),
        "left_out_as_test_rows": sum(leaks),
        "left_out_as_labelled_rows_or_copies": len(digests) - sum(leaks) - len(kept),
    }
    if most is not None and len(kept) > most:
        drawn = np.random.default_rng([data_seed, 0x0B5E]).choice(len(kept), most, replace=False)
        kept = [kept[i] for i in sorted(drawn.tolist())]
    warning = None
    if facts["left_out_as_test_rows"]:
        count = hidden(facts, least)["left_out_as_test_rows"]
        warning = (
            f"{count} of {len(digests)} unlabelled rows of {origin} are test rows (by content or name) and left out"
        )
    facts = hidden({"rows": len(kept), **facts}, least)
    return Admitted(inputs.select(torch.tensor(kept, dtype=torch.int64)), facts, warning)


def need_rows(found: Admitted) -> None:
    """Raise DataError TL-DATA-UNLABELED where no row is left."""
    if not len(found.inputs):
        facts = found.facts
        raise DataError(
            "TL-DATA-UNLABELED",
            f"none of the {facts['rows_offered']} unlabelled rows of {facts['from']} can be used",
            found=f"{facts['left_out_as_test_rows']} are test rows, "
            f"{facts['left_out_as_labelled_rows_or_copies']} are labelled rows or copies",
            fix="give unlabelled rows that are neither test rows nor labelled ones, or leave --unlabeled out",
        )
