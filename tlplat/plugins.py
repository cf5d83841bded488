"""Plugins by name: what is installed, loading what a command needs, telling observers.

A plugin is a module that an installed distribution names in an entry-point group ``tlplat.<kind>``. Listing reads
metadata alone (:mod:`tlplat.installed`); loading imports one module at a time, each in its own guard
(:mod:`tlplat.loading`). tlplat's own strategies and tasks come through the same door.
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from tlplat.errors import PluginError
from tlplat.installed import GROUPS, PluginEntry, discover, only, shadowed
from tlplat.registry import Registry

if TYPE_CHECKING:
    import click
    import pluggy

    from tlplat.domain import Domain

__all__ = ["GROUPS", "PluginEntry", "Warn", "command", "discover", "domain", "load", "notify"]

Warn = Callable[[str], None]


def load(
    group: str, names: Iterable[str] | None = None, registry: Registry | None = None, warn: Warn | None = None
) -> Registry:
    """Import plugins of ``group`` (``domains`` or ``tlplat.domains``) and register what they bring.

    Args:
        names: those that are needed: a fault of one raises PluginError. None takes all, and a broken one is passed
            over with a warning.
        registry: filled and returned; names that it has already are not loaded again.
        warn: receives the warnings; the default prints them on stderr.
    """
    from tlplat.loading import register

    registry = Registry() if registry is None else registry
    group, entries = group.removeprefix("tlplat."), discover()
    known = dict.fromkeys(entry.name for entry in entries if entry.group == group)
    for name in known if names is None else names:
        if (group, name) in registry.entries:
            continue
        for fault in (shadowed(e, entries) for e in entries if (e.group, e.name) == (group, name)):
            if fault is not None:
                (warn or _warn_on_stderr)(f"[{fault.code}] {fault.message}; passed over")
        try:
            register(only(group, name, entries), registry)
        except PluginError as error:
            if names is not None:
                raise
            (warn or _warn_on_stderr)(f"[{error.code}] {error.message}; disabled")
    return registry


def domain(name: str, registry: Registry) -> Domain:
    """The domain ``name``, loaded where it is not yet; PluginError TL-PLUGIN-MISSING says what to install."""
    load("domains", [name], registry)
    found: Domain = registry.get("domains", name)()
    return found


def command(name: str, group: click.Group) -> None:
    """Import the command plugin ``name`` and let it add its commands to ``group``."""
    from tlplat.loading import connect, guard

    entry = only("commands", name, discover())
    manager = connect(entry)
    with guard(entry, "tlplat_register_commands"):
        manager.hook.tlplat_register_commands(cli=group)


def notify(event: Mapping[str, Any], warn: Warn | None = None) -> None:
    """Tell every observer, one by one, each with a copy of its own.

    One that raises, or changes global state, is named in a warning and not asked again in this process.

    Args:
        event: JSON values, see :mod:`tlplat.events`.
    """
    from tlplat.isolate import kept_globals
    from tlplat.loading import guard

    if not _observers():
        return
    text = json.dumps(event, allow_nan=False)
    for entry, manager in list(_observers().items()):
        try:
            with guard(entry, "tlplat_run_event"), kept_globals(str(entry), f"in {event['event']}"):
                manager.hook.tlplat_run_event(event=json.loads(text))
        except PluginError as error:
            del _observers()[entry]
            code = "TL-PLUGIN-CRASH" if error.code == "TL-PLUGIN-LOAD" else error.code
            (warn or _warn_on_stderr)(f"[{code}] observer {error.message}; disabled")


@functools.cache
def _observers() -> dict[PluginEntry, pluggy.PluginManager]:
    """Observers that loaded, once a process."""
    from tlplat.loading import connect

    found: dict[PluginEntry, pluggy.PluginManager] = {}
    entries = discover()
    for name in dict.fromkeys(entry.name for entry in entries if entry.group == "observers"):
        try:
            entry = only("observers", name, entries)
            found[entry] = connect(entry)
        except PluginError as error:
            _warn_on_stderr(f"[{error.code}] {error.message}; disabled")
    return found


def _warn_on_stderr(sentence: str) -> None:
    print(f"tlplat: warning {sentence}", file=sys.stderr)
