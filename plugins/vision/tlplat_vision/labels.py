"""Class names of images as numbers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

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


def need_labels(labels: Sequence[str | None], ids: Sequence[str], where: str) -> list[str]:
    """The labels, none missing.

    Raises:
        DataError TL-DATA-LABEL-MISSING: with the ids that lack one.
    """
    missing = [i for i, label in enumerate(labels) if not label]
    if missing:
        raise DataError(
            "TL-DATA-LABEL-MISSING",
            f"{len(missing)} of {len(labels)} images have no label",
            where=where,
            findings=[Finding("no label", ids[i]) for i in missing],
            fix="complete the labels, or put each class into a folder of its name",
        )
    return [label for label in labels if label]
