"""Where the two formats keep a layer's weights."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from tlplat.errors import ModelError
from tlplat.kerasio.graph import Stored
from tlplat.kerasio.hdf5 import library
from tlplat.kerasio.layers import KINDS
from tlplat.kerasio.opening import Opened

GROUP = "model_weights"
MOST_WEIGHTS = 8
"""No layer that is read has more, nor a list of names so many parts."""


def arrays(file: Opened, layers: Sequence[Stored]) -> dict[str, list[Any]]:
    """Data sets of floating-point numbers for each layer, in Keras's order; nothing is read yet.

    Layers of a model inside are named ``MODEL/LAYER``.

    Raises:
        ModelError TL-MODEL-KEYS: a layer's weights are not where they belong. TL-MODEL-DTYPE: they are no floats.
    """
    found = _by_name(file, layers) if file.legacy else _by_number(file, layers, "layers", "")
    for name, sets in found.items():
        for array in sets:
            if array is None or array.dtype.kind != "f":
                raise ModelError(
                    "TL-MODEL-KEYS" if array is None else "TL-MODEL-DTYPE",
                    f"the weights of the layer {name[:60]!r} in {file.path.name} are not there, or no numbers",
                    where=str(file.path),
                    found="" if array is None else f"dtype {array.dtype}",
                    fix="save the model again with model.save('model.keras')",
                )
    return found


def _by_name(file: Opened, layers: Sequence[Stored]) -> dict[str, list[Any]]:
    """``model_weights/LAYER``, whose attribute ``weight_names`` lists paths below it: ``.../LAYER/WEIGHT``.

    Those of a model inside stand together, weights that are trained first.
    """
    found: dict[str, list[Any]] = {}
    for layer in layers:
        group = _below(file.file, f"{GROUP}/{layer.name}")
        texts = [] if group is None else _listed(group)
        if not layer.inner:
            found[layer.name] = [_set(_below(group, text)) for text in texts]
            continue
        places = _leaves(layer.inner, f"{layer.name}/")
        found |= {place: [] for _, place in places}
        by_leaf = dict(places)
        if len(by_leaf) < len(places):
            raise _misplaced(file, layer.name, "two layers of one name inside")
        for text in texts:
            leaf = next((part for part in reversed(text.split("/")[:-1]) if part in by_leaf), "")
            if not leaf:
                raise _misplaced(file, layer.name, text[:60])
            found[by_leaf[leaf]].append(_set(_below(group, text)))
    return found


def _listed(group: Any) -> list[str]:
    """``weight_names``, which is cut into ``weight_names0``, ``weight_names1`` ... where it is long."""
    parts = [group.attrs["weight_names"]] if "weight_names" in group.attrs else []
    while (name := f"weight_names{len(parts)}") in group.attrs and len(parts) < MOST_WEIGHTS:
        parts.append(group.attrs[name])
    names = [n for part in parts for n in part]
    return [n.decode("utf-8", "replace") if isinstance(n, bytes) else str(n) for n in names]


def _leaves(layers: Sequence[Stored], prefix: str) -> list[tuple[str, str]]:
    """(name, place) of the layers that are no models."""
    found = []
    for layer in layers:
        place = f"{prefix}{layer.name}"
        found += _leaves(layer.inner, f"{place}/") if layer.inner else [(layer.name, place)]
    return found


def _by_number(file: Opened, layers: Sequence[Stored], below: str, prefix: str) -> dict[str, list[Any]]:
    """``layers/CLASS_N/vars/I``: classes in snake case, numbered in the order of the layers; models inside the same."""
    used: Counter[str] = Counter()
    found: dict[str, list[Any]] = {}
    for layer in layers:
        snake = _snake(layer.kind)
        place = f"{below}/{snake}_{used[snake]}" if used[snake] else f"{below}/{snake}"
        used[snake] += 1
        if layer.inner:
            found |= _by_number(file, layer.inner, f"{place}/layers", f"{prefix}{layer.name}/")
            continue
        group = _below(file.file, f"{place}/vars")
        says = None if group is None else group.attrs.get("name")
        if says is not None and says != layer.name:
            raise _misplaced(file, layer.name, f"{place} of {str(says)[:60]}")
        folders = KINDS[layer.kind].folders if layer.kind in KINDS else ("vars",)
        groups = [_below(file.file, f"{place}/{folder}") for folder in folders]
        found[f"{prefix}{layer.name}"] = [
            _set(_below(g, str(i))) for g in groups if g is not None for i in range(min(len(g), MOST_WEIGHTS + 1))
        ]
    return found


def _misplaced(file: Opened, name: str, found: str) -> ModelError:
    return ModelError(
        "TL-MODEL-KEYS",
        f"the weights of the layer {name[:60]!r} in {file.path.name} are not where they belong",
        where=str(file.path),
        found=found,
        fix="save the model again with model.save('model.keras')",
    )


def _below(group: Any, name: str) -> Any:
    try:
        return None if group is None or name not in group else group[name]
    except (ValueError, KeyError, TypeError):  # no name that HDF5 takes
        return None


def _set(found: Any) -> Any:
    return found if isinstance(found, library().Dataset) else None


def _snake(name: str) -> str:
    """How Keras names the folder of a class: Conv2D is conv2d, GlobalMaxPooling1D is global_max_pooling1d."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()
