"""What widening and pruning share: an edit that chooses rows and columns of weights by index lists."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from tlplat.edits import Edit
from tlplat.errors import PluginError
from tlplat.model import BackboneInfo, TransferModel
from tlplat.probing import find_units
from tlplat.units import Selection, Units, select

NO_UNITS = "no layer whose outputs are seen by further layers alone: they reach the features or are added to others"


class SelectUnits(Edit):
    """Give each layer of ``selections`` the rows ``out`` and columns ``inputs`` of its old weights, by name."""

    name: ClassVar[str] = "select_units"

    @staticmethod
    def build(model: TransferModel, args: Mapping[str, Any]) -> None:
        select(model.backbone, {name: Selection(**lists) for name, lists in args["selections"].items()})


def hidden_units(model: TransferModel) -> tuple[Units, ...]:
    """The backbone's units, by its ``example``."""
    found = find_units(model.backbone, model.example) if model.example is not None else ()
    if not found:
        raise PluginError(
            "TL-PLUGIN-CONTRACT",
            f"the backbone {model.backbone.name} has {NO_UNITS}",
            fix="ask the strategy's `unfit` first, and set `model.example` to a few rows before the edit",
        )
    return found


def no_units(backbone: BackboneInfo) -> str | None:
    """Why nothing can be copied or removed, or None."""
    return None if backbone.units else f"the backbone {backbone.name} has {NO_UNITS}"


def joined(parts: Sequence[Mapping[str, Selection]]) -> dict[str, Any]:
    """Selections of several groups as one JSON object; a layer may be chosen by rows in one and columns in another."""
    made: dict[str, Any] = {}
    for part in parts:
        for name, selection in part.items():
            lists = {k: v for k, v in dataclasses.asdict(selection).items() if v is not None}
            made.setdefault(name, {}).update(lists)
    return made
