"""Where the two formats keep a layer's weights."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from tlplat.errors import ModelError
from tlplat.kerasio.hdf5 import library
from tlplat.kerasio.opening import Opened

GROUP = "model_weights"
MOST_WEIGHTS = 8
"""No layer that is read has more."""


def arrays(file: Opened, layers: Sequence[tuple[str, str]]) -> dict[str, list[Any]]:
    """Data sets of floating-point numbers for each layer, in Keras's order; nothing is read yet.

    Args:
        layers: (name, class) of all layers in the file's order.

    Raises:
        ModelError TL-MODEL-KEYS: a layer's weights are not where they belong. TL-MODEL-DTYPE: they are no floats.
    """
    found = _by_name(file, layers) if file.legacy else _by_number(file, layers)
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


def _by_name(file: Opened, layers: Sequence[tuple[str, str]]) -> dict[str, list[Any]]:
    """``model_weights/LAYER``, whose attribute ``weight_names`` lists paths below it."""
    found = {}
    for name, _ in layers:
        group = _below(file.file, f"{GROUP}/{name}")
        names = [] if group is None else list(group.attrs.get("weight_names", ()))[: MOST_WEIGHTS + 1]
        texts = [n.decode("utf-8", "replace") if isinstance(n, bytes) else str(n) for n in names]
        found[name] = [_set(_below(group, text)) for text in texts]
    return found


def _by_number(file: Opened, layers: Sequence[tuple[str, str]]) -> dict[str, list[Any]]:
    """``layers/CLASS_N/vars/I``: classes in snake case, numbered in the order of the layers."""
    used: Counter[str] = Counter()
    found = {}
    for name, called in layers:
        snake = _snake(called)
        place = f"layers/{snake}_{used[snake]}" if used[snake] else f"layers/{snake}"
        used[snake] += 1
        group = _below(file.file, f"{place}/vars")
        says = None if group is None else group.attrs.get("name")
        if says is not None and says != name:
            raise ModelError(
                "TL-MODEL-KEYS",
                f"the weights at {place} in {file.path.name} belong to another layer than {name[:60]!r}",
                where=str(file.path),
                found=str(says)[:60],
                fix="save the model again with model.save('model.keras')",
            )
        many = 0 if group is None else min(len(group), MOST_WEIGHTS + 1)
        found[name] = [_set(_below(group, str(i))) for i in range(many)]
    return found


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
