"""``--budget``: what the whole search may spend, as users write it: ``10m``, ``600s``, ``epochs=N``, ``trials=N``."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

Unit = Literal["seconds", "epochs", "trials"]
SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}
_TIME = re.compile(r"\s*(\d+(?:\.\d+)?|\.\d+)\s*(s|m|h)\s*")
_COUNT = re.compile(r"\s*(epochs|trials)\s*=\s*(\d+)\s*")
LARGEST = {"seconds": 365 * 24 * 3600.0, "epochs": 1e9, "trials": 1e9}


@dataclass(frozen=True)
class Limit:
    """An amount of time, of passes over the labelled rows in all fits together, or of trials at full length."""

    unit: Unit
    amount: float

    @classmethod
    def parse(cls, text: str) -> Limit:
        """Raises ValueError with a sentence where the text is of no form, zero, or beyond all use."""
        if found := _TIME.fullmatch(text):
            made = cls("seconds", float(found[1]) * SECONDS[found[2]])
        elif found := _COUNT.fullmatch(text):
            made = cls("epochs" if found[1] == "epochs" else "trials", float(found[2]))
        else:
            raise ValueError(f"{text!r} is no budget: write a time (90s, 10m, 1.5h), epochs=N or trials=N")
        if not 0 < made.amount <= LARGEST[made.unit] or not math.isfinite(made.amount):
            raise ValueError(f"{text!r} must be more than 0 and at most {LARGEST[made.unit]:g} {made.unit}")
        return made
