"""Layers of Hugging Face peft in a model: put in by one edit, merged into the weights by another."""

from __future__ import annotations

import importlib.util
import math
import re
from collections.abc import Collection, Mapping
from typing import Any, ClassVar

import torch
from torch import nn

from tlplat.edits import Edit, run_as_written
from tlplat.errors import PluginError
from tlplat.model import BackboneInfo, TransferModel

MERGEABLE = ("Linear", "Conv1d", "Conv2d")
"""Kinds whose low-rank updates peft both trains and merges; it cannot merge into grouped or pointwise 3-D ones."""
MISSING = "it needs the package peft: pip install 'tlplat[lora]'"


class InjectPeft(Edit):
    """Put peft's layers around the layers ``targets`` (names below the backbone); the base weights stay.

    ``method`` is ``lora`` or ``ia3``; ``settings`` are fields of peft's LoraConfig or IA3Config.
    """

    name: ClassVar[str] = "peft"

    @staticmethod
    def build(model: TransferModel, args: Mapping[str, Any]) -> None:
        if not installed():
            raise PluginError(
                "TL-PLUGIN-EXTRA", "the model has layers of the package peft", fix="pip install 'tlplat[lora]'"
            )
        import peft

        exact = f"({'|'.join(re.escape(name) for name in args['targets'])})"
        config = {"lora": peft.LoraConfig, "ia3": peft.IA3Config}[args["method"]]
        peft.inject_adapter_in_model(config(target_modules=exact, **args["settings"]), model.backbone)
        run_as_written(model.backbone)

    @staticmethod
    def init(model: TransferModel, args: Mapping[str, Any], generator: torch.Generator) -> None:
        """A uniform as in peft, B zero: the start equals the base (Hu et al. 2022, section 4.1).

        IA3's scales start at one and DoRA's magnitudes at the norms of the base weights, as ``build`` leaves them.
        """
        with torch.no_grad():
            for name, p in model.backbone.named_parameters():
                if ".lora_A." in name:
                    nn.init.kaiming_uniform_(p, a=math.sqrt(5), generator=generator)
                elif ".lora_B." in name:
                    p.zero_()


class MergePeft(Edit):
    """Fold the layers of every ``peft`` edit into the base weights and take them out again.

    The structure is then the base's, so the ``peft`` edits leave the model's record too, and a reload needs no peft.
    """

    name: ClassVar[str] = "merge_peft"

    @staticmethod
    def build(model: TransferModel, args: Mapping[str, Any]) -> None:
        for name, layer in peft_layers(model):
            layer.merge(safe_merge=True)
            model.backbone.set_submodule(name, layer.get_base_layer())
        model.edits[:] = [e for e in model.edits if e.name != InjectPeft.name]


def peft_layers(model: TransferModel) -> list[tuple[str, Any]]:
    """(name below the backbone, peft's layer) of each injected layer; each can ``merge`` and ``unmerge``."""
    return [(name, m) for name, m in model.backbone.named_modules() if hasattr(m, "get_base_layer")]


def targets(backbone: BackboneInfo, kinds: Collection[str]) -> list[str]:
    """Names below the backbone of its ungrouped layers of the ``kinds``; peft's convolutions have no dilation."""
    return [
        name.removeprefix("backbone.")
        for name, m in backbone.modules.items()
        if m.kind in kinds and not m.grouped and not m.dilated and m.parameters
    ]


def installed() -> bool:
    """Whether peft can be imported; importing it takes seconds, so nothing does before it must."""
    return importlib.util.find_spec("peft") is not None
