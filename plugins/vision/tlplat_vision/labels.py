"""Labels of images, one a row or any number, as targets."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from tlplat.data.labelsets import Label, LabelReader
from tlplat.errors import DataError, Finding
from tlplat.tasks.classification import Classification


def encode_labels(labels: Sequence[str], known: Sequence[str] = ()) -> tuple[Classification, Tensor]:
    """The task and (n,) int64 targets: the source's order where the names are exactly its own, else sorted.

    Names that are whole numbers are sorted as numbers.

    Raises:
        DataError TL-DATA-ONE-CLASS: fewer than two classes.
    """
    found = set(labels)
    if found == set(known):
        names = tuple(known)
    else:
        whole = all(name.lstrip("-").isdecimal() for name in found)
        names = tuple(sorted(found, key=(lambda name: (int(name), name)) if whole else None))
    position = {name: i for i, name in enumerate(names)}
    return Classification(labels=names), torch.tensor([position[label] for label in labels], dtype=torch.int64)


def encode_rows(
    labels: Sequence[Label],
    ids: Sequence[str],
    reader: LabelReader | None,
    warn: Callable[[str], None],
    known: Sequence[str] = (),
) -> tuple[Classification, Tensor]:
    """The task, and targets (n,), or (n, c) where rows have any number of labels; see :func:`encode_labels`.

    Args:
        reader: of a table; None where folders are the classes.

    Raises:
        DataError: what that and :meth:`Classification.of_sets` raise.
    """
    several = Classification.of_sets(labels, ids, reader, warn, known)
    return several or encode_labels([str(label) for label in labels], known)


def need_labels(labels: Sequence[Label], ids: Sequence[str], where: str) -> None:
    """Raise DataError TL-DATA-LABEL-MISSING with the ids that lack a label."""
    missing = [i for i, label in enumerate(labels) if label is None]
    if missing:
        raise DataError(
            "TL-DATA-LABEL-MISSING",
            f"{len(missing)} of {len(labels)} images have no label",
            where=where,
            findings=[Finding("no label", ids[i]) for i in missing],
            fix="complete the labels, or put each class into a folder of its name",
        )
