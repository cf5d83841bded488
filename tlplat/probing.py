"""Finds hidden units by running a network: NaN stands in for some units, and where it arrives has seen them.

What a layer's outputs pass on their way (activations, masks, flattening, a convolution written as a matrix product)
is code that no list of layers shows. Every other layer answers with its recorded output, so NaN goes no further than
the next layers. Which unit a column saw is read off like the bits of a number: unit u is NaN in run (r, s) where bit r
of u is s; a column that is NaN for exactly one s of every r has seen one unit, whose bits are those.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from tlplat.data.examples import Batch, to_device
from tlplat.memory import no_memory, out_of_memory
from tlplat.units import Reader, Units, copies, scale_columns, select, shares

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


_known: WeakKeyDictionary[nn.Module, tuple[Units, ...]] = WeakKeyDictionary()


def known_units(network: nn.Module, example: Batch) -> tuple[Units, ...]:
    """:func:`find_units`, once for a network that stays as it is."""
    if network not in _known:
        device = next((p.device for p in network.parameters()), torch.device("cpu"))
        _known[network] = find_units(network, to_device(example, device))
    return _known[network]


def find_units(network: nn.Module, example: Batch) -> tuple[Units, ...]:
    """Units of single layers that can be copied and removed; every claim is tried by copying one.

    Args:
        network: called with ``example`` in eval mode; left as it was. Layers in groups, and those whose outputs
            reach the result or are added to something else, are passed over.

    Raises:
        ResourceError: TL-OOM, the example's few rows do not fit into memory.
    """
    try:
        with torch.no_grad(), _evaluating(network):
            probe = _Probe(network, example)
            found = [units for name in probe.layers if (units := probe.units({name})) is not None]
            return tuple(units for units in found if _copied_is_same(network, units, example))
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        rows = example if isinstance(example, Tensor) else next(iter(example.values()))
        raise no_memory(len(rows), "row") from error


def units_of(network: nn.Module, layers: Collection[str], example: Batch) -> Units | None:
    """The units that ``layers`` make together, or None where some column sees more than one unit."""
    with torch.no_grad(), _evaluating(network):
        return _Probe(network, example).units(layers)


def can_be_copied(network: nn.Module, units: Units, example: Batch) -> bool:
    """Whether a copy of unit 0, whose readers take half of each, leaves the result as it was."""
    with torch.no_grad(), _evaluating(network):
        return _copied_is_same(network, units, example)


class _Probe:
    def __init__(self, network: nn.Module, example: Batch) -> None:
        self.network, self.example = network, example
        self.layers = {n: m for n, m in network.named_modules() if _is_layer(m)}
        self.norms = {n: m for n, m in network.named_modules() if isinstance(m, NORMS)}
        known = {*self.layers, *self.norms}
        self.others = {n: m for n, m in network.named_modules() if m._parameters and n not in known}
        self.recorded: dict[str, Tensor] = {}
        hooks = [m.register_forward_hook(partial(self._record, n)) for n, m in self.layers.items()]
        network(example)
        for hook in hooks:
            hook.remove()

    def units(self, layers: Collection[str]) -> Units | None:
        widths = {self.recorded[name].shape[_axis(self.layers[name])] for name in layers if name in self.recorded}
        if len(widths) != 1 or not set(layers) <= self.recorded.keys():
            return None
        width = widths.pop()
        bits = max(1, (width - 1).bit_length())
        unit = torch.arange(width)
        seen: dict[str, Tensor] = {}
        for r in range(bits):
            for s in (0, 1):
                arrived = self._run(layers, (unit >> r) % 2 == s)
                if arrived is None:
                    return None
                for name, columns in arrived.items():
                    seen.setdefault(name, torch.zeros(bits, 2, len(columns), dtype=torch.bool))[r, s] = columns
        return self._decode(layers, width, seen)

    def _decode(self, layers: Collection[str], width: int, seen: dict[str, Tensor]) -> Units | None:
        norms, readers = set(), {}
        for name, hit in seen.items():
            touched = hit.flatten(0, 1).any(dim=0)
            if not bool(touched.any()):
                continue
            if not bool((hit.sum(dim=1) == touched).all()):
                return None
            value = (hit[:, 1].long() << torch.arange(len(hit))[:, None]).sum(dim=0)
            columns: list[list[int]] = [[] for _ in range(width)]
            for column in touched.nonzero().flatten().tolist():
                columns[int(value[column])].append(column)
            if name in self.norms:
                if columns != [[u] for u in range(len(touched))]:
                    return None
                norms.add(name)
            elif len({len(c) for c in columns}) != 1:
                return None
            else:
                readers[name] = Reader(tuple(map(tuple, columns)), len(touched))
        return Units(frozenset(layers), width, frozenset(norms), readers) if readers else None

    def _run(self, layers: Collection[str], chosen: Tensor) -> dict[str, Tensor] | None:
        """For each layer and norm, which columns are NaN; None where NaN reaches another module or the result."""
        arrived: dict[str, Tensor] = {}
        strayed: list[str] = []
        hooks = []
        for name, module in self.layers.items():
            module.forward = partial(self._answer, name, chosen if name in layers else None, arrived)
        for name, module in self.norms.items():
            hooks.append(module.register_forward_pre_hook(partial(_note, name, arrived)))
        for name, module in self.others.items():
            hooks.append(module.register_forward_pre_hook(partial(_stray, name, strayed)))
        try:
            result = self.network(self.example)
        except Exception:  # code that refuses NaN cannot be looked through
            return None
        finally:
            for hook in hooks:
                hook.remove()
            for module in self.layers.values():
                del module.forward
        return None if strayed or bool(result.isnan().any()) else arrived

    def _record(self, name: str, module: nn.Module, inputs: Any, output: Tensor) -> None:
        self.recorded[name] = output.clone()

    def _answer(self, name: str, chosen: Tensor | None, arrived: dict[str, Tensor], x: Tensor) -> Tensor:
        axis = _axis(self.layers[name])
        _add(arrived, name, _nan_along(x, axis))
        output = self.recorded[name].clone()
        if chosen is not None:
            shape = [1] * output.ndim
            shape[axis] = len(chosen)
            output.masked_fill_(chosen.view(shape).to(output.device), torch.nan)
        return output


def _is_layer(module: nn.Module) -> bool:
    return type(module) is nn.Linear or (isinstance(module, CONVOLUTIONS) and module.groups == 1)


def _axis(layer: nn.Module) -> int:
    """The dimension of features or channels, counted from the end."""
    return -1 if isinstance(layer, nn.Linear) else -1 - (1 + CONVOLUTIONS.index(type(layer)))


def _nan_along(x: Tensor, axis: int) -> Tensor:
    """(columns,) whether any value along ``axis`` is NaN."""
    return x.isnan().movedim(axis, 0).flatten(1).any(dim=1).cpu()


def _add(arrived: dict[str, Tensor], name: str, columns: Tensor) -> None:
    """A layer may be called more than once."""
    arrived[name] = columns | arrived[name] if name in arrived else columns


def _note(name: str, arrived: dict[str, Tensor], module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    _add(arrived, name, _nan_along(inputs[0], 1))


def _stray(name: str, strayed: list[str], module: nn.Module, inputs: Sequence[Any]) -> None:
    if any(isinstance(x, Tensor) and x.is_floating_point() and bool(x.isnan().any()) for x in inputs):
        strayed.append(name)


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    """Eval mode without torch's fused inference, which would pass layers over."""
    modes = [(m, m.training) for m in network.modules()]
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    network.eval()
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
        for module, training in modes:
            module.training = training


def _copied_is_same(network: nn.Module, units: Units, example: Batch) -> bool:
    wanted = network(example)
    touched = [network.get_submodule(name) for name in (*units.layers, *units.norms, *units.readers)]
    kept = [(module, dict(module.__dict__), dict(module._parameters), dict(module._buffers)) for module in touched]
    try:
        chosen = copies(units, [0])
        select(network, chosen)
        for name in units.readers:
            scale_columns(network.get_submodule(name), shares(chosen[name].inputs or (), 0.5))
        found = network(example)
    except RuntimeError:  # shapes that do not meet: the units are added to something else
        return False
    finally:
        for module, plain, parameters, buffers in kept:
            module.__dict__.update(plain)
            module._parameters.clear()
            module._parameters.update(parameters)
            module._buffers.clear()
            module._buffers.update(buffers)
    return found.shape == wanted.shape and torch.allclose(found, wanted, rtol=1e-4, atol=1e-5)
