"""One table in several files: what a folder holds, or what a pattern such as ``part-*.csv`` names."""

from __future__ import annotations

import glob
from collections.abc import Callable, Collection
from pathlib import Path

from tlplat.data.opening import plain_suffix
from tlplat.errors import DataError


def files_of(path: Path, endings: Collection[str], warn: Callable[[str], None] | None = None) -> list[Path]:
    """The files that ``path`` means, in the order of their names: itself, those of a folder, or those of a pattern.

    Args:
        endings: (``.csv``) of the files of a folder that are read, compressed or not, those of its sub-folders too;
            ``warn`` is told of others. Hidden files are none.

    Raises:
        DataError TL-DATA-READ: no such file, or none in the folder. TL-DATA-PATH: a link inside leads to a folder.
    """
    if path.is_dir():
        return _inside(path, endings, warn)
    if path.exists() or path.is_symlink() or not glob.has_magic(str(path)):
        return [path]
    found = [Path(name) for name in sorted(glob.glob(str(path), recursive=True)) if not Path(name).is_dir()]
    if not found:
        raise DataError("TL-DATA-READ", f"no file is called {path}", where=str(path), fix="check the pattern")
    return found


def _inside(folder: Path, endings: Collection[str], warn: Callable[[str], None] | None) -> list[Path]:
    found: list[Path] = []
    others: list[Path] = []
    for entry in sorted(_walked(folder, folder.resolve())):
        (found if plain_suffix(entry) in endings else others).append(entry)
    if not found:
        raise DataError(
            "TL-DATA-READ",
            f"the folder {folder} holds no table",
            where=str(folder),
            found=", ".join(p.name for p in others[:5]) or "no file",
            expected=f"files that end in {', '.join(endings)}",
            fix="name the file, or a pattern such as 'FOLDER/part-*.csv'",
        )
    if others and warn is not None:
        more = f" and {len(others) - 3} more" if len(others) > 3 else ""
        names = ", ".join(str(p.relative_to(folder)) for p in others[:3])
        warn(f"files that are no tables by their names are left out: {names}{more}")
    return found


def _walked(folder: Path, top: Path) -> list[Path]:
    """Files below, not hidden; a link to a folder is refused, since it may lead round in a circle."""
    found: list[Path] = []
    for entry in folder.iterdir():
        if entry.name.startswith((".", "_")):
            continue
        if entry.is_symlink() and entry.is_dir():
            loop = top.is_relative_to(entry.resolve())
            raise DataError(
                "TL-DATA-PATH",
                f"the link {entry} leads {'back to its own folder (a loop)' if loop else 'to another folder'}",
                where=str(entry),
                fix="remove the link, or name the files themselves",
            )
        found += _walked(entry, top) if entry.is_dir() else [entry]
    return found
