"""Labels of the user's texts: names or whole numbers, one a row or any number, as targets."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from tlplat.errors import DataError, Finding
from tlplat.tasks.classification import Classification
from tlplat_nlp.rows import Rows


def encode_rows(rows: Rows, known: Sequence[str], warn: Callable[[str], None]) -> tuple[Classification, Tensor]:
    """The task, and targets (n,), or (n, c) where rows have any number of labels; see :func:`encode_labels`.

    Raises:
        DataError: what that and :meth:`Classification.of_sets` raise.
    """
    several = Classification.of_sets(rows.labels, rows.ids, rows.reader, warn, known)
    return several or encode_labels(rows.labelled(), rows.ids, known)


def encode_labels(
    labels: Sequence[str], ids: Sequence[str], known: Sequence[str] = ()
) -> tuple[Classification, Tensor]:
    """The task and (n,) int64 targets.

    Class names that are exactly the source's ``known`` ones keep its order, so that its head serves; whole numbers
    are sorted as numbers, other names by alphabet.

    Raises:
        DataError TL-DATA-LABEL-TYPE: numbers that are not whole. TL-DATA-ONE-CLASS: fewer than two classes.
    """
    names = tuple(known) if set(labels) == set(known) else _ordered(labels, ids)
    place = {name: i for i, name in enumerate(names)}
    return Classification(labels=names), torch.tensor([place[label] for label in labels], dtype=torch.int64)


def _ordered(labels: Sequence[str], ids: Sequence[str]) -> tuple[str, ...]:
    different = set(labels)
    try:
        numbers = {label: float(label) for label in different}
    except ValueError:
        return tuple(sorted(different))
    broken = {label for label, v in numbers.items() if not math.isfinite(v) or v != int(v)}
    if broken:
        places = [i for i, label in enumerate(labels) if label in broken]
        raise DataError(
            "TL-DATA-LABEL-TYPE",
            f"{len(places)} labels are no integer, and classes are integers or names",
            findings=[Finding("not an integer", ids[i], labels[i], "an integer or a name") for i in places],
            fix="give class names or whole numbers; a quantity to predict is regression, which this domain does not do",
        )
    return tuple(sorted(different, key=lambda label: (numbers[label], label)))
