"""Which plugins are installed, from metadata alone: nothing is imported."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from tlplat.errors import PluginError, did_you_mean
from tlplat.registry import singular

GROUPS = ("domains", "strategies", "tasks", "commands", "observers")
OWN = "tlplat"
OFFICIAL_DOMAINS = ("finance", "genomics", "medicine", "nlp", "vision")
OFFICIAL = frozenset(f"tlplat-{name}" for name in (*OFFICIAL_DOMAINS, "mlflow"))
_careful = ContextVar("_careful", default=False)


@contextmanager
def careful() -> Iterator[None]:
    """Inside, plugins of third parties are tried in a process of their own before they are imported here.

    The command line does so. A program of the user's does not: a new process would import the program's main module.
    """
    token = _careful.set(True)
    try:
        yield
    finally:
        _careful.reset(token)


@dataclasses.dataclass(frozen=True)
class PluginEntry:
    """One entry point.

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

    @property
    def built_in(self) -> bool:
        """Whether tlplat itself brings it."""
        return canonical(self.distribution) == OWN

    @property
    def to_be_tried(self) -> bool:
        """Whether it is a third party's, and such are tried first: see :func:`careful`."""
        official = canonical(self.distribution) in OFFICIAL or self.module.partition(".")[0] == OWN
        return _careful.get() and not self.built_in and not official

    def __str__(self) -> str:
        return f"plugin {self.name!r} ({self.owner})"


def discover() -> list[PluginEntry]:
    """Every entry point of tlplat's groups, by group, name, distribution.

    ``TLPLAT_PLUGINS=a,b`` leaves only those whose distribution or entry point is named there, and tlplat's own.
    """
    from importlib import metadata

    allowed = {canonical(n) for n in os.environ.get("TLPLAT_PLUGINS", "").split(",") if n.strip()}
    entries: list[PluginEntry] = []
    seen: set[str] = set()
    for distribution in metadata.distributions():
        if "[tlplat." not in (distribution.read_text("entry_points.txt") or ""):
            continue
        about = distribution.metadata
        name, version = about["Name"] or "unnamed distribution", about["Version"] or "?"
        if canonical(name) in seen:  # shadowed by an earlier folder of sys.path
            continue
        seen.add(canonical(name))
        requires = tuple(distribution.requires or ())
        for point in distribution.entry_points:
            group = point.group.removeprefix("tlplat.")
            if group == point.group or group not in GROUPS:
                continue
            if allowed and canonical(name) != OWN and not allowed & {canonical(name), canonical(point.name)}:
                continue
            entries.append(PluginEntry(group, point.name, point.value, name, version, requires))
    return sorted(entries, key=lambda e: (GROUPS.index(e.group), e.name, e.distribution))


def only(group: str, name: str, entries: Sequence[PluginEntry]) -> PluginEntry:
    """The one entry of that name; PluginError TL-PLUGIN-MISSING or TL-PLUGIN-DUP.

    A name of tlplat's own always means tlplat's own: :func:`shadowed` blames others that bring it too.
    """
    found = [entry for entry in entries if (entry.group, entry.name) == (group, name)]
    own = [entry for entry in found if entry.built_in]
    if own:
        return own[0]
    if len(found) > 1:
        raise PluginError(
            "TL-PLUGIN-DUP",
            f"{len(found)} distributions bring a {singular(group)} plugin named {name!r}: "
            + " and ".join(entry.owner for entry in found),
            fix=f"uninstall one of them, or choose with TLPLAT_PLUGINS={found[0].distribution}",
        )
    if not found:
        raise missing(group, name, sorted({entry.name for entry in entries if entry.group == group}))
    return found[0]


def shadowed(entry: PluginEntry, entries: Sequence[PluginEntry]) -> PluginError | None:
    """The TL-PLUGIN-DUP of another's plugin with a name of tlplat's own, which it cannot replace; else None."""
    if entry.built_in or not any(e.built_in and (e.group, e.name) == (entry.group, entry.name) for e in entries):
        return None
    return taken(entry, singular(entry.group), entry.name)


def taken(entry: PluginEntry, kind: str, name: str) -> PluginError:
    """The TL-PLUGIN-DUP of a plugin that brings a name of tlplat's own."""
    return PluginError(
        "TL-PLUGIN-DUP",
        f"{entry} brings the {kind} {name!r}, which is a name of tlplat's own",
        fix=f"uninstall {entry.distribution}, or ask its authors for a version with a name of its own",
    )


def metadata_fault(entry: PluginEntry, entries: Sequence[PluginEntry]) -> PluginError | None:
    """What is wrong with the plugin as far as metadata show: a duplicate, or a tlplat that it does not accept."""
    if (fault := shadowed(entry, entries)) is not None:
        return fault
    try:
        only(entry.group, entry.name, entries)
        check_version(entry)
    except PluginError as error:
        return error
    return None


def check_version(entry: PluginEntry) -> None:
    """PluginError TL-PLUGIN-VERSION where the distribution requires another tlplat."""
    from packaging.requirements import InvalidRequirement, Requirement

    from tlplat import __version__

    for line in entry.requires:
        try:
            needed = Requirement(line)
        except InvalidRequirement:
            continue
        if canonical(needed.name) != OWN or (needed.marker and not needed.marker.evaluate({"extra": ""})):
            continue
        if not needed.specifier.contains(__version__, prereleases=True):
            raise PluginError(
                "TL-PLUGIN-VERSION",
                f"{entry} needs tlplat {needed.specifier}; this is tlplat {__version__}",
                fix=f"install versions that fit: `pip install --upgrade tlplat {entry.distribution}`",
            )


def missing(group: str | None, name: str, known: Sequence[str]) -> PluginError:
    """The TL-PLUGIN-MISSING for ``name``: what is installed, and what to install."""
    near = did_you_mean(name, known)
    package = f"`pip install tlplat-{canonical(name)}`" if re.fullmatch(r"[\w.-]+", name, re.ASCII) else "its package"
    if group != "domains":
        fix = f"choose one of: {', '.join(known)}; or install the package that brings it"
    elif near:
        fix = f"choose one of: {', '.join(known)}; or install the domain with {package}"
    elif name in OFFICIAL_DOMAINS or known:
        fix = f"install it with {package}"
    else:
        fix = f"install it with {package}; tlplat's own domains are {', '.join(OFFICIAL_DOMAINS)}"
    kind = f"{singular(group)} plugin" if group else "plugin"
    return PluginError(
        "TL-PLUGIN-MISSING",
        f"no {kind} named {name!r} is installed{near}",
        found=f"installed: {', '.join(known) or 'none'}",
        fix=fix,
    )


def nothing_installed(group: str) -> str:
    """What to tell a user who has no plugin of the group."""
    if group == "domains":
        return f"no domain plugin is installed; install one: pip install tlplat-genomics (also {_others('genomics')})"
    return f"no {singular(group)} plugin is installed; reinstall tlplat: pip install --force-reinstall tlplat"


def canonical(name: str) -> str:
    """A distribution's name as the index compares names."""
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


def _others(first: str) -> str:
    return ", ".join(f"tlplat-{name}" for name in OFFICIAL_DOMAINS if name != first)
