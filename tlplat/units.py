"""Hidden units: which input columns of which layers see each output of a layer, and choosing among them.

A unit is one output feature or channel of a linear or convolution layer. Where every column that sees it sees it
alone, it can be copied (Net2Net) or removed (pruning) by choosing rows and columns of the weights.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Reader:
    """A layer that sees units: ``seen[u]`` are the columns (of ``total`` inputs) that see unit u."""

    seen: tuple[tuple[int, ...], ...]
    total: int


@dataclass(frozen=True)
class Units:
    """Units that stand or fall together: unit u is output u of each of ``layers``.

    Attributes:
        layers: names of the layers that make them; several where their outputs are added. width: how many units.
        norms: batch norms with one set of statistics a unit. readers: layers that see them.
    """

    layers: frozenset[str]
    width: int
    norms: frozenset[str]
    readers: Mapping[str, Reader]


@dataclass(frozen=True)
class Selection:
    """Which outputs and inputs of a layer make the new one, by old index; None keeps all. A repeat is a copy."""

    out: list[int] | None = None
    inputs: list[int] | None = None


def select(network: nn.Module, selections: Mapping[str, Selection]) -> None:
    """Cut or widen layers and batch norms in place, by name; new parameters hold the chosen old values."""
    for name, selection in selections.items():
        module = network.get_submodule(name)
        if selection.out is not None:
            _take(module, 0, selection.out, ("weight", "bias", "running_mean", "running_var"))
            _resize(module, ("out_features", "out_channels", "num_features"), len(selection.out))
        if selection.inputs is not None:
            _take(module, 1, selection.inputs, ("weight",))
            _resize(module, ("in_features", "in_channels"), len(selection.inputs))


def copies(units: Units, copied: Sequence[int]) -> dict[str, Selection]:
    """Selections that put copies of the units ``copied`` behind the last one."""
    rows = [*range(units.width), *copied]
    made = {name: Selection(out=rows) for name in (*units.layers, *units.norms)}
    return made | {name: Selection(inputs=_with_copies(reader, copied)) for name, reader in units.readers.items()}


def shares(chosen: Sequence[int], share: float) -> list[float]:
    """A factor for each chosen column: of a column chosen twice the copy gets ``share`` and the original the rest."""
    twice = {column for column, count in Counter(chosen).items() if count > 1}
    met: set[int] = set()
    factors = []
    for column in chosen:
        factors.append(1.0 if column not in twice else share if column in met else 1 - share)
        met.add(column)
    return factors


def scale_columns(layer: nn.Module, factors: Sequence[float]) -> None:
    """Multiply each input column of ``layer.weight`` by its factor, in place."""
    weight = layer.weight
    assert isinstance(weight, Tensor)
    with torch.no_grad():
        weight.mul_(torch.tensor(factors, dtype=weight.dtype).to(weight.device).view(1, -1, *[1] * (weight.ndim - 2)))


@torch.no_grad()
def importance(network: nn.Module, units: Units) -> Tensor:
    """(width,) squared norm of all weights that make or read each unit (Fang et al. 2023, DepGraph, section 3.3)."""
    rows = [network.get_submodule(name).get_parameter("weight").flatten(1) for name in sorted(units.layers)]
    score = torch.stack([w.square().sum(dim=1) for w in rows]).sum(dim=0)
    for name, reader in sorted(units.readers.items()):
        columns = network.get_submodule(name).get_parameter("weight").transpose(0, 1).flatten(1).square().sum(dim=1)
        score = score + columns[torch.tensor(reader.seen, device=columns.device)].sum(dim=1)
    return score


def without(groups: Sequence[Units], removed: Sequence[Sequence[int]]) -> dict[str, Selection]:
    """Selections that leave out the units ``removed[i]`` of ``groups[i]``."""
    rows: dict[str, tuple[set[int], int]] = {}
    columns: dict[str, tuple[set[int], int]] = {}
    for units, gone in zip(groups, removed, strict=True):
        for name in (*units.layers, *units.norms):
            rows.setdefault(name, (set(), units.width))[0].update(gone)
        for name, reader in units.readers.items():
            columns.setdefault(name, (set(), reader.total))[0].update(c for u in gone for c in reader.seen[u])
    return {name: Selection(_left(rows.get(name)), _left(columns.get(name))) for name in sorted({*rows, *columns})}


def _left(cut: tuple[set[int], int] | None) -> list[int] | None:
    return [i for i in range(cut[1]) if i not in cut[0]] if cut else None


def _with_copies(reader: Reader, copied: Sequence[int]) -> list[int]:
    """Old column of each new one: behind each run of neighbouring columns of the last unit come the copies' runs."""
    last = reader.seen[-1]
    run = next((i for i in range(1, len(last)) if last[i] != last[i - 1] + 1), len(last))
    ends = {last[at + run - 1]: at for at in range(0, len(last), run)}
    columns = []
    for column in range(reader.total):
        columns.append(column)
        if column in ends:
            at = ends[column]
            columns += [c for unit in copied for c in reader.seen[unit][at : at + run]]
    return columns


def _take(module: nn.Module, dim: int, chosen: Sequence[int], names: Sequence[str]) -> None:
    for name in names:
        old = getattr(module, name, None)
        if isinstance(old, Tensor):
            new = old.detach().index_select(dim, torch.tensor(chosen, dtype=torch.int64, device=old.device))
            setattr(module, name, nn.Parameter(new, old.requires_grad) if isinstance(old, nn.Parameter) else new)


def _resize(module: nn.Module, names: Sequence[str], size: int) -> None:
    for name in names:
        if hasattr(module, name):
            setattr(module, name, size)
