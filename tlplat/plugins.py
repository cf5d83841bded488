"""Finding, isolating and naming plugins.

A plugin is a module that an installed distribution names in an entry-point group ``tlplat.<kind>``. Listing reads
metadata alone. Loading imports one module at a time, each in its own guard, and asks it the typed hooks.
Plugins are trusted code: this is fault isolation, not a sandbox.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import itertools
import os
import re
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from tlplat.errors import PluginError, did_you_mean
from tlplat.isolate import kept_globals, stdout_to_stderr
from tlplat.registry import KINDS, Registry

if TYPE_CHECKING:
    import click
    import pluggy

    from tlplat.domain import Domain

GROUPS = ("domains", "strategies", "tasks", "commands", "observers")
OFFICIAL_DOMAINS = ("finance", "genomics", "medicine", "nlp", "vision")
MAX_RETURNED = 1000
Warn = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class PluginEntry:
    """One entry point, read from metadata.

    Attributes:
        group: one of :data:`GROUPS`. name: what users type. module: the entry point's value.
        distribution, version: who brought it. requires: its Requires-Dist lines.
    """

    group: str
    name: str
    module: str
    distribution: str
    version: str
    requires: tuple[str, ...] = ()

    @property
    def owner(self) -> str:
        return f"{self.distribution} {self.version}"

    def __str__(self) -> str:
        return f"plugin {self.name!r} ({self.owner})"


def discover() -> list[PluginEntry]:
    """Every entry point of tlplat's groups, by group, name, distribution; imports none of them.

    ``TLPLAT_PLUGINS=a,b`` leaves only those whose distribution or entry point is named there, and tlplat's own.
    """
    from importlib import metadata

    allowed = {_canonical(n) for n in os.environ.get("TLPLAT_PLUGINS", "").split(",") if n.strip()}
    entries: list[PluginEntry] = []
    seen: set[str] = set()
    for distribution in metadata.distributions():
        if "[tlplat." not in (distribution.read_text("entry_points.txt") or ""):
            continue
        about = distribution.metadata
        name, version = about["Name"] or "unnamed distribution", about["Version"] or "?"
        if _canonical(name) in seen:  # shadowed by an earlier folder of sys.path
            continue
        seen.add(_canonical(name))
        requires = tuple(distribution.requires or ())
        for point in distribution.entry_points:
            group = point.group.removeprefix("tlplat.")
            if group == point.group or group not in GROUPS:
                continue
            if allowed and _canonical(name) != "tlplat" and not allowed & {_canonical(name), _canonical(point.name)}:
                continue
            entries.append(PluginEntry(group, point.name, point.value, name, version, requires))
    return sorted(entries, key=lambda e: (GROUPS.index(e.group), e.name, e.distribution))


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
    registry = Registry() if registry is None else registry
    group = group.removeprefix("tlplat.")
    entries = [entry for entry in discover() if entry.group == group]
    for name in dict.fromkeys(entry.name for entry in entries) if names is None else names:
        if (group, name) in registry.entries:
            continue
        try:
            _register(_only(group, name, entries), registry)
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
    entry = _only("commands", name, [e for e in discover() if e.group == "commands"])
    manager = connect(entry)
    with stdout_to_stderr(), _Loading(entry, "tlplat_register_commands"):
        manager.hook.tlplat_register_commands(cli=group)


def notify(event: dict[str, Any], warn: Warn | None = None) -> None:
    """Tell every observer, one by one; one that raises is named in a warning and not asked again."""
    for observer, manager in list(_observers().items()):
        try:
            with stdout_to_stderr():
                manager.hook.tlplat_run_event(event=dict(event))
        except Exception as error:
            del _observers()[observer]
            crash = f"{type(error).__name__} in tlplat_run_event: {error}"
            (warn or _warn_on_stderr)(f"[TL-PLUGIN-CRASH] observer {observer} raised {crash}; disabled")


def connect(entry: PluginEntry) -> pluggy.PluginManager:
    """Check the plugin's requirement on tlplat, import it in a guard, check its hooks against the specifications."""
    import pluggy

    from tlplat import hookspecs

    _check_version(entry)
    if entry.group in KINDS:
        _contracts()  # imports torch first, so that a plugin is not blamed for what torch's import changes
    with stdout_to_stderr(), _Loading(entry, "its import"), kept_globals(str(entry)):
        from importlib.metadata import EntryPoint

        module = EntryPoint(entry.name, entry.module, f"tlplat.{entry.group}").load()
    manager = pluggy.PluginManager("tlplat")
    manager.add_hookspecs(hookspecs)
    specified = [name for name in vars(hookspecs) if name.startswith("tlplat_")]
    try:
        manager.register(module, entry.name)
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        unknown = [n for n in _implemented(module) if n not in specified]
        if unknown:
            message = f"implements the unknown hook {unknown[0]}{did_you_mean(unknown[0], specified)}"
        else:
            message = "implements a hook with an argument that its specification lacks"
        raise PluginError(
            "TL-PLUGIN-HOOK",
            f"{entry} {message}",
            found=" ".join(str(error).split()),
            expected=", ".join(specified),
            fix=f"use a {entry.distribution} whose hooks match tlplat {_version()} (signatures: tlplat/hookspecs.py)",
        ) from error
    unmarked = [n for n in specified if callable(getattr(module, n, None)) and n not in _implemented(module)]
    if unmarked:
        raise PluginError(
            "TL-PLUGIN-HOOK",
            f"{entry} defines {unmarked[0]} without @tlplat.hookimpl, so that it would never be called",
            fix=f"mark {unmarked[0]} with @tlplat.hookimpl",
        )
    return manager


