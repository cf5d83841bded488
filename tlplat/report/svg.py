"""What every chart is made of: escaped elements, scales and round ticks. Coordinates are in view-box units."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

from markupsafe import escape

from tlplat.report.plain import printable

Point = tuple[float, float]


def number(value: float) -> str:
    """Two decimals at most."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if abs(value) >= 0.005 else "0"


def element(tag: str, *children: str, **attributes: str | float | None) -> str:
    """``<tag a="b">children</tag>``; children are markup already, attributes are escaped, ``_`` reads ``-``."""
    written = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{escape(number(v) if isinstance(v, float | int) else printable(v))}"'
        for name, v in attributes.items()
        if v is not None
    )
    return f"<{tag}{written}>{''.join(children)}</{tag}>"


def text(content: str, x: float, y: float, class_: str = "", anchor: str = "start") -> str:
    """A line of text, escaped."""
    return element("text", str(escape(printable(content))), x=x, y=y, class_=class_ or None, text_anchor=anchor)


def title(content: str) -> str:
    """What a pointer over the mark shows, and a screen reader says."""
    return element("title", str(escape(printable(content))))


def path(points: Iterable[Point]) -> str:
    """Path data through ``points``."""
    return "M" + "L".join(f"{number(x)} {number(y)}" for x, y in points)


@dataclass(frozen=True)
class Scale:
    """Maps values ``low .. high`` to positions ``start .. end``; logarithmic where ``log``."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    @classmethod
    def over(cls, values: Iterable[float], start: float, end: float, *, log: bool = False, pad: float = 0.06) -> Self:
        """A scale that holds all values, with ``pad`` of its length free at both ends."""
        known = [v for v in values if math.isfinite(v) and (v > 0 or not log)] or [1.0]
        low, high = (_log(min(known), log), _log(max(known), log))
        room = (high - low) * pad or (0.5 if log else abs(high) * pad or 0.5)
        low, high = low - room, high + room
        return cls(10**low if log else low, 10**high if log else high, start, end, log)

    def __call__(self, value: float) -> float:
        """The position, held inside ``start .. end``."""
        low, high, v = (_log(x, self.log) for x in (self.low, self.high, max(value, self.low)))
        share = (v - low) / (high - low)
        return self.start + min(max(share, 0.0), 1.0) * (self.end - self.start)

    def ticks(self, about: int = 5) -> list[float]:
        """Round values inside the scale."""
        return log_ticks(self.low, self.high) if self.log else ticks(self.low, self.high, about)


def _log(value: float, log: bool) -> float:
    return math.log10(value) if log else value


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten inside ``low .. high``, about so many."""
    rough = (high - low) / max(about, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = min((m * power for m in (1, 2, 5, 10)), key=lambda s: abs(math.log((high - low) / s / about)))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten inside ``low .. high``; with 2 and 5 times them where the powers are few."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    powers = [10.0**e for e in range(first, last + 1) if low <= 10.0**e <= high]
    if len(powers) > 2:
        return powers
    finer = [m * 10.0**e for e in range(first, last + 1) for m in (1, 2, 5)]
    return [round(v, 12) for v in finer if low <= v <= high] or powers


def tick_text(value: float, all_ticks: Sequence[float]) -> str:
    """The tick with as many decimals as its neighbours need, counts above 10,000 in thousands."""
    step = min((abs(b - a) for a, b in pairwise(all_ticks)), default=abs(value) or 1.0)
    decimals = max(0, min(6, -math.floor(math.log10(step) + 1e-9)))
    if abs(value) >= 10_000 and decimals == 0:
        return f"{value / 1000:,.6g}k"
    return f"{value:,.{decimals}f}"
