"""Options of ``tlplat run --domain medicine``: which demo, or what the columns of the user's own data are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from tlplat.data.guess import TARGETS, first_rows, named
from tlplat.domain import DomainOptions

TIMES = ("time", "duration", "survival_time", "time_to_event", "follow_up", "followup", "futime", "os_time", "rfs_time")
EVENTS = ("event", "status", "death", "died", "dead", "deceased", "os_event")
CLASSES = ("diagnosis", "disease", *TARGETS)
"""Usual names of columns."""


class MedicineOptions(DomainOptions):
    """Options of ``tlplat run --domain medicine``."""

    task: Literal["prognosis", "diagnosis", "treatment"] = Field(
        "prognosis",
        description="the time to an event, a class or several labels, or which of several treatments for whom",
    )
    time: str | None = Field(None, description="column of the time to the event, or until watching ended")
    event: str | None = Field(None, description="column that is 1 where the event came, 0 where watching ended")
    arm: str | None = Field(None, description="column of the treatment that was given")
    control: str | None = Field(None, description="the arm that effects are measured against; default: no treatment")
    positive: str | None = Field(None, description="the class that is looked for; default: the last in order")
    site: str | None = Field(
        None, description="column of the hospital: whole sites are held out, so that the verdict is for a new one"
    )
    id: str = Field("id", description="column of ids, which predictions carry and nothing else does")
    drop: tuple[str, ...] = Field((), description="column that no model may look at; repeat it for more")
    categorical: tuple[str, ...] = Field((), description="column whose numbers are codes, not amounts; repeat for more")
    limit: tuple[str, ...] = Field(
        (), description="COLUMN=LOW:HIGH, what is possible there, such as age=18:110; repeat for more"
    )
    unit: str = Field("days", description="unit of the time column")
    horizon: float | None = Field(
        None, gt=0, description="time of the decision curve (prognosis), or up to which time is counted (treatment)"
    )
    lower_is_better: bool = Field(False, description="less of the outcome is better (treatment with --target)")
    randomised: bool = Field(False, description="the treatment was drawn by lot, whoever the patient is")


def guess(path: Path, given: Mapping[str, Any]) -> dict[str, str]:
    """The task, and the columns of its outcome, that the patients' table has under usual names.

    A column that ``--target`` names is a diagnosis where nothing speaks of time; a time and an event are a prognosis.
    """
    task = given.get("options.task") or ("treatment" if "options.arm" in given else None)
    if task == "treatment":
        return {} if "options.task" in given else {"options.task": task}
    columns = first_rows(path)
    names = {"options.time": TIMES, "options.event": EVENTS} if "data.target" not in given else {"options.time": TIMES}
    timed = {key: c for key, usual in names.items() if key not in given and (c := named(columns, usual)) is not None}
    told = {"options.time", "options.event"} & given.keys()
    if task == "prognosis" or told or (task is None and "data.target" not in given and len(timed) == 2):
        return timed
    target = given.get("data.target") or named(columns, CLASSES)
    if target is None:
        return {}
    found = {} if task else {"options.task": "diagnosis"}
    return found | ({} if "data.target" in given else {"data.target": target})
