"""How others name EfficientNet-Lite0's tensors, and theirs under this domain's names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tlplat_vision.efficientnet import LITE0, EfficientNetLite

Names = tuple[str, str]
"""A convolution and the batch norm after it."""
PARTS = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


@dataclass(frozen=True)
class Scheme:
    """A program's names: of the first tensor, the classifier, and of all layers from input to output."""

    first: str
    head: str
    layers: Callable[[], list[Names]]


def own(net: EfficientNetLite) -> list[Names]:
    """This domain's names, from input to output."""
    convolutions = [n for n, m in net.named_modules() if isinstance(m, nn.Conv2d)]
    norms = [n for n, m in net.named_modules() if isinstance(m, nn.BatchNorm2d)]
    return list(zip(convolutions, norms, strict=True))


def _efficientnet_lite_pytorch() -> list[Names]:
    found, number = [("_conv_stem", "_bn0")], 0
    for repeats, _, _, expand, _ in LITE0:
        for _ in range(repeats):
            widen = [("_expand_conv", "_bn0")] if expand != 1 else []
            layers = [*widen, ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2")]
            found += [(f"_blocks.{number}.{a}", f"_blocks.{number}.{b}") for a, b in layers]
            number += 1
    return [*found, ("_conv_head", "_bn1")]


def _timm() -> list[Names]:
    found = [("conv_stem", "bn1")]
    for stage, (repeats, _, _, expand, _) in enumerate(LITE0):
        plain = [("conv_dw", "bn1"), ("conv_pw", "bn2")]
        layers = plain if expand == 1 else [("conv_pw", "bn1"), ("conv_dw", "bn2"), ("conv_pwl", "bn3")]
        found += [(f"blocks.{stage}.{i}.{a}", f"blocks.{stage}.{i}.{b}") for i in range(repeats) for a, b in layers]
    return [*found, ("conv_head", "bn2")]


SCHEMES = {
    "efficientnet_lite_pytorch": Scheme("_conv_stem.weight", "_fc", _efficientnet_lite_pytorch),
    "timm": Scheme("conv_stem.weight", "classifier", _timm),
}


def renamed(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]] | None:
    """Backbone and head (empty where there is none) of Lite0 under this domain's names; None for other tensors."""
    with torch.device("meta"):  # names and shapes alone
        net = EfficientNetLite()
    shapes = {name: tuple(t.shape) for name, t in net.state_dict().items()}
    scheme = next((s for s in SCHEMES.values() if s.first in tensors), None)
    if scheme is None:
        return None
    state, used = {}, set()
    for ours, theirs in zip(own(net), scheme.layers(), strict=True):
        for mine, other, parts in ((ours[0], theirs[0], PARTS[:1]), (ours[1], theirs[1], PARTS)):
            for part in parts:
                name = f"{other}.{part}"
                if name in tensors:
                    state[f"{mine}.{part}"] = tensors[name]
                    used.add(name)
                elif part == "num_batches_tracked":  # older files have none
                    state[f"{mine}.{part}"] = torch.tensor(0)
    head = {k.removeprefix(f"{scheme.head}."): t for k, t in tensors.items() if k.startswith(f"{scheme.head}.")}
    fits = {name: tuple(t.shape) for name, t in state.items()} == shapes
    rest = tensors.keys() - used - {f"{scheme.head}.{part}" for part in head}
    return (state, head) if fits and not rest and set(head) in ({"weight", "bias"}, set()) else None
