"""Any value of a run as plain JSON: no NaN, no numpy, no lone surrogate; and text that is safe to show."""

from __future__ import annotations

import dataclasses
import datetime
import math
import os
from collections.abc import Collection, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from pydantic import BaseModel, JsonValue

BIDI_CONTROLS = "\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
LINE_SEPARATORS = "\u2028\u2029"


def plain(value: Any, at: str = "") -> JsonValue:
    """``value`` with only dict, list, str, int, float, bool and None in it.

    NaN and infinities become None, arrays and tensors lists, paths and dates text, dataclasses and models dicts.

    Args:
        at: JSON pointer of ``value``, for the error.

    Raises:
        TypeError: a value that JSON has no form for; the message holds its pointer.
    """
    match value:
        case None | bool():
            return value
        case int():
            return int(value)
        case float():
            return float(value) if math.isfinite(value) else None
        case str():
            return utf8(str(value))
        case BaseModel():
            return {k: plain(v, f"{at}/{k}") for k, v in value}
        case Mapping():
            return {utf8(str(k)): plain(v, f"{at}/{k}") for k, v in value.items()}
        case list() | tuple():
            return [plain(v, f"{at}/{i}") for i, v in enumerate(value)]
        case AbstractSet():
            return [plain(v, f"{at}/{i}") for i, v in enumerate(sorted(value))]
        case datetime.date():
            return value.isoformat()
        case os.PathLike():
            return utf8(os.fsdecode(value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name), f"{at}/{f.name}") for f in dataclasses.fields(value)}
    if callable(getattr(value, "tolist", None)):
        return plain(value.tolist(), at)
    raise TypeError(f"report.json has no form for the {type(value).__name__} at {at or '/'}")


def rounded(value: JsonValue, decimals: int, kept: Collection[str]) -> JsonValue:
    """``value`` with no more decimals in any of its numbers, but for what stands under the keys ``kept``."""
    match value:
        case float():
            return round(value, decimals)
        case dict():
            return {k: v if k in kept else rounded(v, decimals, kept) for k, v in value.items()}
        case list():
            return [rounded(v, decimals, kept) for v in value]
    return value


def utf8(text: str) -> str:
    """``text`` with lone surrogates (undecodable bytes of a path) as backslash escapes, so that UTF-8 can hold it."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def printable(text: str) -> str:
    """``text`` with control and direction characters made visible, so that a name cannot steer a terminal or a page."""
    return "".join(_visible(c) for c in utf8(text))


def _visible(character: str) -> str:
    code = ord(character)
    if character in "\n\t":
        return character
    if code < 32 or 127 <= code < 160:
        return f"\\x{code:02x}"
    if character in BIDI_CONTROLS + LINE_SEPARATORS:
        return f"\\u{code:04x}"
    return character
