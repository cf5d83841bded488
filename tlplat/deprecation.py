"""Names that are going away: a warning, once, that says the new name. docs/plugin-api.md has the policy."""

from __future__ import annotations

import functools
import warnings

RENAMED_HOOKS: dict[str, str] = {}
"""Old name of a hook to its new one, for at least one minor version after the change. Both are asked alike."""


class RenamedWarning(DeprecationWarning):
    """A name that still works and will not for ever. ``tlplat`` shows it as one line on stderr, Python as it is set."""


@functools.cache
def renamed(kind: str, old: str, new: str, where: str) -> None:
    """Warn that the ``kind`` (hook, option, function) ``old`` is now ``new``; once a process for each place.

    Args:
        where: who or what uses the old name, such as ``plugin 'x' (dist-x 1.0)``.
    """
    sentence = f"{where} uses the {kind} {old}, which is now {new}; the old name will go in a later version"
    warnings.warn(sentence, RenamedWarning, stacklevel=3)
