"""LoRA: low-rank matrices beside frozen layers, through Hugging Face peft."""

from __future__ import annotations

import importlib.util
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from tlplat.edits import Edit
from tlplat.errors import PluginError
from tlplat.hookspecs import hookimpl
from tlplat.model import BackboneInfo, TaskInfo, TransferModel
from tlplat.plan import Budget, Phase, Ref, TransferPlan
from tlplat.strategies.rates import over_rates, reused_head
from tlplat.strategy import Family, Strategy

LAYERS = ("Linear", "Conv1d", "Conv2d", "Conv3d")
RATES = (1e-3, 3e-3, 1e-2)


class InjectLora(Edit):
    """Put low-rank adapters beside the layers ``targets`` (names below the backbone); the base weights stay."""

    name: ClassVar[str] = "lora"

    @staticmethod
    def build(model: TransferModel, args: Mapping[str, Any]) -> None:
        if importlib.util.find_spec("peft") is None:
            raise PluginError(
                "TL-PLUGIN-EXTRA", "LoRA adapters need the package peft", fix="pip install 'tlplat[lora]'"
            )
        from peft import LoraConfig, inject_adapter_in_model

        exact = "|".join(re.escape(name) for name in args["targets"])
        config = LoraConfig(r=args["r"], lora_alpha=args["alpha"], target_modules=f"({exact})", lora_dropout=0.0)
        inject_adapter_in_model(config, model.backbone)

    @staticmethod
    def init(model: TransferModel, args: Mapping[str, Any], generator: torch.Generator) -> None:
        """A uniform as in peft, B zero: the model at the start equals the base (Hu et al. 2022, section 4.1)."""
        with torch.no_grad():
            for name, p in model.backbone.named_parameters():
                if ".lora_A." in name:
                    nn.init.kaiming_uniform_(p, a=math.sqrt(5), generator=generator)
                elif ".lora_B." in name:
                    p.zero_()


@dataclass(frozen=True)
class Lora(Strategy):
    """Train low-rank matrices beside frozen linear and ungrouped convolution layers, and the head.

    Touches: adds 2 small matrices a layer; the source's weights and normalisation statistics stay bit-identical.
    Wins: when the model is large and labels are few; adapters are small to store. Costs: inference of the adapters.
    """

    name: ClassVar[str] = "lora"
    family: ClassVar[Family] = "structural"
    paper: ClassVar[str] = "Hu et al. 2022, LoRA: low-rank adaptation of large language models"
    requires: ClassVar[frozenset[str]] = frozenset({"row_loss"})

    learning_rate: float = 3e-3
    r: int = 4
    alpha: int = 8

    def plan(self, task: TaskInfo, backbone: BackboneInfo, measured: Mapping[str, Any], budget: Budget) -> TransferPlan:
        adapters = Ref("lora", {"r": self.r, "alpha": self.alpha, "targets": self._targets(backbone)})
        phase = Phase(trainable=("*.lora_A.*", "*.lora_B.*", "head.*"), learning_rate=self.learning_rate)
        return TransferPlan(start=reused_head(backbone), edits=(adapters,), phases=(phase,))

    def unfit(self, task: TaskInfo, backbone: BackboneInfo) -> str | None:
        if importlib.util.find_spec("peft") is None:
            return "it needs the package peft: pip install 'tlplat[lora]'"
        if not self._targets(backbone):
            return f"the backbone {backbone.name} has no linear or ungrouped convolution layer to adapt"
        return super().unfit(task, backbone)

    def grid(self) -> Sequence[Lora]:
        return over_rates(self, RATES)

    @staticmethod
    def _targets(backbone: BackboneInfo) -> list[str]:
        return [
            name.removeprefix("backbone.")
            for name, m in backbone.modules.items()
            if m.kind in LAYERS and not m.grouped and m.parameters
        ]


@hookimpl
def tlplat_register_strategies() -> list[type[Strategy]]:
    return [Lora]


@hookimpl
def tlplat_register_edits() -> list[type[Edit]]:
    return [InjectLora]
