"""A split that the user made: by a column of names of sides, or by a file for each side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from tlplat.errors import DataError, Finding, UsageError

if TYPE_CHECKING:
    from tlplat.domain import DataOptions, Domain

TRAIN, VALIDATION, TEST = 0, 1, 2
NAMES = {
    **dict.fromkeys(("train", "training"), TRAIN),
    **dict.fromkeys(("val", "valid", "validation", "dev"), VALIDATION),
    **dict.fromkeys(("test", "testing"), TEST),
}
"""Of sides, in small letters."""
Place = Literal["column", "array", "field"]


@dataclass(frozen=True)
class Sides:
    """The side of each row.

    Attributes:
        side: (n,) int8: 0 training, 1 validation, 2 test. by: who said so, for the data card.
    """

    side: np.ndarray
    by: str

    @property
    def test(self) -> np.ndarray:
        """(n,) bool."""
        found: np.ndarray = self.side == TEST
        return found

    @property
    def validation(self) -> Tensor | None:
        """(n,) bool, for :attr:`Examples.validation`; None where no row is set apart for it."""
        chosen = self.side == VALIDATION
        return torch.from_numpy(chosen) if chosen.any() else None


def need_sound_flags(data: DataOptions, domain: Domain) -> None:
    """Raise UsageError TL-USAGE where flags of a split contradict each other, or the domain has no use for them."""
    given = [name for name in ("split", "val_data", "test_data") if getattr(data, name) is not None]
    if not given:
        return
    flags = ", ".join(f"--{name.replace('_', '-')}" for name in given)
    if data.path is None:
        raise UsageError("TL-USAGE", f"{flags} needs --data", fix="add --data with the training rows")
    if not domain.takes_split:
        raise UsageError("TL-USAGE", f"the domain {domain.name} splits rows itself", fix=f"leave out {flags}")
    if data.split is not None and len(given) > 1:
        raise UsageError("TL-USAGE", f"{flags}: a column and files both split", fix="give either, not both")
    if data.val_data is not None and data.test_data is None:
        raise UsageError("TL-USAGE", "--val-data needs --test-data", fix="add --test-data with the test rows")


def files_given(data: DataOptions) -> list[Path]:
    """The files of labelled rows in order: training, validation, test, as far as they are given."""
    assert data.path is not None
    return [data.path, *(path for path in (data.val_data, data.test_data) if path is not None)]


def given_sides(
    data: DataOptions,
    sizes: Sequence[int],
    names: Sequence[str | None],
    place: Callable[[int], str],
    kind: Place = "column",
) -> Sides | None:
    """The split that ``data`` asks for; None where it asks for none.

    Args:
        sizes: rows of each of :func:`files_given`, in order. names: (n,) what stands in the column ``data.split``; not
            looked at without one. place: where a user finds a row, by its number. kind: what ``names`` stand in; a
            field is one of records' titles, as ``>id split=train``.

    Raises:
        DataError TL-DATA-SPLIT: another word than :data:`NAMES`, or nothing, in the column; no training or no test row.
    """
    if data.split is not None:
        side = _named(names, data.split, place, kind)
        return _both(Sides(side, f"the {kind} {data.split}"), f"{kind} {data.split}")
    if data.test_data is None:
        return None
    kinds = [TRAIN, *([VALIDATION] if data.val_data is not None else []), TEST]
    return _both(Sides(np.repeat(np.array(kinds, dtype=np.int8), sizes), "the files given"), str(data.test_data))


def _named(names: Sequence[str | None], column: str, place: Callable[[int], str], kind: Place) -> np.ndarray:
    side = np.array([NAMES.get((name or "").strip().lower(), -1) for name in names], dtype=np.int8)
    wrong = np.flatnonzero(side < 0).tolist()
    if wrong:
        of, into = f"the {kind} {column!r}", f"every row of that {kind}, or name another {kind} with --split"
        words = ["train", "val", "test"]
        if kind == "field":
            of, into = (
                f"a field {column!r} of their titles",
                "every title, or give a file of test rows with --test-data",
            )
            words = [f"{column}={word}" for word in words]
        said = "{}, {} or {}".format(*words)
        raise DataError(
            "TL-DATA-SPLIT",
            f"{len(wrong)} of {len(names)} rows name no side of the split in {of}",
            findings=[Finding("no side of a split", place(i)) for i in wrong],
            expected=said,
            fix=f"write {said} into {into}",
        )
    return side


def _both(sides: Sides, where: str) -> Sides:
    counts = np.bincount(sides.side, minlength=3)
    if not counts[TRAIN] or not counts[TEST]:
        lacking = "training" if not counts[TRAIN] else "test"
        raise DataError(
            "TL-DATA-SPLIT",
            f"the split has no {lacking} row",
            where=where,
            found=f"{counts[0]} training, {counts[1]} validation, {counts[2]} test rows",
            fix="mark rows of both sides, or leave the split to tlplat",
        )
    return sides
