"""What fine-tuning strategies share: the learning rates that each tries (rates decide more than names), and starts."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal, TypeVar

from tlplat.model import BackboneInfo
from tlplat.strategy import Strategy

RATES = (3e-4, 1e-3, 3e-3)

S = TypeVar("S", bound=Strategy)


def over_rates(strategy: S, rates: Sequence[float] = RATES) -> list[S]:
    """The strategy at each learning rate."""
    return [dataclasses.replace(strategy, learning_rate=rate) for rate in rates]  # type: ignore[call-arg]


def reused_head(backbone: BackboneInfo) -> Literal["source_head", "fresh"]:
    """Start from the source's own head where label spaces match."""
    return "source_head" if backbone.has_source_head else "fresh"


def solved_head(backbone: BackboneInfo) -> Literal["source_head", "fitted"]:
    """Start from the source's own head where label spaces match, else from one solved on frozen features."""
    return "source_head" if backbone.has_source_head else "fitted"
