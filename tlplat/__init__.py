"""tlplat: domain transfer with an honest verdict. Importing this package imports neither torch nor a plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from tlplat.api import Model, Run, load_model, transfer
    from tlplat.estimators import TransferClassifier, TransferRegressor
    from tlplat.hookspecs import hookimpl
    from tlplat.ops.classifier import SoftmaxHeadClassifier

_LAZY = {
    "Model": "tlplat.api",
    "Run": "tlplat.api",
    "SoftmaxHeadClassifier": "tlplat.ops.classifier",
    "TransferClassifier": "tlplat.estimators",
    "TransferRegressor": "tlplat.estimators",
    "hookimpl": "tlplat.hookspecs",
    "load_model": "tlplat.api",
    "transfer": "tlplat.api",
}
__all__ = [
    "Model",
    "Run",
    "SoftmaxHeadClassifier",
    "TransferClassifier",
    "TransferRegressor",
    "__version__",
    "hookimpl",
    "load_model",
    "transfer",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        import importlib

        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'tlplat' has no attribute {name!r}")
