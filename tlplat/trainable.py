"""What trains and what is frozen: parameters, buffers and layer modes, by name patterns."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

import torch
from torch import nn

from tlplat.errors import PluginError
from tlplat.plan import Phase


def set_trainable(model: nn.Module, patterns: Sequence[str]) -> list[str]:
    """Freeze all but what matches, and put every frozen layer into eval mode; returns the trainable names.

    A layer trains where a pattern matches one of its own parameters or buffers: so frozen batch norm keeps its
    running statistics, and dropout inside a frozen block is off.
    """
    trainable = []
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(_matches(name, patterns))
        if parameter.requires_grad:
            trainable.append(name)
    for name, module in model.named_modules():
        own = [n for n, _ in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False))]
        prefix = f"{name}." if name else ""
        module.training = any(_matches(prefix + n, patterns) for n in own or ["mode"])
    if not trainable:
        raise PluginError(
            "TL-PLUGIN-CONTRACT",
            f"the plan trains nothing: no parameter matches {', '.join(patterns)}",
            fix="mend the strategy's `trainable` patterns (names such as backbone.blocks.<name>.* and head.*)",
        )
    return trainable


def make_optimizer(model: nn.Module, phase: Phase, extra: Sequence[nn.Parameter] = ()) -> torch.optim.AdamW:
    """AdamW (Loshchilov & Hutter 2019) over the trainable parameters; the first matching group of the phase wins.

    ``extra`` are weights beside the model's (a domain discriminator), at the phase's rate and decay.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        match = next((g for g in phase.groups if fnmatchcase(name, g.pattern)), None)
        scale = match.rate_scale if match else 1.0
        decay = phase.weight_decay if match is None or match.weight_decay is None else match.weight_decay
        groups.setdefault((scale, decay), []).append(parameter)
    if extra:
        groups.setdefault((1.0, phase.weight_decay), []).extend(extra)
    return torch.optim.AdamW(
        [
            {"params": params, "lr": phase.learning_rate, "rate_scale": scale, "weight_decay": decay}
            for (scale, decay), params in groups.items()
        ],
        fused=True,
    )


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, p) for p in patterns)
