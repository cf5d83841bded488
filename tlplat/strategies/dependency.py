"""Prunable groups from torch-pruning's dependency graph, each checked against what the network computes."""

from __future__ import annotations

import copy
import importlib.util
from typing import Any

import torch
from torch import nn

from tlplat.data.examples import Batch
from tlplat.model import TransferModel
from tlplat.probing import CONVOLUTIONS, NORMS, can_be_copied, find_units, units_of
from tlplat.units import Reader, Units

MISSING = "it needs the package torch-pruning: pip install 'tlplat[prune]'"


def installed() -> bool:
    """Whether torch-pruning can be imported."""
    return importlib.util.find_spec("torch_pruning") is not None


def prunable_groups(model: TransferModel) -> list[Units]:
    """Groups of units that can be removed, coupled layers (residual sums) included.

    torch-pruning traces the forward and guesses how a reshape maps channels; where a run with NaN sees another map
    (a convolution written as a matrix product over views), that group is dropped, and what the run itself finds
    for its layers is taken.
    """
    assert model.example is not None
    groups = [g for g in traced_groups(model.backbone, model.example) if _agrees(model, g)]
    covered = {name for g in groups for name in g.layers}
    alone = [u for u in find_units(model.backbone, model.example) if not u.layers & covered]
    return [*groups, *alone]


def traced_groups(network: nn.Module, example: Batch) -> list[Units]:
    """Groups of torch-pruning (Fang et al. 2023) that hold nothing but layers and batch norms."""
    import torch_pruning

    network = copy.deepcopy(network).eval().requires_grad_(True)  # it prunes nothing where gradients are off
    names = {module: name for name, module in network.named_modules()}
    graph = torch_pruning.DependencyGraph()
    with torch.enable_grad():
        graph.build_dependency(network, example, forward_fn=lambda net, rows: net(rows), verbose=False)
    kinds = (nn.Linear, *CONVOLUTIONS)
    found = [_as_units(graph, group, names) for group in graph.get_all_groups(root_module_types=list(kinds))]
    return [units for units in found if units is not None]


def _as_units(graph: Any, group: Any, names: dict[nn.Module, str]) -> Units | None:
    layers, norms = set(), set()
    seen: dict[str, list[list[int]]] = {}
    totals: dict[str, int] = {}
    width = len(group[0].idxs)
    for item in group:
        module, outputs = item.dep.target.module, graph.is_out_channel_pruning_fn(item.dep.handler)
        name = names.get(module)
        if name is None:
            if "Output" in type(module).__name__:
                return None
            continue
        pairs = list(zip(item.root_idxs, item.idxs, strict=True))
        if outputs and any(root != own for root, own in pairs):
            return None
        if outputs and isinstance(module, NORMS):
            norms.add(name)
        elif not isinstance(module, (nn.Linear, *CONVOLUTIONS)) or getattr(module, "groups", 1) != 1:
            return None
        elif outputs:
            layers.add(name)
        else:
            columns = seen.setdefault(name, [[] for _ in range(width)])
            totals[name] = module.weight.shape[1]
            for root, own in pairs:
                columns[root].append(own)
    readers = {name: Reader(tuple(tuple(sorted(c)) for c in columns), totals[name]) for name, columns in seen.items()}
    return Units(frozenset(layers), width, frozenset(norms), readers) if readers else None


def _agrees(model: TransferModel, group: Units) -> bool:
    assert model.example is not None
    seen = units_of(model.backbone, group.layers, model.example)
    return seen == group and can_be_copied(model.backbone, group, model.example)
