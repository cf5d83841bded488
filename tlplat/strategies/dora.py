"""DoRA: LoRA that learns the length of each weight vector apart from its direction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from tlplat.edits import Edit
from tlplat.hookspecs import hookimpl
from tlplat.strategies.injection import InjectPeft, MergePeft
from tlplat.strategies.lora import Lora
from tlplat.strategy import Strategy


@dataclass(frozen=True)
class Dora(Lora):
    """Train low-rank matrices and one magnitude an output beside frozen layers, and the head.

    Touches: what LoRA adds, and for each output the norm of its weights, W' = m (W + BA) / ||W + BA||.
    Wins: where LoRA of the same rank falls short of full fine-tuning. Costs: a norm of the weights a training step,
    nothing at inference once merged.
    """

    name: ClassVar[str] = "dora"
    paper: ClassVar[str] = "Liu et al. 2024, DoRA: weight-decomposed low-rank adaptation"
    trained: ClassVar[tuple[str, ...]] = (*Lora.trained, "*.lora_magnitude_vector.*")
    settings: ClassVar[Mapping[str, Any]] = {**Lora.settings, "use_dora": True}


@hookimpl
def tlplat_register_strategies() -> list[type[Strategy]]:
    return [Dora]


@hookimpl
def tlplat_register_edits() -> list[type[Edit]]:
    return [InjectPeft, MergePeft]
