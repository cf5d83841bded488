"""Any number of labels a row in arrays: y (n, c) of zeros and ones, and what its columns are called."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tlplat.errors import DataError, Finding


def are_sets(array: Any) -> bool:
    """Whether an array y has a column for each label; one column alone is one class or number a row."""
    return bool(np.ndim(array) == 2 and array.shape[1] > 1)


def sets_of(array: np.ndarray, names: Sequence[Any], what: str) -> tuple[Tensor, tuple[str, ...]]:
    """(n, c) float32 zeros and ones, and the columns' names, where there are some.

    Raises:
        DataError TL-DATA-LABEL-RANGE: other values. TL-DATA-COLUMN: another count of names, or one twice.
    """
    wrong = np.flatnonzero(~np.isin(array, (0, 1)).all(axis=1)).tolist()
    if wrong:
        raise DataError(
            "TL-DATA-LABEL-RANGE",
            f"{what} has {array.shape[1]} columns, and {len(wrong)} of {len(array)} rows hold more than zeros and ones",
            findings=[Finding("neither 0 nor 1", f"row {i}") for i in wrong],
            fix="write 1 where a row has the label and 0 where not; one class or number a row is one column",
        )
    found = tuple(str(name) for name in names)
    if found and (len(found) != array.shape[1] or len(set(found)) != len(found)):
        raise DataError(
            "TL-DATA-COLUMN",
            f"{what} has {array.shape[1]} columns, and {len(set(found))} different names stand for them",
            found=", ".join(found[:10]),
            fix="give each column a name of its own, as the array classes",
        )
    return torch.from_numpy(array.astype(np.float32)), found
