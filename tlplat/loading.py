"""Importing one plugin in a guard, checking its hooks and what they return. Trusted code: isolation, not a sandbox."""

from __future__ import annotations

import functools
import inspect
import itertools
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import EntryPoint
from typing import Any

import pluggy

from tlplat import __version__, hookspecs
from tlplat.deprecation import RENAMED_HOOKS, renamed
from tlplat.errors import PluginError, did_you_mean
from tlplat.installed import PluginEntry, check_version, discover, taken
from tlplat.isolate import kept_globals, stdout_to_stderr
from tlplat.registry import KINDS, Registry, singular

MAX_RETURNED = 1000
SPECIFIED = [name for name in vars(hookspecs) if name.startswith("tlplat_")]


def connect(entry: PluginEntry) -> pluggy.PluginManager:
    """Check the plugin's requirement on tlplat, import it, and check its hooks against the specifications.

    Raises:
        PluginError: TL-PLUGIN-VERSION, TL-PLUGIN-LOAD, TL-PLUGIN-HOOK, or TL-PLUGIN-CONTRACT where the import
            changed global state.
    """
    check_version(entry)
    if entry.to_be_tried:
        from tlplat.probe import vet

        vet(entry)
    if entry.group in KINDS:
        contracts()  # imports torch first, so that a plugin is not blamed for what torch's import changes
    with guard(entry, "its import"), kept_globals(str(entry)):
        module = EntryPoint(entry.name, entry.module, f"tlplat.{entry.group}").load()
    manager = _Manager(entry)
    manager.add_hookspecs(hookspecs)
    try:
        manager.register(module, entry.name)
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        raise _bad_hook(entry, module, error) from error
    unmarked = [n for n in SPECIFIED if callable(getattr(module, n, None)) and n not in _implemented(module)]
    if unmarked:
        raise PluginError(
            "TL-PLUGIN-HOOK",
            f"{entry} defines {unmarked[0]} without @tlplat.hookimpl, so that it would never be called",
            fix=f"mark {unmarked[0]} with @tlplat.hookimpl",
        )
    return manager


class _Manager(pluggy.PluginManager):
    """pluggy's, which takes an implementation under a hook's old name for one of the hook, with a warning."""

    def __init__(self, entry: PluginEntry) -> None:
        super().__init__("tlplat")
        self.entry = entry

    def parse_hookimpl_opts(self, plugin: object, name: str) -> pluggy.HookimplOpts | None:
        options = super().parse_hookimpl_opts(plugin, name)
        if options is not None and name in RENAMED_HOOKS:
            options["specname"] = RENAMED_HOOKS[name]
            renamed("hook", name, RENAMED_HOOKS[name], str(self.entry))
        return options


def register(entry: PluginEntry, registry: Registry) -> None:
    """Load the plugin and ask it every registering hook; nothing is registered unless all answers keep the contract."""
    manager = connect(entry)
    if entry.group not in KINDS:
        return
    answers: list[tuple[str, Any]] = []
    for kind, contract in contracts().items():
        hook = getattr(manager.hook, f"tlplat_register_{kind}")
        if hook.get_hookimpls():
            with guard(entry, hook.name):
                returned = next(iter(hook()), None)
                items: Any = returned
                if isinstance(returned, Iterable) and not isinstance(returned, str | bytes | type):
                    items = list(itertools.islice(returned, MAX_RETURNED))
            answers += [(kind, cls) for cls in _checked(entry, hook.name, items, contract)]
    for kind, cls in () if entry.built_in else answers:
        if cls.name in _own_names(kind):
            raise taken(entry, singular(kind), cls.name)
    if not any((kind, cls.name) == (entry.group, entry.name) for kind, cls in answers):
        brought = ", ".join(f"{singular(kind)} {cls.name!r}" for kind, cls in answers)
        raise _broken(entry, f"tlplat_register_{entry.group}", brought or "nothing", f"a class named {entry.name!r}")
    for kind, cls in answers:
        registry.add(kind, cls, entry.owner, (entry.group, entry.name))


@functools.cache
def _own_names(kind: str) -> frozenset[str]:
    """Names of tlplat's own classes of a kind: for edits and behaviours its strategies must be imported."""
    own = [entry for entry in discover() if entry.built_in and entry.group in KINDS]
    if kind not in ("edits", "behaviours"):
        return frozenset(entry.name for entry in own if entry.group == kind)
    known = Registry()
    for entry in own:
        with suppress(PluginError):  # it is blamed where it is used
            register(entry, known)
    return frozenset(known.names(kind))


@contextmanager
def guard(entry: PluginEntry, doing: str) -> Iterator[None]:
    """Whatever plugin code raises, SystemExit included, becomes TL-PLUGIN-LOAD; what it prints goes to stderr."""
    try:
        with stdout_to_stderr():
            yield
    except (KeyboardInterrupt, PluginError):
        raise
    except BaseException as error:
        raise PluginError(
            "TL-PLUGIN-LOAD",
            f"{entry} failed in {doing}: {type(error).__name__}: {error}",
            fix=f"repair or upgrade it (`pip install --upgrade {entry.distribution}`), or uninstall it",
        ) from error


def contracts() -> dict[str, type]:
    """The abstract class of each kind."""
    from tlplat.domain import Domain
    from tlplat.edits import Behaviour, Edit
    from tlplat.model import Backbone
    from tlplat.strategy import Strategy
    from tlplat.tasks.base import Task

    return dict(zip(KINDS, (Domain, Strategy, Task, Backbone, Edit, Behaviour), strict=True))


def _checked(entry: PluginEntry, hook: str, items: Any, contract: type) -> list[Any]:
    wanted = f"an iterable of subclasses of {contract.__module__}.{contract.__name__}, each with a name"
    if not isinstance(items, list):
        raise _broken(entry, hook, f"{type(items).__name__} {items!r:.80}", wanted)
    for item in items:
        if not (isinstance(item, type) and issubclass(item, contract)):
            raise _broken(entry, hook, f"{item!r:.80}", wanted)
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


def _bad_hook(entry: PluginEntry, module: Any, error: Exception) -> PluginError:
    unknown = next((name for name in _implemented(module) if name not in SPECIFIED), None)
    if unknown:
        said = f"implements the unknown hook {unknown}{did_you_mean(unknown, SPECIFIED)}"
    else:
        said = "implements a hook with an argument that its specification lacks, or in another wrong form"
    return PluginError(
        "TL-PLUGIN-HOOK",
        f"{entry} {said}",
        found=" ".join(str(error).split()),
        expected=", ".join(SPECIFIED),
        fix=f"use a {entry.distribution} whose hooks match tlplat {__version__} (signatures: tlplat/hookspecs.py)",
    )


def _implemented(module: Any) -> list[str]:
    """Names in the module that carry the hookimpl mark."""
    return [name for name, value in list(vars(module).items()) if getattr(value, "tlplat_impl", None)]
