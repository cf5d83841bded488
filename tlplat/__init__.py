"""tlplat: domain transfer with an honest verdict. Importing this package imports neither torch nor a plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from tlplat.hookspecs import hookimpl
    from tlplat.ops.classifier import SoftmaxHeadClassifier

_LAZY = {"SoftmaxHeadClassifier": "tlplat.ops.classifier", "hookimpl": "tlplat.hookspecs"}
__all__ = ["SoftmaxHeadClassifier", "__version__", "hookimpl"]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        import importlib

        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'tlplat' has no attribute {name!r}")