def _register(entry: PluginEntry, registry: Registry) -> None:
    """Ask the plugin every registering hook; nothing is registered unless all answers keep the contract."""
    manager = connect(entry)
    if entry.group not in KINDS:
        return
    answers: list[tuple[str, type]] = []
    for kind, contract in _contracts().items():
        hook = getattr(manager.hook, f"tlplat_register_{kind}")
        if hook.get_hookimpls():
            with stdout_to_stderr(), _Loading(entry, hook.name):
                returned = next(iter(hook()), None)
                items = (
                    returned
                    if isinstance(returned, str) or not isinstance(returned, Iterable)
                    else list(itertools.islice(returned, MAX_RETURNED))
                )
            answers += [(kind, cls) for cls in _checked(entry, hook.name, items, contract)]
    if not any(kind == entry.group and cls.name == entry.name for kind, cls in answers):  # type: ignore[attr-defined]
        brought = ", ".join(f"{kind[:-1]} {cls.name!r}" for kind, cls in answers)  # type: ignore[attr-defined]
        raise _broken(entry, f"tlplat_register_{entry.group}", brought or "nothing", f"a class named {entry.name!r}")
    for kind, cls in answers:
        registry.add(kind, cls, entry.owner, (entry.group, entry.name))


def _checked(entry: PluginEntry, hook: str, items: Any, contract: type) -> list[type]:
    wanted = f"an iterable of subclasses of {contract.__module__}.{contract.__name__}, each with a name"
    if not isinstance(items, list):
        raise _broken(entry, hook, f"{type(items).__name__} {items!r:.80}", wanted)
    for item in items:
        if not (isinstance(item, type) and issubclass(item, contract)):
            raise _broken(entry, hook, f"{item!r:.80} among others", wanted)
        name = getattr(item, "name", None)
        if not (isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9][\w.-]*", name, re.ASCII)):
            raise _broken(entry, hook, f"{item.__name__} with the name {name!r:.80}", wanted)
        if inspect.isabstract(item):
            lacks = ", ".join(sorted(getattr(item, "__abstractmethods__", ())))
            raise _broken(entry, hook, f"{item.__name__}, which lacks {lacks}", wanted)
    return items


def _broken(entry: PluginEntry, hook: str, returned: str, expected: str) -> PluginError:
    return PluginError(
        "TL-PLUGIN-CONTRACT",
        f"{entry}: {hook} returned {returned}; expected {expected}",
        fix=f"report this to the authors of {entry.distribution}, or leave it out with TLPLAT_PLUGINS",
    )


