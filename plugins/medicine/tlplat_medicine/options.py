"""Options of ``tlplat run --domain medicine``: which demo, or what the columns of the user's own data are."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tlplat.domain import DomainOptions


class MedicineOptions(DomainOptions):
    """Options of ``tlplat run --domain medicine``."""

    task: Literal["prognosis", "diagnosis", "treatment"] = Field(
        "prognosis", description="the time to an event, a class, or which of several treatments for whom"
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
