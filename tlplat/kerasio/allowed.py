"""The configuration of a Keras file against the allow-list, before anything of it is used."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from tlplat.errors import ModelError

MODULES = re.compile(
    r"keras(\.src)?(\.(layers|initializers|regularizers|constraints|dtype_policies|activations|models|ops)(\.\w+)*)?"
)
"""Where Keras's own objects live; a loader that followed any other name would import it."""
RUNNING = frozenset(
    {
        "FeatureSpace",
        "FlaxLayer",
        "IntegerLookup",
        "JaxLayer",
        "Lambda",
        "StringLookup",
        "TFSMLayer",
        "TextVectorization",
        "TorchModuleWrapper",
        "__lambda__",
    }
)
"""Classes that run code of the file's, or read files that it names."""
MOST_NODES = 2_000_000


def check_config(config: Any, place: str, path: Path) -> None:
    """Every object in the configuration: no module but Keras's own, no class that runs code or reads files.

    How the model was compiled is passed over, since nothing of it is read.

    Raises:
        ModelError TL-MODEL-UNSAFE: something else is named. TL-MODEL-TOO-BIG: more values than any model has.
    """
    waiting: list[tuple[Any, str]] = [(config, "")]
    seen = 0
    while waiting:
        value, at = waiting.pop()
        seen += 1
        if seen > MOST_NODES:
            raise ModelError(
                "TL-MODEL-TOO-BIG",
                f"the configuration in {path.name} holds more than {MOST_NODES} values",
                where=place,
                fix="use a model of fewer layers",
            )
        if isinstance(value, list):
            waiting += [(v, f"{at}[{i}]") for i, v in enumerate(value)]
        elif isinstance(value, dict):
            _check_object(value, at, place, path)
            waiting += [(v, f"{at}.{str(k)[:40]}") for k, v in value.items() if k != "compile_config"]


def _check_object(value: dict[str, Any], at: str, place: str, path: Path) -> None:
    module, called = value.get("module"), value.get("class_name")
    if module is not None and not (isinstance(module, str) and MODULES.fullmatch(module)):
        raise _refused(f"the module {str(module)[:60]!r}", at, place, path)
    if isinstance(called, str) and called in RUNNING:
        raise _refused(f"the class {called}, which runs code or reads files,", at, place, path)


def _refused(what: str, at: str, place: str, path: Path) -> ModelError:
    return ModelError(
        "TL-MODEL-UNSAFE",
        f"{path.name} is refused: {place.rpartition(' > ')[2]} names {what} at {at.lstrip('.')[-80:]}: "
        "not in the allow-list",
        where=place,
        fix="save a model of Keras's own layers without it, and do what it does to the rows before",
    )