class _Loading:
    """Guard of plugin code outside a run: whatever it raises, SystemExit included, becomes TL-PLUGIN-LOAD."""

    def __init__(self, entry: PluginEntry, doing: str) -> None:
        self.entry, self.doing = entry, doing

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        if error is None or isinstance(error, KeyboardInterrupt | PluginError):
            return
        raise PluginError(
            "TL-PLUGIN-LOAD",
            f"{self.entry} failed in {self.doing}: {type(error).__name__}: {error}",
            fix=f"repair or upgrade it (`pip install --upgrade {self.entry.distribution}`), or uninstall it",
        ) from error


def _only(group: str, name: str, entries: list[PluginEntry]) -> PluginEntry:
    found = [entry for entry in entries if entry.name == name]
    if len(found) > 1:
        raise PluginError(
            "TL-PLUGIN-DUP",
            f"{len(found)} distributions bring a {group[:-1]} named {name!r}: {' and '.join(e.owner for e in found)}",
            fix=f"uninstall one of them, or choose with TLPLAT_PLUGINS={found[0].distribution}",
        )
    if not found:
        raise _missing(group, name, [entry.name for entry in entries])
    return found[0]


def _missing(group: str, name: str, known: list[str]) -> PluginError:
    kind, near = group[:-1] if group != "strategies" else "strategy", did_you_mean(name, known)
    package = f"`pip install tlplat-{_canonical(name)}`" if re.fullmatch(r"[\w.-]+", name, re.ASCII) else "its package"
    if group != "domains":
        fix = f"choose one of: {', '.join(known) or 'none'}" if known else "reinstall tlplat: `pip install tlplat`"
    elif near:
        fix = f"choose one of: {', '.join(known)}; or install the domain with {package}"
    elif name in OFFICIAL_DOMAINS or known:
        fix = f"install it with {package}"
    else:
        fix = f"install it with {package}; tlplat's own domains are {', '.join(OFFICIAL_DOMAINS)}"
    return PluginError(
        "TL-PLUGIN-MISSING",
        f"no {kind} plugin named {name!r} is installed{near}",
        found=f"installed: {', '.join(known) or 'none'}",
        fix=fix,
    )


def _check_version(entry: PluginEntry) -> None:
    from packaging.requirements import InvalidRequirement, Requirement

    for line in entry.requires:
        try:
            needed = Requirement(line)
        except InvalidRequirement:
            continue
        if _canonical(needed.name) != "tlplat" or (needed.marker and not needed.marker.evaluate({"extra": ""})):
            continue
        if not needed.specifier.contains(_version(), prereleases=True):
            raise PluginError(
                "TL-PLUGIN-VERSION",
                f"{entry} needs tlplat {needed.specifier}; this is tlplat {_version()}",
                fix=f"install versions that fit: `pip install --upgrade tlplat {entry.distribution}`",
            )


def _contracts() -> dict[str, type]:
    """The abstract class of each kind, in the registry's order."""
    from tlplat.domain import Domain
    from tlplat.edits import Behaviour, Edit
    from tlplat.model import Backbone
    from tlplat.strategy import Strategy
    from tlplat.tasks.base import Task

    return dict(zip(KINDS, (Domain, Strategy, Task, Backbone, Edit, Behaviour), strict=True))


def _implemented(module: Any) -> list[str]:
    """Names in the module that carry the hookimpl mark."""
    return [name for name, value in list(vars(module).items()) if getattr(value, "tlplat_impl", None)]


@functools.cache
def _observers() -> dict[PluginEntry, pluggy.PluginManager]:
    found = {}
    for entry in discover():
        if entry.group == "observers":
            try:
                found[entry] = connect(entry)
            except PluginError as error:
                _warn_on_stderr(f"[{error.code}] {error.message}; disabled")
    return found


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


def _version() -> str:
    from tlplat import __version__

    return __version__


def _warn_on_stderr(sentence: str) -> None:
    print(f"tlplat: warning {sentence}", file=sys.stderr)
