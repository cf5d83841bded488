"""Little distributions on disk, for tests of plugins: a module and its ``*.dist-info`` in a folder of sys.path."""

from __future__ import annotations

import importlib
import os
import sys
import textwrap
from pathlib import Path

GOOD_STRATEGY = """
from dataclasses import dataclass
from typing import ClassVar
from tlplat import hookimpl
from tlplat.strategy import Strategy

@dataclass(frozen=True)
class Mine(Strategy):
    '''A strategy of a third party.'''
    name: ClassVar[str] = "{name}"
    family: ClassVar[str] = "parameter"
    paper: ClassVar[str] = "none"
    def plan(self, task, backbone, measured, budget):
        raise NotImplementedError

@hookimpl
def tlplat_register_strategies():
    return [Mine]
"""


class Site:
    """A folder of distributions that this process and its children see."""

    def __init__(self, folder: Path, monkeypatch) -> None:
        self.folder = folder
        self.monkeypatch = monkeypatch
        folder.mkdir()
        monkeypatch.syspath_prepend(str(folder))
        paths = [str(folder), os.environ.get("PYTHONPATH")]
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))

    def add(
        self, distribution: str, code: str, *, group="strategies", name="x", version="1.0", requires=(), module=None
    ) -> None:
        """Install a distribution whose one entry point ``name`` is a module of ``code``."""
        module = module or f"{distribution.replace('-', '_')}_{name.replace('-', '_')}"
        (self.folder / f"{module}.py").write_text(textwrap.dedent(code), encoding="utf-8")
        info = self.folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        lines = ["Metadata-Version: 2.1", f"Name: {distribution}", f"Version: {version}"]
        lines += [f"Requires-Dist: {r}" for r in requires]
        (info / "METADATA").write_text("\n".join(lines) + "\n", encoding="utf-8")
        (info / "entry_points.txt").write_text(f"[tlplat.{group}]\n{name} = {module}\n", encoding="utf-8")
        self.monkeypatch.delitem(sys.modules, module, raising=False)
        importlib.invalidate_caches()
