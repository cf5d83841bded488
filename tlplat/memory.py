"""What running out of memory looks like, and the error where nothing can be made smaller."""

from __future__ import annotations

import torch

from tlplat.errors import ResourceError


def out_of_memory(error: BaseException) -> bool:
    """An allocation that failed, on the CPU or a device."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    text = str(error)
    return "can't allocate memory" in text or "not enough memory" in text


def no_memory(rows: int, unit: str) -> ResourceError:
    """The error of ``rows`` that cannot be made fewer, for a loss over each ``row`` or over the ``set``."""
    fewest = "1 row" if rows == 1 else f"{rows} rows"
    what = "a loss over a set, which cannot be split" if unit == "set" else f"a batch of {fewest}"
    return ResourceError(
        "TL-OOM",
        f"{what} does not fit into memory ({rows} rows at once)",
        fix="shorten or shrink the inputs, choose a smaller source model, or use a machine with more memory",
    )
