"""What the loaded plugins offer, by kind and name. Filled by :mod:`tlplat.plugins`, read by everything else."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tlplat.errors import PluginError, did_you_mean

KINDS = ("domains", "strategies", "tasks", "backbones", "edits", "behaviours")


def singular(kind: str) -> str:
    """The kind as a message names one of it: ``strategy`` for ``strategies``."""
    return "strategy" if kind == "strategies" else kind.removesuffix("s")


@dataclass
class Registry:
    """Classes by (kind, name). Each class carries its own ``name``.

    Attributes:
        owners: ``distribution version`` that brought the class, for messages.
        plugins: (entry-point group, entry-point name) that brought it, for manifests.
    """

    entries: dict[tuple[str, str], type] = field(default_factory=dict)
    owners: dict[tuple[str, str], str] = field(default_factory=dict)
    plugins: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)

    def add(self, kind: str, cls: Any, owner: str, plugin: tuple[str, str] = ("", "")) -> None:
        """Register ``cls`` under ``cls.name``; the same class twice is fine, another of that name is an error.

        Args:
            owner: ``distribution version``. plugin: (entry-point group, entry-point name).
        """
        key = (kind, cls.name)
        known = self.entries.get(key)
        if known is not None and known is not cls:
            raise PluginError(
                "TL-PLUGIN-DUP",
                f"two plugins register the {singular(kind)} {key[1]!r}: {self.owners[key]} and {owner}",
                fix="uninstall one of the two, or set TLPLAT_PLUGINS to the plugins you want",
            )
        self.entries[key], self.owners[key], self.plugins[key] = cls, owner, plugin

    def get(self, kind: str, name: str) -> Any:
        """The class registered as ``name``; raises PluginError TL-PLUGIN-MISSING with the nearest known name."""
        try:
            return self.entries[kind, name]
        except KeyError:
            raise PluginError(
                "TL-PLUGIN-MISSING",
                f"no {singular(kind)} named {name!r} is loaded{did_you_mean(name, self.names(kind))}",
                found=", ".join(self.names(kind)) or "none",
                fix="install the plugin that brings it (`tlplat plugins list` shows what is installed)",
            ) from None

    def names(self, kind: str) -> list[str]:
        return sorted(name for k, name in self.entries if k == kind)

    def owner(self, kind: str, name: str) -> str:
        """``distribution version`` of the plugin that registered the name."""
        return self.owners[kind, name]
