"""An adapted model as a file that runs without tlplat: checked on real rows before it takes its place."""

from __future__ import annotations

from tlplat.exporting.formats import FORMATS, Exported, export

__all__ = ["FORMATS", "Exported", "export"]
