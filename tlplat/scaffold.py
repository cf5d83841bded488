"""A new plugin from the template: a complete pip package with an entry point, an example, tests, README and CI."""

from __future__ import annotations

import importlib.util
import keyword
import re
from pathlib import Path

from tlplat import __version__
from tlplat.errors import UsageError
from tlplat.installed import discover

KINDS = {"strategy": "strategies", "domain": "domains", "task": "tasks"}
TEMPLATE = Path(__file__).with_name("templates")


def new_plugin(kind: str, name: str, folder: Path) -> Path:
    """Write the package ``tlplat-<name>`` below ``folder``; returns its folder.

    Args:
        kind: one of :data:`KINDS`. name: what users will type: small letters, digits and underscores.

    Raises:
        UsageError TL-USAGE: the name is none, or one of tlplat's own; or copier is not installed.
        UsageError TL-OUT-EXISTS: there is something at the place already.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        raise UsageError(
            "TL-USAGE", f"{name!r} is no name of a plugin", fix="use small letters, digits and underscores: freeze_out"
        )
    if any(e.built_in and (e.group, e.name) == (KINDS[kind], name) for e in discover()):
        raise UsageError("TL-USAGE", f"{name!r} is a {kind} of tlplat's own", fix="choose another name")
    if importlib.util.find_spec("copier") is None:
        raise UsageError("TL-USAGE", "templates need copier", fix="pip install 'tlplat[new]'")
    made = folder / f"tlplat-{name.replace('_', '-')}"
    if made.exists():
        raise UsageError("TL-OUT-EXISTS", f"{made} exists already", fix="choose another --into, or move it away")
    from copier import run_copy

    data = {"kind": kind, "name": name, "tlplat": accepted()}
    run_copy(str(TEMPLATE), folder, data=data, defaults=True, quiet=True)
    return made


def accepted() -> str:
    """The versions that a plugin written today works with: from this one to the next that may break it."""
    major, minor = __version__.split(".")[:2]
    return f">={major}.{minor},<{int(major) + 1}" if int(major) else f">=0.{minor},<0.{int(minor) + 1}"
