"""Field types of report.json: numbers that may be undefined, intervals, paths inside the run folder."""

from __future__ import annotations

import math
import re
from pathlib import PurePosixPath, PureWindowsPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _ordered(value: tuple[float | None, float | None]) -> tuple[float | None, float | None]:
    low, high = value
    if low is not None and high is not None and low > high:
        raise ValueError(f"interval [{low}, {high}] is upside down")
    return value


def _inside(value: str) -> str:
    """Only a path inside the run folder can be traced by whoever holds that folder."""
    if PurePosixPath(value).is_absolute() or PureWindowsPath(value).is_absolute() or ".." in PurePosixPath(value).parts:
        raise ValueError(f"{value!r} is not a path inside the run folder")
    return value


def _png(value: str) -> str:
    """A picture is part of the page, and nothing but a picture."""
    if not re.fullmatch(r"data:image/png;base64,[A-Za-z0-9+/]+={0,2}", value):
        raise ValueError("a picture is a PNG as a data URI")
    return value


Number = Annotated[float | None, BeforeValidator(_finite)]
Interval = Annotated[tuple[Number, Number], AfterValidator(_ordered)]
Inside = Annotated[str, AfterValidator(_inside)]
Picture = Annotated[str, AfterValidator(_png)]
Family = Literal["parameter", "feature", "structural", "baseline"]
Count = Annotated[int, Field(ge=0)]


class Part(BaseModel):
    """Base: unknown fields are kept, so that a document may say more than this version knows."""

    model_config = ConfigDict(extra="allow", frozen=True)
